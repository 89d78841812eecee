#include "kernels/nqueens/backtracking/known_answers.h"

#include <algorithm>

#include "kernels/math/mix64.h"
#include "kernels/nqueens/payload.h"

namespace potluck::nqueens {
namespace {

constexpr size_t kAnswers = 4;
constexpr uint64_t kDraws = 16;
constexpr uint64_t kMostRanks = 8;  // In an interval.
// Placements, which take about 10 ns each: for one interval, and for all.
constexpr int64_t kEffort = 1'000'000;
constexpr int64_t kTotalEffort = 3'000'000;

// One rank's subtree, by the recursion that every textbook has.
class PlainCount {
 public:
  PlainCount(uint32_t full, int64_t& effort) : full_(full), effort_(effort) {}

  // Places queens in the rows below; false when that takes more than the effort, which is used up then.
  bool Place(uint32_t columns, uint32_t up, uint32_t down) {
    for (uint32_t column = 1; column != 0 && column <= full_; column <<= 1) {
      if (((columns | up | down) & column) != 0) continue;
      if (--effort_ < 0) return false;
      ++nodes_;
      if ((columns | column) == full_) {
        ++solutions_;
      } else if (!Place(columns | column, (up | column) << 1, (down | column) >> 1)) {
        return false;
      }
    }
    return true;
  }

  uint64_t nodes() const { return nodes_; }
  uint64_t solutions() const { return solutions_; }

 private:
  const uint32_t full_;
  int64_t& effort_;
  uint64_t nodes_ = 1;  // The prefix's own last placement.
  uint64_t solutions_ = 0;
};

// Adds what the rank stands for to `sum`; false when that takes too long.
bool AddRank(const PrefixTable& table, uint64_t rank, const Prefix& prefix, int64_t& effort, Counts& sum) {
  const uint32_t full = FullMask(table.n());
  PlainCount count(full, effort);
  if (prefix.columns != full && !count.Place(prefix.columns, prefix.left, prefix.right)) return false;
  const uint64_t solutions = prefix.columns == full ? 1 : count.solutions();
  const uint64_t weight = static_cast<uint64_t>(table.Weight(rank));
  Counts one;
  one.solutions = solutions * weight;
  one.nodes = count.nodes() * weight;
  one.visited = count.nodes();
  one.checksum = Mix64(rank, solutions, count.nodes());
  return sum.Add(one);
}

// The answer of the longest interval from `first` on, inside its stem, that `effort` is enough for; takes what it uses
// off `effort`.
Part Answer(const PrefixTable& table, uint64_t first, uint64_t ranks, int64_t& effort) {
  const size_t stem = table.StemOf(first);
  std::vector<Prefix> prefixes;
  table.AppendPrefixes(stem, prefixes);
  const uint64_t skipped = first - table.stems()[stem].first_rank;
  Counts sum;
  uint64_t rank = first;
  for (; rank < first + ranks && skipped + (rank - first) < prefixes.size(); ++rank) {
    if (!AddRank(table, rank, prefixes[skipped + (rank - first)], effort, sum)) break;
  }
  return {{first, rank}, Encode(sum)};
}

}  // namespace

std::vector<Part> KnownAnswers(const PrefixTable& table) {
  std::vector<Part> answers;
  int64_t total = kTotalEffort;
  for (uint64_t draw = 1; draw <= kDraws && answers.size() < kAnswers && total > 0; ++draw) {
    const uint64_t random = Mix64(draw);
    const int64_t given = std::min(total, kEffort);
    int64_t left = given;
    Part answer = Answer(table, random % table.size(), 1 + (random >> 32) % kMostRanks, left);
    total -= given - left;
    if (!answer.interval.empty()) answers.push_back(std::move(answer));
  }
  return answers;
}

}  // namespace potluck::nqueens
