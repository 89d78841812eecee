// The N-Queens search in vectors: what the code paths for wide registers offer, so that files compiled for different
// instruction sets can stand in one binary. Pure data and functions without state; a workspace is used by one thread
// at a time.
//
// This header is included by files that are compiled for instruction sets which the processor may not have. It and
// what it includes must therefore define no function that could be emitted out of line, or the linker might keep the
// copy that only some processors can run; the test simd_objects_share_no_code looks for such.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/nqueens/backtracking/search.h"

namespace potluck::nqueens {

// Open rows of a seed, at most.
inline constexpr int kVectorMaxRows = 14;

struct SubtreeCounts {
  uint64_t solutions;
  uint64_t nodes;  // Placements below the seeds.
};

struct VectorPath {
  const char* name;
  size_t workspace_bytes;  // To be aligned to kWorkspaceAlignment, and zero before its first use.
  // Searches the subtrees of `count` seeds, each with a free column and kMinRows to kVectorMaxRows open rows.
  SubtreeCounts (*search)(void* workspace, const SearchShape& shape, const Seed* seeds, size_t count);
};

inline constexpr size_t kWorkspaceAlignment = 64;

#if defined(__x86_64__)
// What the paths require is said in kernels/cpu/dispatch.h; `kAvx512Vbmi2` requires HasVbmi2() besides.
extern const VectorPath kAvx2Path;
extern const VectorPath kAvx512Path;
extern const VectorPath kAvx512Vbmi2Path;
#endif

}  // namespace potluck::nqueens
