// The vectorised backtracking search, once for all instruction sets: `Isa` (in vector_search_*.cc) names the lanes of
// kernels/cpu/lanes_*.h.
//
// Each level (number of open rows) has a buffer of boards that still have columns to try. A batch of them is taken from
// a buffer, a board a lane; every lane places kTries queens; children with a free column are compressed into the next
// level's buffer, boards with columns left back into their own. So the number of steps does not depend on data and
// nearly all lanes are busy: what is mispredicted is paid once a batch. A buffer is expanded when it holds a batch,
// deepest first, so that what is touched stays in the first-level cache.
//
// The last two rows are counted, not searched: two columns are left there, each free or attacked in either row. Nodes
// are counted by counting lanes.
//
// Boards up to 16 columns take 16-bit lanes, larger ones 32-bit lanes; but a board moves over to 16-bit lanes when all
// that matters of it fits a window of 16 columns: with few rows open, the columns at the borders are mostly taken.
//
// Templates over an Isa of internal linkage, so that nothing is shared between instruction sets. Not thread-safe.
#pragma once

#include <assert.h>

#include "kernels/nqueens/backtracking/vector_search.h"

#define POTLUCK_ALWAYS_INLINE inline __attribute__((always_inline))

namespace potluck::nqueens {

// Rules that tests break, to see that counts then come out wrong.
enum class Broken { kNothing, kLeftDiagonal, kRightDiagonal, kNeighbours, kTwoFreeColumns, kWindow };

// Columns that each board tries in one step of a batch. More would idle lanes, fewer would write boards back more
// often.
inline constexpr int kTries = 2;
// Batches are so many vectors: less pays more for mispredicted branches, more falls out of the first-level cache.
inline constexpr size_t kBatchVectors = 8;

template <typename Lanes>
struct Level {
  using Word = typename Lanes::Word;
  static constexpr size_t kBatch = kBatchVectors * Lanes::kLanes;
  // Less than a batch waits when one step adds at most kTries children for each board of a batch, or all children of
  // the boards of one vector; and a store writes a whole vector.
  static constexpr size_t kCapacity = (1 + kTries) * kBatch + Lanes::kLanes;
  static_assert(size_t{kVectorMaxRows} <= kTries * kBatchVectors);

  alignas(kWorkspaceAlignment) Word columns[kCapacity];  // Occupied; ones above the board.
  alignas(kWorkspaceAlignment) Word left[kCapacity];
  alignas(kWorkspaceAlignment) Word right[kCapacity];
  alignas(kWorkspaceAlignment) Word free[kCapacity];  // Still to try in this row; never 0.
  size_t size;
};

template <typename Isa>
struct Workspace {
  Level<typename Isa::Narrow> narrow[kVectorMaxRows + 1];  // By open rows.
  Level<typename Isa::Wide> wide[kVectorMaxRows + 1];
};

// An Isa has Wide, lanes of 32 bits, and Narrow, lanes of 16 bits; then also WideToNarrowPacker and
// kMaxWindowedColumns, the largest board that is worth looking for windows. Or Narrow is Wide.
template <typename Isa, Broken kBroken = Broken::kNothing>
class LevelSearch {
 public:
  // VectorPath::search.
  static SubtreeCounts Search(void* workspace, const SearchShape& shape, const Seed* seeds, size_t count) {
    LevelSearch search(*static_cast<Workspace<Isa>*>(workspace), shape);
    if (search.columns_ <= Narrow::kBits) {
      search.template SearchSeeds<Narrow>(seeds, count);
    } else {
      search.template SearchSeeds<Wide>(seeds, count);
    }
    return search.counts_;
  }

 private:
  using Narrow = typename Isa::Narrow;
  using Wide = typename Isa::Wide;
  template <typename Lanes>
  static constexpr bool kCanMove = Lanes::kBits > Narrow::kBits;

  // The boards of one vector.
  template <typename Lanes>
  struct Boards {
    typename Lanes::Vector columns, left, right, free;
  };

  LevelSearch(Workspace<Isa>& workspace, const SearchShape& shape)
      : workspace_(workspace), full_(shape.full), rows_(shape.rows), columns_(__builtin_popcount(shape.full)) {}

  template <typename Lanes>
  Level<Lanes>& At(int rows) {
    if constexpr (kCanMove<Lanes>) {
      return workspace_.wide[rows];
    } else {
      return workspace_.narrow[rows];
    }
  }

  template <typename Lanes>
  void SearchSeeds(const Seed* seeds, size_t count) {
    using Word = typename Lanes::Word;
    Level<Lanes>& top = At<Lanes>(rows_);
    for (size_t i = 0; i < count; ++i) {
      const Seed& seed = seeds[i];
      top.columns[top.size] = static_cast<Word>(seed.columns | ~full_);
      top.left[top.size] = static_cast<Word>(seed.left);
      top.right[top.size] = static_cast<Word>(seed.right);
      top.free[top.size] = static_cast<Word>(full_ & ~(seed.columns | seed.left | seed.right));
      ++top.size;
      ExpandWhile<Lanes>(rows_, Level<Lanes>::kBatch);
    }
    for (int rows = rows_; rows >= kMinRows; --rows) {
      if constexpr (kCanMove<Lanes>) ExpandWhile<Lanes>(rows, 1);
      ExpandWhile<Narrow>(rows, 1);
    }
  }

  // Expands the level while it holds at least `boards`; of the levels below less than a batch is left.
  template <typename Lanes>
  void ExpandWhile(int rows, size_t boards) {
    while (At<Lanes>(rows).size >= boards) {
      if (rows == kMinRows) {
        ExpandLast<Lanes>();
        continue;
      }
      if constexpr (kCanMove<Lanes>) {
        // Looking is dear; twice, where the boards are few and most of the nodes are still below, is best.
        if (columns_ <= Isa::kMaxWindowedColumns && (rows == 10 || rows == 8)) {
          Expand<Lanes, true>(rows);
          ExpandWhile<Narrow>(rows - 1, Level<Narrow>::kBatch);
        } else {
          Expand<Lanes, false>(rows);
        }
      } else {
        Expand<Lanes, false>(rows);
      }
      ExpandWhile<Lanes>(rows - 1, Level<Lanes>::kBatch);
    }
  }

  // Expands a batch, or all there is, of a level with more than kMinRows open rows.
  template <typename Lanes, bool kWindows>
  __attribute__((noinline)) void Expand(int rows) {
    Level<Lanes>& below = At<Lanes>(rows - 1);
    Level<Narrow>& windowed = At<Narrow>(rows - 1);
    size_t below_size = below.size;
    size_t windowed_size = windowed.size;
    counts_.nodes += PlaceBatch<Lanes, kTries>(
        At<Lanes>(rows), [&](typename Lanes::Mask active, const Boards<Lanes>& child) __attribute__((always_inline)) {
          auto alive = Lanes::NonZero(active, child.free);
          if constexpr (kWindows) alive = MoveToWindows(windowed, windowed_size, alive, child, columns_);
          Append<Lanes>(below, below_size, alive, child);
        });
    if constexpr (kWindows) windowed.size = windowed_size;
    below.size = below_size;
  }

  // The same with three open rows.
  template <typename Lanes>
  __attribute__((noinline)) void ExpandLast() {
    SubtreeCounts below{0, 0};
    const uint64_t placed = PlaceBatch<Lanes, 1>(
        At<Lanes>(kMinRows), [&](typename Lanes::Mask active, const Boards<Lanes>& child)
                                 __attribute__((always_inline)) { CountLastTwoRows<Lanes>(active, child, below); });
    counts_.solutions += below.solutions;
    counts_.nodes += placed + below.nodes;
  }

  // Takes a batch of boards and calls visit(active, children) for each vector of queens placed, `kTriesHere` for each
  // vector of boards, whose columns left over are written back; of a single vector all are placed. Returns how many
  // queens were placed.
  template <typename Lanes, int kTriesHere, typename Visit>
  static POTLUCK_ALWAYS_INLINE uint64_t PlaceBatch(Level<Lanes>& level, const Visit& visit) {
    const size_t end = level.size;
    if (end <= Lanes::kLanes) return PlaceAll<Lanes>(level, visit);
    const size_t begin = end > Level<Lanes>::kBatch ? end - Level<Lanes>::kBatch : 0;
    size_t kept = begin;
    uint64_t placed = end - begin;
    for (size_t at = begin; at < end; at += Lanes::kLanes) {
      Boards<Lanes> boards = Load<Lanes>(level, at);
      auto active = Lanes::FirstLanes(end - at);
      visit(active, PlaceLowest<Lanes>(boards));
#pragma GCC unroll 4
      for (int i = 1; i < kTriesHere; ++i) {
        active = Lanes::NonZero(active, boards.free);
        placed += Lanes::Count(active);
        visit(active, PlaceLowest<Lanes>(boards));
      }
      // No more than was loaded, so that no board is overwritten before it is loaded.
      Append<Lanes>(level, kept, Lanes::NonZero(active, boards.free), boards);
    }
    level.size = kept;
    return placed;
  }

  // At the end of a rank buffers hold little; written back, it would be waited for.
  template <typename Lanes, typename Visit>
  static POTLUCK_ALWAYS_INLINE uint64_t PlaceAll(Level<Lanes>& level, const Visit& visit) {
    Boards<Lanes> boards = Load<Lanes>(level, 0);
    auto active = Lanes::FirstLanes(level.size);
    uint64_t placed = 0;
    for (uint64_t count = level.size; count != 0; count = Lanes::Count(active)) {
      placed += count;
      visit(active, PlaceLowest<Lanes>(boards));
      active = Lanes::NonZero(active, boards.free);
    }
    level.size = 0;
    return placed;
  }

  // Places a queen in the lowest free column of each board and takes that column from `boards`; returns the boards
  // below.
  template <typename Lanes>
  static POTLUCK_ALWAYS_INLINE Boards<Lanes> PlaceLowest(Boards<Lanes>& boards) {
    const auto bit = Lanes::And(boards.free, Lanes::Sub(Lanes::Zero(), boards.free));
    boards.free = Lanes::Xor(boards.free, bit);
    const auto left = Lanes::Or(boards.left, bit);
    const auto right = Lanes::Or(boards.right, bit);
    Boards<Lanes> child;
    child.columns = Lanes::Or(boards.columns, bit);
    child.left = kBroken == Broken::kLeftDiagonal ? left : Lanes::Add(left, left);
    child.right = kBroken == Broken::kRightDiagonal ? right : Lanes::ShiftRightOne(right);
    child.free = Lanes::Nor(child.columns, child.left, child.right);
    return child;
  }

  template <typename Lanes>
  static POTLUCK_ALWAYS_INLINE Boards<Lanes> Load(const Level<Lanes>& level, size_t at) {
    return {Lanes::Load(level.columns + at), Lanes::Load(level.left + at), Lanes::Load(level.right + at),
            Lanes::Load(level.free + at)};
  }
  // Writes the boards in `which` from `size` on, which grows by their number.
  template <typename Lanes>
  static POTLUCK_ALWAYS_INLINE void Append(Level<Lanes>& level, size_t& size, typename Lanes::Mask which,
                                           const Boards<Lanes>& boards) {
    assert(size + Lanes::kLanes <= Level<Lanes>::kCapacity);
    const typename Lanes::Packer packer(which);
    packer.Store(level.columns + size, boards.columns);
    packer.Store(level.left + size, boards.left);
    packer.Store(level.right + size, boards.right);
    packer.Store(level.free + size, boards.free);
    size += packer.count();
  }

  // Two columns are left. The last row but one may take those of `free`, the last row those that no diagonal of the
  // rows above attacks, provided the two do not attack each other, which neighbours do.
  template <typename Lanes>
  static POTLUCK_ALWAYS_INLINE void CountLastTwoRows(typename Lanes::Mask active, const Boards<Lanes>& boards,
                                                     SubtreeCounts& counts) {
    const auto open = Lanes::Not(boards.columns);
    const auto last =
        Lanes::Nor(boards.columns, Lanes::Add(boards.left, boards.left), Lanes::ShiftRightOne(boards.right));
    const auto some = Lanes::NonZero(active, boards.free);
    const auto both = Lanes::Equal(some, boards.free, open);
    // With one column free above, the last queen takes the other; with both, either may come last.
    const auto taken = kBroken == Broken::kTwoFreeColumns ? boards.free : Lanes::ClearWhere(both, boards.free);
    const auto final_free = Lanes::AndNot(taken, last);
    auto possible = Lanes::NonZero(some, final_free);
    if (kBroken != Broken::kNeighbours) {
      possible = Lanes::AndZero(possible, Lanes::And(open, Lanes::Add(open, open)));
    }
    const uint64_t solutions = Lanes::Count(possible) + Lanes::Count(Lanes::Equal(possible, final_free, open));
    counts.solutions += solutions;
    counts.nodes += Lanes::Count(some) + Lanes::Count(both) + solutions;
  }

  // Appends those boards of `alive` to `windowed` that fit a window of 16 columns; returns the others. A window must
  // hold all open columns; no attack along `left` may lie below it, for it moves up, and none along `right` above it.
  // Where the open columns leave a choice, the middle of the board is taken: attacks are rarest at the borders.
  static POTLUCK_ALWAYS_INLINE typename Wide::Mask MoveToWindows(Level<Narrow>& windowed, size_t& size,
                                                                 typename Wide::Mask alive, const Boards<Wide>& boards,
                                                                 int columns) {
    const auto open = Wide::Not(boards.columns);
    const auto lowest = Wide::HighestBitIndex(Wide::And(open, Wide::Sub(Wide::Zero(), open)));
    const auto highest = Wide::HighestBitIndex(open);
    const auto start = Wide::Max(Wide::Sub(highest, Wide::Set(Narrow::kBits - 1)),
                                 Wide::Min(lowest, Wide::Set(static_cast<uint32_t>(columns - Narrow::kBits) / 2)));
    const auto below_window = Wide::Sub(Wide::ShiftLeft(Wide::Set(1), start), Wide::Set(1));
    const auto moves_up = kBroken == Broken::kWindow ? open : Wide::Or(open, boards.left);
    const auto moves_down = Wide::ShiftRight(boards.right, Wide::Add(start, Wide::Set(Narrow::kBits)));
    const auto fits = Wide::AndZero(alive, Wide::Or(Wide::And(moves_up, below_window), moves_down));
    assert(size + Wide::kLanes <= Level<Narrow>::kCapacity);
    const typename Isa::WideToNarrowPacker packer(fits);
    // Arithmetic: the columns above the board stay occupied.
    packer.Store(windowed.columns + size, Wide::ShiftRightArithmetic(boards.columns, start));
    packer.Store(windowed.left + size, Wide::ShiftRight(boards.left, start));
    packer.Store(windowed.right + size, Wide::ShiftRight(boards.right, start));
    packer.Store(windowed.free + size, Wide::ShiftRight(boards.free, start));
    size += packer.count();
    return Wide::Without(alive, fits);
  }

  Workspace<Isa>& workspace_;
  const uint32_t full_;
  const int rows_;
  const int columns_;
  SubtreeCounts counts_{0, 0};
};

}  // namespace potluck::nqueens
