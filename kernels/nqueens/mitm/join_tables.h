// Half boards cut once more: the outer columns (farthest from the seam) and the inner ones, tabulated by row set, so
// that a half board of a row set R is an outer placement of some S in R joined with an inner placement of R - S.
// Joining is one AND: an outer entry's conflict word holds the diagonals that reach the inner columns, an inner entry's
// the diagonals on which its queens stand; they fit when the AND is 0, and then the OR of their result words is the
// half board's packed pattern (layout.h).
//
// Immutable after construction, thread-safe; shared by a process's threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/nqueens/mitm/half_board.h"
#include "kernels/nqueens/mitm/layout.h"

namespace potluck::nqueens::mitm {

// Words of 32 bits serve up to n = 17: then conflict words, and patterns with their class, fit.
template <typename Word>
constexpr bool Serves(int n) {
  return sizeof(Word) == 8 || n <= 17;
}

// Outer entries come in blocks of one 64-byte vector of conflict words and one of result words; what a block has too
// many conflicts with everything.
template <typename Word>
inline constexpr size_t kBlockEntries = 64 / sizeof(Word);

template <typename Word>
class JoinTables {
 public:
  JoinTables(const HalfBoard& half, const Layout& layout);
  JoinTables(const JoinTables&) = delete;
  JoinTables& operator=(const JoinTables&) = delete;

  int outer_columns() const { return outer_columns_; }
  int inner_columns() const { return inner_columns_; }
  // Blocks of the outer row set with rank r: [outer_begin()[r], outer_begin()[r + 1]), 2 * kBlockEntries words each.
  const Word* outer() const { return outer_; }
  const uint32_t* outer_begin() const { return outer_begin_.data(); }
  // Entries of the inner row set with rank r: [inner_begin()[r], inner_begin()[r + 1]), conflict word and result word.
  const Word* inner() const { return inner_.data(); }
  const uint32_t* inner_begin() const { return inner_begin_.data(); }
  // The longest lists: blocks of one outer row set, entries of one inner row set.
  uint32_t longest_outer() const { return longest_outer_; }
  uint32_t longest_inner() const { return longest_inner_; }
  size_t bytes() const;

 private:
  void BuildOuter(const HalfBoard& half, const Layout& layout);
  void BuildInner(const HalfBoard& half, const Layout& layout);

  int outer_columns_;
  int inner_columns_;
  std::vector<Word> outer_storage_;  // With room to align.
  Word* outer_ = nullptr;
  std::vector<uint32_t> outer_begin_;
  std::vector<Word> inner_;
  std::vector<uint32_t> inner_begin_;
  uint32_t longest_outer_ = 0;
  uint32_t longest_inner_ = 0;
};

extern template class JoinTables<uint32_t>;
extern template class JoinTables<uint64_t>;

}  // namespace potluck::nqueens::mitm
