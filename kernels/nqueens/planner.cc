#include "kernels/nqueens/planner.h"

#include "kernels/nqueens/backtracking/plan.h"
#include "kernels/nqueens/mitm/plan.h"
#include "kernels/nqueens/payload.h"

namespace potluck::nqueens {

Result<std::unique_ptr<Planner>> MakePlanner(std::string_view spec_bytes) {
  const Result<Spec> spec = DecodeSpec(spec_bytes);
  if (!spec.ok()) return spec.status();
  if (spec->algorithm == kMeetInTheMiddle) return std::unique_ptr<Planner>(new mitm::MitmPlanner(*spec));
  return QueensPlanner::Create(spec_bytes);
}

}  // namespace potluck::nqueens
