// Subproblems whose result the coordinator knows, to be mixed into workers' leases: short intervals of a round, drawn
// by a fixed seed and counted by the plainest recursion there is, which shares no code with any runner (only the ranks'
// prefixes, which define what is counted). Pure, thread-safe.
#pragma once

#include <vector>

#include "kernels/nqueens/backtracking/prefix.h"
#include "kernels/workload/planner.h"

namespace potluck::nqueens {

// At most 4, in some 30 ms. Fewer, or none, where subproblems are too large to be counted in that time: boards of more
// than about 21 queens at their default depth.
std::vector<Part> KnownAnswers(const PrefixTable& table);

}  // namespace potluck::nqueens
