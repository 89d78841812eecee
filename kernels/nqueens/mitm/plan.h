// The coordinator's side of meeting in the middle: one ledger round over the indices of row_sets.h.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/nqueens/counts_planner.h"
#include "kernels/nqueens/mitm/cost_model.h"
#include "kernels/workload/planner.h"

namespace potluck::nqueens::mitm {

// Immutable, thread-safe. Costs are CostModel's.
class MitmPlan final : public RoundPlan {
 public:
  // 1 <= n <= kMaxN; boards below kMinN have one index.
  explicit MitmPlan(int n);

  int n() const { return n_; }
  uint64_t Size() const override { return size_; }
  double Cost(Interval interval) const override;
  uint64_t Cut(Interval within, double cost) const override;
  double ProbeCost() const override { return 3e8; }

 private:
  double CostOf(uint64_t index) const;
  double CostBefore(uint64_t index) const;

  int n_;
  uint64_t size_;
  CostModel model_;
  std::vector<double> cost_before_group_;  // Of every kGroup-th index, and at the end the total.
};

// Its counts have no nodes.
class MitmPlanner final : public CountsPlanner {
 public:
  explicit MitmPlanner(const Spec& spec) : CountsPlanner(spec) {}

  std::vector<Part> KnownAnswers() const override;

 private:
  Result<std::shared_ptr<const RoundPlan>> MakePlan() override;
  Status CheckCounts(Interval interval, const Counts& counts) const override;

  Count128 max_solutions_;  // That one index can stand for.
};

}  // namespace potluck::nqueens::mitm
