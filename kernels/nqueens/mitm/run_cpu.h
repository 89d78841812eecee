// Meeting in the middle on CPU threads: a Runner. Not thread-safe, except that a RunControl may be used from other
// threads during Run.
#pragma once

#include <memory>

#include "kernels/cpu/dispatch.h"
#include "kernels/nqueens/mitm/half_board.h"
#include "kernels/nqueens/mitm/layout.h"
#include "kernels/workload/runner.h"

namespace potluck::nqueens::mitm {

struct MitmOptions {
  int threads = 1;                        // At least 1.
  Dispatch dispatch = Dispatch::kScalar;  // Which the processor must support.
  bool vector_popcount = HasVpopcntdq();  // For tests: AVX-512 without it.
  int word_bits = 0;                      // For tests: 64 where 32 would do. 0: chosen by n.
  LayoutOptions layout;                   // For tests: as for larger boards.
  Defect defect = Defect::kNone;          // For tests.
};

std::unique_ptr<Runner> MakeMitmRunner(const MitmOptions& options);

}  // namespace potluck::nqueens::mitm
