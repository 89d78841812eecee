// The N-Queens search on CPU threads (OpenMP), by the code path asked for.
#pragma once

#include <memory>

#include "kernels/cpu/dispatch.h"
#include "kernels/nqueens/backtracking/slice_runner.h"

namespace potluck::nqueens {

// Open rows of a seed, at most, on the scalar path: some 10^5 placements, below a millisecond, so that threads end a
// slice together.
inline constexpr int kScalarMaxRows = 13;

// A Runner on `threads` (>= 1) threads by this code path, which the processor must support.
std::unique_ptr<SliceRunner> MakeBacktrackingRunner(int threads, Dispatch dispatch);

}  // namespace potluck::nqueens
