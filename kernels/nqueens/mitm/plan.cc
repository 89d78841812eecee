#include "kernels/nqueens/mitm/plan.h"

#include <algorithm>

#include "kernels/nqueens/mitm/known_answers.h"

namespace potluck::nqueens::mitm {
namespace {

constexpr uint64_t kGroup = 64;

static_assert(kMaxN == kMaxMeetInTheMiddleN);

}  // namespace

MitmPlan::MitmPlan(int n) : n_(n), size_(n < kMinN ? 1 : IndexCount(n)), model_(std::max(n, kMinN)) {
  cost_before_group_.reserve(size_ / kGroup + 2);
  double cost = 0;
  SubproblemWalk walk(std::max(n, kMinN));
  for (uint64_t index = 0; index < size_; ++index) {
    if (index % kGroup == 0) cost_before_group_.push_back(cost);
    cost += n < kMinN ? 1 : model_.Cost(walk.Next());
  }
  cost_before_group_.push_back(cost);
}

double MitmPlan::CostOf(uint64_t index) const { return n_ < kMinN ? 1 : model_.Cost(SubproblemAt(n_, index)); }

double MitmPlan::CostBefore(uint64_t index) const {
  if (index >= size_) return cost_before_group_.back();
  double cost = cost_before_group_[index / kGroup];
  for (uint64_t i = index / kGroup * kGroup; i < index; ++i) cost += CostOf(i);
  return cost;
}

double MitmPlan::Cost(Interval interval) const {
  return interval.empty() ? 0 : std::max(0.0, CostBefore(interval.end) - CostBefore(interval.begin));
}

uint64_t MitmPlan::Cut(Interval within, double cost) const {
  if (within.empty()) return within.end;
  // Not-a-number and negative costs cut off a single index.
  if (!(cost > 0)) return within.begin + 1;
  const double limit = CostBefore(within.begin) + cost;
  const auto after = std::upper_bound(cost_before_group_.begin(), cost_before_group_.end() - 1, limit);
  const auto group = static_cast<uint64_t>(after - cost_before_group_.begin()) - 1;
  double spent = cost_before_group_[group];
  uint64_t index = group * kGroup;
  while (index < size_) {
    spent += CostOf(index);
    if (spent > limit) break;
    ++index;
  }
  return std::clamp(index, within.begin + 1, within.end);
}

Result<std::optional<Round>> MitmPlanner::NextRound() {
  if (plan_) {
    if (merged_indices_ == plan_->Size()) return std::optional<Round>();
    return Status::Error("Round 0 is not complete: " + std::to_string(merged_indices_) + " of " +
                         std::to_string(plan_->Size()) + " subproblems are merged.");
  }
  plan_ = std::make_shared<MitmPlan>(static_cast<int>(spec_.n));
  // H! half boards on either side, each pair standing for at most 16 solutions.
  max_solutions_ = 16;
  for (uint64_t factor = 2; factor <= spec_.n / 2; ++factor) {
    if (!max_solutions_.Multiply(factor) || !max_solutions_.Multiply(factor)) max_solutions_ = Count128::Max();
  }
  ResetRound();
  return std::optional<Round>(Round{0, Durability::kLedger, plan_, Encode(spec_)});
}

Status MitmPlanner::Check(Interval interval, std::string_view payload) const {
  if (!plan_) return Status::Error("No round is open.");
  if (interval.empty() || interval.end > plan_->Size()) {
    return Status::Error("The interval is " + ToString(interval) + "; allowed: not empty and within " +
                         ToString(Interval{0, plan_->Size()}) + ".");
  }
  const Result<Counts> counts = DecodeCounts(payload);
  if (!counts.ok()) return counts.status();
  const auto refuse = [&](const char* field, Count128 value, const std::string& allowed) {
    return Status::Error("The result of subproblems " + ToString(interval) + " has " + field + " " + value.ToString() +
                         "; allowed: " + allowed + ".");
  };
  Count128 most = max_solutions_;
  if (!most.Multiply(interval.size())) most = Count128::Max();
  if (counts->solutions > most) return refuse("solutions", counts->solutions, "0 to " + most.ToString());
  if (counts->nodes != Count128()) return refuse("nodes", counts->nodes, "0, as this algorithm visits none");
  if (counts->visited != Count128()) return refuse("visited", counts->visited, "0, as this algorithm visits no nodes");
  return Status();
}

Status MitmPlanner::Merge(Interval interval, std::string_view payload) {
  if (Status status = Check(interval, payload); !status.ok()) return status;
  if (!merged_.Add(*DecodeCounts(payload))) {
    return Status::Error("The total with subproblems " + ToString(interval) + " does not fit 128 bits.");
  }
  merged_indices_ += interval.size();
  return Status();
}

std::vector<Part> MitmPlanner::KnownAnswers() const {
  return plan_ ? mitm::KnownAnswers(plan_->n()) : std::vector<Part>();
}

void MitmPlanner::ResetRound() {
  merged_ = Counts{};
  merged_indices_ = 0;
}

Status MitmPlanner::Restore(std::string_view state) {
  if (!state.empty() && state != "0") {
    return Status::Error("The planner's state is \"" + std::string(state) + "\"; allowed: empty or \"0\".");
  }
  plan_.reset();
  ResetRound();
  return Status();
}

std::string MitmPlanner::Summary() const { return Encode(merged_); }

}  // namespace potluck::nqueens::mitm
