// Subproblems whose result the coordinator knows, to be mixed into workers' leases: drawn by a fixed seed and counted
// plainly, board by board and pair by pair. Shares nothing with the runners but what an index stands for (row_sets.h).
// Pure, thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/workload/planner.h"

namespace potluck::nqueens::mitm {

// At most 4, in some 30 ms; none from n = 20 on, where subproblems with solutions take longer.
std::vector<Part> KnownAnswers(int n);

// Solutions that an index stands for, counted plainly; nullopt when more than `most_pairs` pairs of half boards would
// have to be looked at, or too many half boards.
std::optional<uint64_t> CountPlainly(int n, uint64_t index, uint64_t most_pairs);

}  // namespace potluck::nqueens::mitm
