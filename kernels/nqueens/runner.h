// One CPU's runner for every N-Queens algorithm: each round's specification names the one that serves it.
#pragma once

#include <memory>

#include "kernels/cpu/dispatch.h"
#include "kernels/workload/runner.h"

namespace potluck::nqueens {

// On `threads` (>= 1) threads by this code path, which the processor must support.
std::unique_ptr<Runner> MakeCpuRunner(int threads, Dispatch dispatch);

}  // namespace potluck::nqueens
