#include "kernels/nqueens/mitm/join_tables.h"

#include <algorithm>

#include "kernels/nqueens/mitm/row_sets.h"

namespace potluck::nqueens::mitm {
namespace {

// Which columns are joined on the outside. Longer outer lists fill vectors better; shorter ones keep the tables in the
// caches. By measurement (docs/results.md).
int OuterColumns(int n) { return n <= 17 ? n / 2 - std::max((n / 2 + 1) / 3, 1) : (n / 2 + 1) / 2; }

// A conflict word has room for `up` without its bit 0 (never set) and `down` without bit n-1 (never set).
template <typename Word>
Word ConflictWord(uint32_t up, uint32_t down) {
  return static_cast<Word>(up >> 1) | static_cast<Word>(down) << (sizeof(Word) * 4);
}

// Calls visit(rows, conflict word, result word) for each conflict-free placement in the columns at distance
// outermost..innermost.
template <typename Word, typename Visit>
class Enumeration {
 public:
  Enumeration(const HalfBoard& half, const Layout& layout, int outermost, int innermost, const Visit& visit)
      : half_(half), layout_(layout), outermost_(outermost), innermost_(innermost), visit_(visit) {}

  void Run() { Place(outermost_, {}); }

 private:
  struct Board {
    uint32_t rows = 0;
    uint64_t up = 0;
    uint32_t down = 0;
    uint32_t seen_up = 0;  // On which of the diagonals that come from outside the queens stand, at the first column.
    uint32_t seen_down = 0;
  };

  void Place(int j, const Board& board) {
    if (j < innermost_) return Finish(board);
    const uint32_t rows = half_.all_rows();
    uint32_t free = rows & ~(board.rows | static_cast<uint32_t>(board.up) | board.down | half_.Closed(j));
    const int column = outermost_ - j + (half_.defect() == Defect::kInnerConflictIsShifted && j < outermost_ ? 1 : 0);
    for (; free != 0; free &= free - 1) {
      const uint32_t bit = free & (0u - free);
      Board next;
      next.rows = board.rows | bit;
      next.up = (board.up | bit) << 1;
      next.down = (board.down | bit) >> 1;
      next.seen_up = board.seen_up | bit >> column;
      next.seen_down = board.seen_down | ((bit << column) & rows);
      Place(j - 1, next);
    }
  }

  void Finish(const Board& board) {
    // The columns further in move the diagonals on.
    const int rest = innermost_ - 1;
    const Word result = static_cast<Word>(layout_.Pack(half_.PatternOf(board.up << rest, board.down >> rest)));
    const bool outer = innermost_ > 1;
    const uint32_t up = outer ? static_cast<uint32_t>(board.up) & half_.all_rows() : board.seen_up;
    const uint32_t down = outer ? board.down : board.seen_down;
    visit_(board.rows, ConflictWord<Word>(up, down), result);
  }

  const HalfBoard& half_;
  const Layout& layout_;
  const int outermost_;
  const int innermost_;
  const Visit& visit_;
};

template <typename Word, typename Visit>
void Enumerate(const HalfBoard& half, const Layout& layout, int outermost, int innermost, const Visit& visit) {
  Enumeration<Word, Visit>(half, layout, outermost, innermost, visit).Run();
}

}  // namespace

template <typename Word>
JoinTables<Word>::JoinTables(const HalfBoard& half, const Layout& layout)
    : outer_columns_(OuterColumns(half.n())), inner_columns_(half.columns() - outer_columns_) {
  BuildOuter(half, layout);
  BuildInner(half, layout);
}

template <typename Word>
void JoinTables<Word>::BuildOuter(const HalfBoard& half, const Layout& layout) {
  constexpr size_t kEntries = kBlockEntries<Word>;
  const Ranker ranker(half.n(), outer_columns_);
  const size_t sets = Binomial(half.n(), outer_columns_);
  const int innermost = inner_columns_ + 1;
  std::vector<uint32_t> count(sets);
  Enumerate<Word>(half, layout, half.columns(), innermost, [&](uint32_t rows, Word, Word) { ++count[ranker(rows)]; });
  outer_begin_.resize(sets + 1);
  for (size_t set = 0; set < sets; ++set) {
    outer_begin_[set + 1] = outer_begin_[set] + static_cast<uint32_t>((count[set] + kEntries - 1) / kEntries);
  }
  longest_outer_ = (*std::max_element(count.begin(), count.end()) + kEntries - 1) / kEntries;
  const size_t words = outer_begin_[sets] * 2 * kEntries;
  outer_storage_.assign(words + kEntries, 0);
  const size_t misaligned = reinterpret_cast<uintptr_t>(outer_storage_.data()) % 64;
  outer_ = outer_storage_.data() + (misaligned == 0 ? 0 : (64 - misaligned) / sizeof(Word));
  for (size_t block = 0; block < outer_begin_[sets]; ++block) {
    std::fill_n(outer_ + block * 2 * kEntries, kEntries, ~Word{0});
  }
  std::fill(count.begin(), count.end(), 0);
  Enumerate<Word>(half, layout, half.columns(), innermost, [&](uint32_t rows, Word conflict, Word result) {
    const uint32_t rank = ranker(rows);
    const size_t entry = count[rank]++;
    Word* const block = outer_ + (outer_begin_[rank] + entry / kEntries) * 2 * kEntries;
    block[entry % kEntries] = conflict;
    block[kEntries + entry % kEntries] = result;
  });
}

template <typename Word>
void JoinTables<Word>::BuildInner(const HalfBoard& half, const Layout& layout) {
  const Ranker ranker(half.n(), inner_columns_);
  const size_t sets = Binomial(half.n(), inner_columns_);
  std::vector<uint32_t> count(sets);
  Enumerate<Word>(half, layout, inner_columns_, 1, [&](uint32_t rows, Word, Word) { ++count[ranker(rows)]; });
  inner_begin_.resize(sets + 1);
  for (size_t set = 0; set < sets; ++set) inner_begin_[set + 1] = inner_begin_[set] + count[set];
  longest_inner_ = *std::max_element(count.begin(), count.end());
  inner_.resize(size_t{2} * inner_begin_[sets] + 16);  // Prefetching may run past the end.
  std::copy(inner_begin_.begin(), inner_begin_.end() - 1, count.begin());
  Enumerate<Word>(half, layout, inner_columns_, 1, [&](uint32_t rows, Word conflict, Word result) {
    Word* const entry = &inner_[size_t{2} * count[ranker(rows)]++];
    entry[0] = conflict;
    entry[1] = result;
  });
}

template <typename Word>
size_t JoinTables<Word>::bytes() const {
  return (outer_storage_.size() + inner_.size()) * sizeof(Word) + (outer_begin_.size() + inner_begin_.size()) * 4;
}

template class JoinTables<uint32_t>;
template class JoinTables<uint64_t>;

}  // namespace potluck::nqueens::mitm
