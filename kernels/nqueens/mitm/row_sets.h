// Row sets, and the subproblems that an index stands for.
//
// Meeting in the middle fills the board's left and right halves apart: a half is H = n/2 columns, and which rows it
// uses is its row set, an H-subset of the n rows (bit r stands for row r). The other half must use the rows that are
// left. Row sets are ranked by the combinatorial number system (colexicographic: D. E. Knuth, TAOCP 4A, 7.2.1.3): the
// rank of {c1 < c2 < ... < ck} is C(c1,1) + C(c2,2) + ... + C(ck,k), which is their order as numbers.
//
// What an index stands for:
//   n even: the east half's row set, by its rank in [0, C(n, H)).
//   n odd:  (r0, subset): the row r0 in [0, H] of the middle column's queen, and the rank of an (H-1)-subset of the
//   rows
//           other than r0 and n-1; east has those and row n-1. index = r0 * C(n-2, H-1) + rank.
// Of the indices that the board's symmetries make equal only one is counted, with a weight; the others cost nothing.
//
// Pure functions, thread-safe.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace potluck::nqueens::mitm {

inline constexpr int kMinN = 4;   // Smaller boards have no halves to join.
inline constexpr int kMaxN = 25;  // From 26 on the join tables would take more than 1 GiB.

// C(n, k) for n <= 32; 0 for k > n.
uint64_t Binomial(int n, int k);

// The set with this rank among the k-subsets of the natural numbers.
uint32_t Unrank(uint64_t rank, int k);
uint64_t Rank(uint32_t set);

// Rank() by two table look-ups, for sets within the rows below n that have k rows.
class Ranker {
 public:
  Ranker(int n, int k);
  uint32_t operator()(uint32_t set) const {
    const uint32_t low = set & (kLowSets - 1);
    return low_[low] + high_[static_cast<size_t>(std::popcount(low)) * high_sets_ + (set >> kLowBits)];
  }

 private:
  static constexpr int kLowBits = 11;
  static constexpr uint32_t kLowSets = uint32_t{1} << kLowBits;
  size_t high_sets_;
  std::vector<uint32_t> low_;
  std::vector<uint32_t> high_;  // By number of lower rows, then by the higher rows.
};

// The next larger number with as many bits (R. W. Gosper, HAKMEM item 175). `set` must not be 0.
constexpr uint32_t NextSubset(uint32_t set) {
  const uint32_t lowest = set & (0u - set);
  const uint32_t ripple = set + lowest;
  return (((ripple ^ set) >> 2) / lowest) | ripple;
}

// The set with each row r replaced by n-1-r: the board mirrored top to bottom.
uint32_t Mirrored(uint32_t set, int n);

// Number of indices.
uint64_t IndexCount(int n);

// One index: the rows of both halves, and how the pairs of half boards count.
struct Subproblem {
  uint32_t east = 0;
  uint32_t west = 0;
  int middle_row = -1;             // Of the middle column's queen; -1 for even n.
  int mirror_weight = 0;           // 0: another index counts this one's solutions.
  bool is_own_complement = false;  // n even: mirroring top to bottom swaps east and west.

  bool counted() const { return mirror_weight != 0; }
};

// `index` < IndexCount(n).
Subproblem SubproblemAt(int n, uint64_t index);

// All of them in the order of their indices, faster than one by one.
class SubproblemWalk {
 public:
  explicit SubproblemWalk(int n);
  // Call IndexCount(n) times at most.
  Subproblem Next();

 private:
  int n_;
  uint32_t first_;   // The subset of rank 0 ...
  uint32_t subset_;  // ... and the one to be told next.
  uint32_t end_;     // Beyond all subsets.
  int middle_row_ = 0;
};

}  // namespace potluck::nqueens::mitm
