// The N-Queens search in vectors on CPU threads: a SeedEngine for SliceRunner. Not thread-safe.
#pragma once

#include <memory>
#include <vector>

#include "kernels/nqueens/backtracking/slice_runner.h"
#include "kernels/nqueens/backtracking/vector_search.h"

namespace potluck::nqueens {

// On `threads` (>= 1) threads by `path`, which the processor must support and which must outlive the engine.
std::unique_ptr<SeedEngine> MakeVectorEngine(int threads, const VectorPath& path);

// The paths that this processor supports, the fastest first; none where no path is for vectors.
std::vector<const VectorPath*> SupportedVectorPaths();

}  // namespace potluck::nqueens
