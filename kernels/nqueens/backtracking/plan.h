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

#include "kernels/nqueens/backtracking/prefix.h"
#include "kernels/nqueens/counts_planner.h"
#include "kernels/nqueens/payload.h"
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

class QueensPlanner final : public CountsPlanner {
 public:
  static Result<std::unique_ptr<Planner>> Create(std::string_view spec);

  std::vector<Part> KnownAnswers() const override;

 private:
  explicit QueensPlanner(const Spec& spec) : CountsPlanner(spec) {}  // Its depth is chosen, not 0.
  Result<std::shared_ptr<const RoundPlan>> MakePlan() override;
  // The placements above the prefixes, which belong to no rank.
  Counts Outside() const override;
  Status CheckCounts(Interval interval, const Counts& counts) const override;

  std::shared_ptr<const QueensPlan> plan_;
  // The most that one unmirrored rank can hold: (n - depth)! solutions and sum of (n - depth)! / k! nodes.
  Count128 max_solutions_;
  Count128 max_nodes_;
};

}  // namespace potluck::nqueens
