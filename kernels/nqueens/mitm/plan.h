// The coordinator's side of meeting in the middle: one ledger round over the indices of row_sets.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/nqueens/mitm/cost_model.h"
#include "kernels/nqueens/payload.h"
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

// Not thread-safe, as Planner says. State() is empty before the round is opened and "0" from then on.
class MitmPlanner final : public Planner {
 public:
  explicit MitmPlanner(const Spec& spec) : spec_(spec) {}

  Result<std::optional<Round>> NextRound() override;
  Status Check(Interval interval, std::string_view payload) const override;
  Status Merge(Interval interval, std::string_view payload) override;
  Result<std::string> Combine(std::span<const Part> parts) const override { return CombineCounts(parts); }
  std::vector<Part> KnownAnswers() const override;
  void ResetRound() override;
  std::string State() const override { return plan_ ? "0" : ""; }
  Status Restore(std::string_view state) override;
  // An NQueensCounts message; no nodes.
  std::string Summary() const override;

 private:
  Spec spec_;
  std::shared_ptr<const MitmPlan> plan_;
  Count128 max_solutions_;  // That one index can stand for.
  Counts merged_;
  uint64_t merged_indices_ = 0;
};

}  // namespace potluck::nqueens::mitm
