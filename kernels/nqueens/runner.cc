#include "kernels/nqueens/runner.h"

#include <string_view>

#include "kernels/nqueens/backtracking/run_cpu.h"

namespace potluck::nqueens {

std::unique_ptr<Runner> MakeCpuRunner(int threads, Dispatch dispatch) {
  return MakeBacktrackingRunner(threads, dispatch);
}

}  // namespace potluck::nqueens
