// Prefixes: conflict-free placements of the first `depth` rows, ranked. A rank stands for the subproblem "everything
// below this prefix", so an interval of ranks is all that is needed to describe a piece of an N-Queens job.
//
// Canonical order: lexicographic by (column of row 0, column of row 1, ...), column 0 first, over one representative of
// each pair of mirror images: row 0 stands left of the middle; or, for odd n, in the middle, and then row 1 stands left
// of the middle. So every rank has weight 2, but for odd n and depth 1 the last one (row 0 in the middle), which has 1.
//
// Nodes: a rank owns its prefix's last placement and all placements below it. Shallower placements (`interior()`), dead
// ends included, belong to no rank: who sums up all ranks adds them once.
//
// Memory: only the prefixes two rows shallower ("stems") are stored, at most 300,000 of 24 bytes; the ranks below a
// stem are enumerated again when they are needed. Immutable after construction, thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/nqueens/backtracking/search.h"
#include "kernels/workload/interval.h"

namespace potluck::nqueens {

// The depth that the planner chooses: subproblems of very roughly 10^4 to 10^9 nodes, at most 1.3 * 10^8 of them.
int DefaultDepth(int n);
// The deepest prefix that a specification may ask for.
int MaxPrefixDepth(int n);

// A partial placement, as the next row sees it. Bit c stands for column c.
struct Prefix {
  uint32_t columns = 0;  // Occupied columns.
  uint32_t left = 0;     // Columns attacked along diagonals toward higher columns.
  uint32_t right = 0;    // Columns attacked along diagonals toward lower columns.

  Prefix With(uint32_t column_bit) const {
    return {columns | column_bit, (left | column_bit) << 1, (right | column_bit) >> 1};
  }
  uint32_t Free(uint32_t full) const { return full & ~(columns | left | right); }
};

inline uint32_t FullMask(int n) { return ~uint32_t{0} >> (32 - n); }

class PrefixTable {
 public:
  // 1 <= n <= kMaxN, 1 <= depth <= MaxPrefixDepth(n).
  PrefixTable(int n, int depth);

  int n() const { return n_; }
  int depth() const { return depth_; }
  uint64_t size() const { return size_; }
  // How often a rank's counts stand on the full board: 2, or 1.
  int Weight(uint64_t rank) const { return HasMiddleRank() && rank + 1 == size_ ? 1 : 2; }
  bool HasMiddleRank() const { return depth_ == 1 && n_ % 2 == 1; }

  struct Interior {
    uint64_t nodes = 0;    // On the full board.
    uint64_t visited = 0;  // Mirrored ones counted once.
  };
  const Interior& interior() const { return interior_; }

  // The columns that may follow `prefix` in `row` (< depth) on the way to a prefix of the canonical order.
  uint32_t Branches(int row, const Prefix& prefix) const;

  struct Stem {
    Prefix prefix;
    uint64_t first_rank = 0;
  };
  int stem_depth() const { return stem_depth_; }
  const std::vector<Stem>& stems() const { return stems_; }
  // Index of the stem that holds `rank` (< size()).
  size_t StemOf(uint64_t rank) const;
  // Appends the prefixes below a stem, in rank order.
  void AppendPrefixes(size_t stem, std::vector<Prefix>& prefixes) const;

 private:
  void AddStems(int row, const Prefix& prefix);
  uint64_t CountBelow(int row, const Prefix& prefix);
  void CountInterior(int row, const Prefix& prefix);
  void Append(int row, const Prefix& prefix, std::vector<Prefix>& prefixes) const;

  int n_;
  int depth_;
  int stem_depth_;
  uint64_t size_ = 0;
  Interior interior_;
  std::vector<Stem> stems_;
};

}  // namespace potluck::nqueens
