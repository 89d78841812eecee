// The coordinator's side of N-Queens: one ledger round over the ranks of a PrefixTable.
//
// Cost is in expected visited nodes, estimated once at opening by D. E. Knuth's random dives ("Estimating the
// efficiency of backtrack programs", Math. Comp. 29, 1975) with fixed seeds, per stem and linear within a stem.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/nqueens/payload.h"
#include "kernels/nqueens/backtracking/prefix.h"
#include "kernels/workload/planner.h"

namespace potluck::nqueens {

// Immutable, thread-safe.
class QueensPlan final : public RoundPlan {
 public:
  // As PrefixTable's.
  QueensPlan(int n, int depth);

  uint64_t Size() const override { return table_.size(); }
  double Cost(Interval interval) const override;
  uint64_t Cut(Interval within, double cost) const override;
  double ProbeCost() const override { return 1e8; }

  const PrefixTable& table() const { return table_; }

 private:
  // Cost of [0, rank).
  double CostBefore(uint64_t rank) const;
  // The rank up to which `cost` is spent, counted from 0; at most Size().
  uint64_t RankAtCost(double cost) const;
  double EstimateStem(size_t stem, int dives) const;
  uint64_t StemEnd(size_t stem) const;

  PrefixTable table_;
  std::vector<double> cost_before_stem_;  // One more than there are stems: the last is the total.
};

// Not thread-safe, as Planner says. State() is empty before the round is opened and "0" from then on.
class QueensPlanner final : public Planner {
 public:
  static Result<std::unique_ptr<Planner>> Create(std::string_view spec);

  Result<std::optional<Round>> NextRound() override;
  Status Check(Interval interval, std::string_view payload) const override;
  Status Merge(Interval interval, std::string_view payload) override;
  Result<std::string> Combine(std::span<const Part> parts) const override { return CombineCounts(parts); }
  std::vector<Part> KnownAnswers() const override;
  void ResetRound() override;
  std::string State() const override { return plan_ ? "0" : ""; }
  Status Restore(std::string_view state) override;
  // An NQueensCounts message: what was merged, and the placements above the prefixes, which belong to no rank.
  std::string Summary() const override;

 private:
  explicit QueensPlanner(const Spec& spec) : spec_(spec) {}
  Status CheckCounts(Interval interval, const Counts& counts) const;

  Spec spec_;  // depth is chosen, not 0.
  std::shared_ptr<const QueensPlan> plan_;
  // The most that one unmirrored rank can hold: (n - depth)! solutions and sum of (n - depth)! / k! nodes.
  Count128 max_solutions_;
  Count128 max_nodes_;
  Counts merged_;
  uint64_t merged_ranks_ = 0;
};

}  // namespace potluck::nqueens
