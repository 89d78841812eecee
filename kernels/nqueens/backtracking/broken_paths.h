// Test only: AVX2 paths in each of which one rule of the search is broken.
#pragma once

#include "kernels/nqueens/backtracking/vector_search.h"

namespace potluck::nqueens {

#if defined(__x86_64__)
extern const VectorPath kBrokenPaths[5];
// The same with nothing broken.
extern const VectorPath kUnbrokenPath;
#endif

}  // namespace potluck::nqueens
