// One device's runner for every N-Queens algorithm: each round's specification names the one that serves it.
#pragma once

#include <memory>

#include "kernels/cpu/dispatch.h"
#include "kernels/workload/runner.h"

namespace potluck::nqueens {

// On `threads` (>= 1) threads by this code path, which the processor must support.
std::unique_ptr<Runner> MakeCpuRunner(int threads, Dispatch dispatch);

// A GPU's: `backtracking` runs there; what has no GPU code yet, on the fastest path of `threads` CPU threads.
std::unique_ptr<Runner> MakeGpuQueensRunner(std::unique_ptr<Runner> backtracking, int threads);

}  // namespace potluck::nqueens
