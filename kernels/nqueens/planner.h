// The coordinator's side of N-Queens: the planner of whatever algorithm a specification names.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/workload/planner.h"

namespace potluck::nqueens {

// `spec` is an NQueensSpec message; fails with a sentence when it is not a valid one.
Result<std::unique_ptr<Planner>> MakePlanner(std::string_view spec);

}  // namespace potluck::nqueens
