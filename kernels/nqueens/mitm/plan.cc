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

Result<std::shared_ptr<const RoundPlan>> MitmPlanner::MakePlan() {
  // H! half boards on either side, each pair standing for at most 16 solutions.
  max_solutions_ = 16;
  for (uint64_t factor = 2; factor <= spec().n / 2; ++factor) {
    if (!max_solutions_.Multiply(factor) || !max_solutions_.Multiply(factor)) max_solutions_ = Count128::Max();
  }
  return std::shared_ptr<const RoundPlan>(std::make_shared<MitmPlan>(static_cast<int>(spec().n)));
}

Status MitmPlanner::CheckCounts(Interval interval, const Counts& counts) const {
  Count128 most = max_solutions_;
  if (!most.Multiply(interval.size())) most = Count128::Max();
  if (counts.solutions > most) return Refusal(interval, "solutions", counts.solutions, "0 to " + most.ToString());
  const std::string none = "0, as this algorithm visits no nodes";
  if (counts.nodes != Count128()) return Refusal(interval, "nodes", counts.nodes, none);
  if (counts.visited != Count128()) return Refusal(interval, "visited", counts.visited, none);
  return Status();
}

std::vector<Part> MitmPlanner::KnownAnswers() const {
  return is_open() ? mitm::KnownAnswers(static_cast<int>(spec().n)) : std::vector<Part>();
}

}  // namespace potluck::nqueens::mitm
