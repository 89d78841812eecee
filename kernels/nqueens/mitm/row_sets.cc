#include "kernels/nqueens/mitm/row_sets.h"

#include <algorithm>

namespace potluck::nqueens::mitm {
namespace {

using Triangle = std::array<std::array<uint64_t, 33>, 33>;

constexpr Triangle MakeTriangle() {
  Triangle binomial{};
  for (size_t n = 0; n <= 32; ++n) {
    binomial[n][0] = 1;
    for (size_t k = 1; k <= n; ++k) binomial[n][k] = binomial[n - 1][k - 1] + binomial[n - 1][k];
  }
  return binomial;
}

constexpr Triangle kBinomial = MakeTriangle();

uint32_t AllRows(int n) { return ~uint32_t{0} >> (32 - n); }

Subproblem EvenSubproblem(int n, uint32_t subset) {
  Subproblem subproblem;
  subproblem.east = subset;
  subproblem.west = AllRows(n) & ~subproblem.east;
  const uint32_t east = subproblem.east;
  const uint32_t mirrored = Mirrored(east, n);
  const uint32_t other = Mirrored(subproblem.west, n);
  if (east <= mirrored && east <= subproblem.west && east <= other) subproblem.mirror_weight = east == mirrored ? 1 : 2;
  subproblem.is_own_complement = east == other;
  return subproblem;
}

// Spreads the bits of `set` over the rows that are not `skipped`.
uint32_t Skipping(uint32_t set, int skipped) {
  const uint32_t below = (uint32_t{1} << skipped) - 1;
  return (set & below) | (set & ~below) << 1;
}

Subproblem OddSubproblem(int n, int middle_row, uint32_t subset) {
  const int half = n / 2;
  Subproblem subproblem;
  subproblem.middle_row = middle_row;
  const uint32_t rows = AllRows(n) & ~(uint32_t{1} << subproblem.middle_row);
  const uint32_t east = Skipping(subset, middle_row) | uint32_t{1} << (n - 1);
  subproblem.east = east;
  subproblem.west = rows & ~east;
  // Left to right: row n-1 stands east. Top to bottom: the middle column's queen stands in the upper half.
  // In row 0 it closes the middle row altogether (half_board.h).
  subproblem.mirror_weight = middle_row == 0 ? 0 : 4;
  if (subproblem.middle_row == half) {
    // It stands in the centre: mirroring top to bottom keeps it there, and may swap the halves.
    const uint32_t mirrored = Mirrored(east, n);
    const uint32_t twin = (mirrored & uint32_t{1} << (n - 1)) != 0 ? mirrored : rows & ~mirrored;
    subproblem.mirror_weight = east < twin ? 4 : east == twin ? 2 : 0;
  }
  return subproblem;
}

}  // namespace

uint64_t Binomial(int n, int k) { return k > n ? 0 : kBinomial[static_cast<size_t>(n)][static_cast<size_t>(k)]; }

uint32_t Unrank(uint64_t rank, int k) {
  uint32_t set = 0;
  int element = 31;
  for (; k > 0; --k) {
    while (Binomial(element, k) > rank) --element;
    set |= uint32_t{1} << element;
    rank -= Binomial(element, k);
    --element;
  }
  return set;
}

uint64_t Rank(uint32_t set) {
  uint64_t rank = 0;
  for (int k = 1; set != 0; ++k, set &= set - 1) rank += Binomial(std::countr_zero(set), k);
  return rank;
}

Ranker::Ranker(int n, int k) : high_sets_(size_t{1} << std::max(n - kLowBits, 0)), low_(kLowSets) {
  for (uint32_t set = 0; set < kLowSets; ++set) low_[set] = static_cast<uint32_t>(Rank(set));
  high_.resize(static_cast<size_t>(k + 1) * high_sets_);
  for (int below = 0; below <= k; ++below) {
    for (uint32_t set = 0; set < high_sets_; ++set) {
      uint64_t rank = 0;
      int position = below + 1;
      for (uint32_t rest = set; rest != 0; rest &= rest - 1)
        rank += Binomial(std::countr_zero(rest) + kLowBits, std::min(position++, 32));
      high_[static_cast<size_t>(below) * high_sets_ + set] = static_cast<uint32_t>(rank);
    }
  }
}

uint32_t Mirrored(uint32_t set, int n) {
  // All 32 bits, by swapping ever larger neighbours; then what were the lowest n.
  set = (set & 0x55555555) << 1 | (set >> 1 & 0x55555555);
  set = (set & 0x33333333) << 2 | (set >> 2 & 0x33333333);
  set = (set & 0x0f0f0f0f) << 4 | (set >> 4 & 0x0f0f0f0f);
  return __builtin_bswap32(set) >> (32 - n);
}

uint64_t IndexCount(int n) {
  const int half = n / 2;
  return n % 2 == 0 ? Binomial(n, half) : static_cast<uint64_t>(half + 1) * Binomial(n - 2, half - 1);
}

Subproblem SubproblemAt(int n, uint64_t index) {
  const int half = n / 2;
  if (n % 2 == 0) return EvenSubproblem(n, Unrank(index, half));
  const uint64_t subsets = Binomial(n - 2, half - 1);
  return OddSubproblem(n, static_cast<int>(index / subsets), Unrank(index % subsets, half - 1));
}

SubproblemWalk::SubproblemWalk(int n)
    : n_(n),
      first_((uint32_t{1} << (n % 2 == 0 ? n / 2 : n / 2 - 1)) - 1),
      subset_(first_),
      end_(uint32_t{1} << (n % 2 == 0 ? n : n - 2)) {}

Subproblem SubproblemWalk::Next() {
  if (subset_ >= end_) {
    subset_ = first_;
    ++middle_row_;
  }
  const uint32_t subset = subset_;
  subset_ = NextSubset(subset);
  return n_ % 2 == 0 ? EvenSubproblem(n_, subset) : OddSubproblem(n_, middle_row_, subset);
}

}  // namespace potluck::nqueens::mitm
