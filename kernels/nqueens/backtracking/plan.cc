#include "kernels/nqueens/backtracking/plan.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/math/mix64.h"
#include "kernels/nqueens/backtracking/known_answers.h"

namespace potluck::nqueens {
namespace {

constexpr size_t kDives = 400'000;  // In all, so that opening costs well under a second.
constexpr int kMaxDivesPerStem = 200;

// A uniformly random set bit of `mask` (not 0).
uint32_t RandomBit(uint32_t mask, uint64_t random) {
  uint64_t skip = (random >> 32) * static_cast<uint64_t>(std::popcount(mask)) >> 32;
  for (; skip > 0; --skip) mask &= mask - 1;
  return mask & (0u - mask);
}

}  // namespace

QueensPlan::QueensPlan(int n, int depth) : table_(n, depth) {
  const size_t stems = table_.stems().size();
  const int dives = static_cast<int>(std::clamp<size_t>(kDives / stems, 1, kMaxDivesPerStem));
  cost_before_stem_.reserve(stems + 1);
  cost_before_stem_.push_back(0);
  for (size_t stem = 0; stem < stems; ++stem) {
    cost_before_stem_.push_back(cost_before_stem_.back() + EstimateStem(stem, dives));
  }
}

uint64_t QueensPlan::StemEnd(size_t stem) const {
  return stem + 1 < table_.stems().size() ? table_.stems()[stem + 1].first_rank : table_.size();
}

double QueensPlan::EstimateStem(size_t stem, int dives) const {
  const uint32_t full = FullMask(table_.n());
  uint64_t random = Mix64(stem + 1);
  double sum = 0;
  for (int dive = 0; dive < dives; ++dive) {
    Prefix prefix = table_.stems()[stem].prefix;
    double width = 1;
    for (int row = table_.stem_depth(); row < table_.n(); ++row) {
      const uint32_t free = row < table_.depth() ? table_.Branches(row, prefix) : prefix.Free(full);
      if (free == 0) break;
      width *= std::popcount(free);
      if (row + 1 >= table_.depth()) sum += width;
      random = Mix64(random + 0x9e3779b97f4a7c15u);
      prefix = prefix.With(RandomBit(free, random));
    }
  }
  // Each rank holds one node at least.
  return std::max(sum / dives, static_cast<double>(StemEnd(stem) - table_.stems()[stem].first_rank));
}

double QueensPlan::CostBefore(uint64_t rank) const {
  if (rank >= table_.size()) return cost_before_stem_.back();
  const size_t stem = table_.StemOf(rank);
  const uint64_t first = table_.stems()[stem].first_rank;
  const double share = static_cast<double>(rank - first) / static_cast<double>(StemEnd(stem) - first);
  return cost_before_stem_[stem] + share * (cost_before_stem_[stem + 1] - cost_before_stem_[stem]);
}

uint64_t QueensPlan::RankAtCost(double cost) const {
  const auto after = std::upper_bound(cost_before_stem_.begin(), cost_before_stem_.end(), cost);
  if (after == cost_before_stem_.end()) return table_.size();
  if (after == cost_before_stem_.begin()) return 0;
  const size_t stem = static_cast<size_t>(after - cost_before_stem_.begin()) - 1;
  const double share = (cost - cost_before_stem_[stem]) / (*after - cost_before_stem_[stem]);
  const uint64_t first = table_.stems()[stem].first_rank;
  const uint64_t ranks = StemEnd(stem) - first;
  return first + std::min(ranks, static_cast<uint64_t>(share * static_cast<double>(ranks)));
}

double QueensPlan::Cost(Interval interval) const {
  if (interval.empty()) return 0;
  return std::max(0.0, CostBefore(interval.end) - CostBefore(interval.begin));
}

uint64_t QueensPlan::Cut(Interval within, double cost) const {
  if (within.empty()) return within.end;
  // Not-a-number and negative costs cut off a single rank.
  if (!(cost > 0)) return within.begin + 1;
  return std::clamp(RankAtCost(CostBefore(within.begin) + cost), within.begin + 1, within.end);
}

Result<std::unique_ptr<Planner>> QueensPlanner::Create(std::string_view spec_bytes) {
  Result<Spec> spec = DecodeSpec(spec_bytes);
  if (!spec.ok()) return spec.status();
  if (spec->depth == 0) spec->depth = static_cast<uint32_t>(DefaultDepth(static_cast<int>(spec->n)));
  return std::unique_ptr<Planner>(new QueensPlanner(*spec));
}

Result<std::shared_ptr<const RoundPlan>> QueensPlanner::MakePlan() {
  const int n = static_cast<int>(spec().n);
  const int depth = static_cast<int>(spec().depth);
  // 31! < 2^113, and with the factor e and 2^27 ranks of weight 2 the sums would pass 2^128: CheckCounts saturates.
  max_solutions_ = 1;
  max_nodes_ = 1;
  for (int rows = 1; rows <= n - depth; ++rows) {
    // A subtree of `rows` rows: its root and at most `rows` subtrees below.
    const Count128 factor(static_cast<uint64_t>(rows));
    if (!max_solutions_.Multiply(factor) || !max_nodes_.Multiply(factor) || !max_nodes_.Add(1)) {
      return Status::Error("The bounds on counts for n = " + std::to_string(n) + " do not fit 128 bits.");
    }
  }
  plan_ = std::make_shared<QueensPlan>(n, depth);
  return std::shared_ptr<const RoundPlan>(plan_);
}

Counts QueensPlanner::Outside() const {
  Counts counts;
  counts.nodes = plan_->table().interior().nodes;
  counts.visited = plan_->table().interior().visited;
  return counts;
}

std::vector<Part> QueensPlanner::KnownAnswers() const {
  return is_open() ? nqueens::KnownAnswers(plan_->table()) : std::vector<Part>();
}

Status QueensPlanner::CheckCounts(Interval interval, const Counts& counts) const {
  const auto refuse = [&](const char* field, Count128 value, const std::string& allowed) {
    return Refusal(interval, field, value, allowed);
  };
  const auto times_ranks = [&](Count128 bound) { return bound.Multiply(interval.size()) ? bound : Count128::Max(); };
  const Count128 max_visited = times_ranks(max_nodes_);
  if (counts.visited < Count128(interval.size()) || counts.visited > max_visited) {
    return refuse("visited", counts.visited, std::to_string(interval.size()) + " to " + max_visited.ToString());
  }
  const bool has_middle = plan_->table().HasMiddleRank() && interval.end == plan_->Size();
  Count128 mirrored = counts.visited;
  const bool fits = mirrored.Add(counts.visited);
  if (!has_middle && (!fits || counts.nodes != mirrored)) {
    return refuse("nodes", counts.nodes, "twice visited, " + mirrored.ToString());
  }
  if (counts.nodes < counts.visited || (fits && counts.nodes > mirrored)) {
    return refuse("nodes", counts.nodes, counts.visited.ToString() + " to " + mirrored.ToString());
  }
  Count128 max_solutions = times_ranks(max_solutions_);
  if (!max_solutions.Multiply(2)) max_solutions = Count128::Max();
  max_solutions = std::min(max_solutions, counts.nodes);
  if (counts.solutions > max_solutions) {
    return refuse("solutions", counts.solutions, "0 to " + max_solutions.ToString());
  }
  if (!has_middle && counts.solutions.low() % 2 != 0) {
    return refuse("solutions", counts.solutions, "an even number, as mirror images are counted with each");
  }
  return Status();
}

}  // namespace potluck::nqueens
