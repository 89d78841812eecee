#include "kernels/nqueens/counts_planner.h"

namespace potluck::nqueens {

Result<std::optional<Round>> CountsPlanner::NextRound(double) {
  if (plan_) {
    if (merged_indices_ == plan_->Size()) return std::optional<Round>();
    return Status::Error("Round 0 is not complete: " + std::to_string(merged_indices_) + " of " +
                         std::to_string(plan_->Size()) + " subproblems are merged.");
  }
  Result<std::shared_ptr<const RoundPlan>> plan = MakePlan();
  if (!plan.ok()) return plan.status();
  plan_ = *std::move(plan);
  ResetRound();
  return std::optional<Round>(Round{0, Durability::kLedger, plan_, Encode(spec_)});
}

Status CountsPlanner::Check(Interval interval, std::string_view payload) const {
  if (!plan_) return Status::Error("No round is open.");
  if (interval.empty() || interval.end > plan_->Size()) {
    return Status::Error("The interval is " + ToString(interval) + "; allowed: not empty and within " +
                         ToString(Interval{0, plan_->Size()}) + ".");
  }
  const Result<Counts> counts = DecodeCounts(payload);
  if (!counts.ok()) return counts.status();
  return CheckCounts(interval, *counts);
}

Status CountsPlanner::Merge(Interval interval, std::string payload) {
  if (Status status = Check(interval, payload); !status.ok()) return status;
  if (!merged_.Add(*DecodeCounts(payload))) {
    return Status::Error("The total with subproblems " + ToString(interval) + " does not fit 128 bits.");
  }
  merged_indices_ += interval.size();
  return Status();
}

Result<std::string> CountsPlanner::Combine(std::span<const Part> parts) const {
  Counts sum;
  for (const Part& part : parts) {
    const Result<Counts> counts = DecodeCounts(part.payload);
    if (!counts.ok()) return counts.status();
    if (!sum.Add(*counts)) {
      return Status::Error("The sum of the results up to subproblem " + std::to_string(part.interval.end) +
                           " does not fit 128 bits.");
    }
  }
  return Encode(sum);
}

void CountsPlanner::ResetRound() {
  merged_ = plan_ ? Outside() : Counts{};
  merged_indices_ = 0;
}

Status CountsPlanner::Restore(std::string_view state) {
  if (!state.empty() && state != "0") {
    return Status::Error("The planner's state is \"" + std::string(state) + "\"; allowed: empty or \"0\".");
  }
  plan_.reset();
  ResetRound();
  return Status();
}

Status CountsPlanner::Refusal(Interval interval, const char* field, Count128 value, const std::string& allowed) {
  return Status::Error("The result of subproblems " + ToString(interval) + " has " + field + " " + value.ToString() +
                       "; allowed: " + allowed + ".");
}

}  // namespace potluck::nqueens
