// The vectorised backtracking search, once for all instruction sets: `Isa` (kernels/cpu/lanes_*.h) has the lanes.
//
// Each level (number of open rows) has a buffer of boards that still have columns to try. A batch of them is taken from
// a buffer, a board a lane; every lane places kTries queens; children with a free column are compressed into the next
// level's buffer, and boards with columns left back into their own. So every lane is busy in every step, and the number
// of steps does not depend on data: what is mispredicted is paid once a batch. A buffer is expanded when it holds a
// batch, deepest first, so that all of them together stay near the first-level cache. The idea of level buffers filled
// by vector compression is Potluck's probe's; nothing of it is published as far as known.
//
// The last two rows are counted, not searched: two columns are left there, each is free or attacked in either row.
// Nodes are counted by counting lanes.
//
// Boards up to 16 columns take 16-bit lanes, larger ones 32-bit lanes; but a board moves over to 16-bit lanes as soon
// as what matters of it fits a window of 16 columns: with few rows open, the columns at the borders are mostly taken.
//
// Everything here is a template over an Isa of internal linkage, so nothing is shared between instruction sets.
#pragma once

#include "kernels/nqueens/backtracking/vector_search.h"

#define POTLUCK_ALWAYS_INLINE inline __attribute__((always_inline))

namespace potluck::nqueens {

// Rules that tests break to see that totals then come out wrong.
enum class Broken { kNothing, kLeftDiagonal, kRightDiagonal, kNeighbours, kTwoFreeColumns, kColumnsLeft, kWindow };

// Columns that each board tries a step. More cost idle lanes, fewer more write-backs.
inline constexpr int kTries = 2;
// Boards of this many columns and more are not worth looking at for windows before the last rows.
inline constexpr int kMaxWindowedColumns = 24;
// Open rows from which on boards move to 16-bit lanes.
inline constexpr int kWindowRows = 8;

template <typename Isa, typename Lanes>
struct Level {
  using Word = typename Lanes::Word;
  static constexpr size_t kBatch = Isa::kBatchVectors * Lanes::kLanes;
  // Up to a batch less one board waits while one step brings kTries children a board of a batch, and a store writes a
  // whole vector.
  static constexpr size_t kCapacity = (1 + kTries) * kBatch + Lanes::kLanes;

  alignas(kWorkspaceAlignment) Word columns[kCapacity];  // Occupied; ones above the board.
  alignas(kWorkspaceAlignment) Word left[kCapacity];
  alignas(kWorkspaceAlignment) Word right[kCapacity];
  alignas(kWorkspaceAlignment) Word free[kCapacity];  // Still to try in this row; never 0.
  size_t size;
};

template <typename Isa>
struct Workspace {
  Level<Isa, typename Isa::Narrow> narrow[kVectorMaxRows + 1];
  Level<Isa, typename Isa::Wide> wide[kVectorMaxRows + 1];
};

template <typename Isa, Broken kBroken = Broken::kNothing>
class LevelSearch {
 public:
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
  using LevelOf = Level<Isa, Lanes>;
  static constexpr bool kTwoWidths = Narrow::kBits != Wide::kBits;
  template <typename Lanes>
  static constexpr bool kIsWide = kTwoWidths && Lanes::kBits == Wide::kBits;

  // The boards that one vector holds.
  template <typename Lanes>
  struct Boards {
    typename Lanes::Vector columns, left, right, free;
  };

  LevelSearch(Workspace<Isa>& workspace, const SearchShape& shape)
      : workspace_(workspace), full_(shape.full), rows_(shape.rows), columns_(__builtin_popcount(shape.full)) {}

  template <typename Lanes>
  LevelOf<Lanes>& At(int rows) {
    if constexpr (kIsWide<Lanes>) {
      return workspace_.wide[rows];
    } else {
      return workspace_.narrow[rows];
    }
  }

  template <typename Lanes>
  void SearchSeeds(const Seed* seeds, size_t count) {
    using Word = typename Lanes::Word;
    LevelOf<Lanes>& top = At<Lanes>(rows_);
    for (size_t i = 0; i < count; ++i) {
      const Seed& seed = seeds[i];
      top.columns[top.size] = static_cast<Word>(seed.columns | ~full_);
      top.left[top.size] = static_cast<Word>(seed.left);
      top.right[top.size] = static_cast<Word>(seed.right);
      top.free[top.size] = static_cast<Word>(full_ & ~(seed.columns | seed.left | seed.right));
      ++top.size;
      ExpandFull<Lanes>(rows_);
    }
    for (int rows = rows_; rows >= kMinRows; --rows) {
      if constexpr (kIsWide<Lanes>) Drain<Wide>(rows);
      Drain<Narrow>(rows);
    }
  }

  // Expands while a whole batch is there.
  template <typename Lanes>
  void ExpandFull(int rows) {
    while (At<Lanes>(rows).size >= LevelOf<Lanes>::kBatch) ExpandAndDescend<Lanes>(rows);
  }
  template <typename Lanes>
  void Drain(int rows) {
    while (At<Lanes>(rows).size > 0) ExpandAndDescend<Lanes>(rows);
  }
  template <typename Lanes>
  void ExpandAndDescend(int rows) {
    if (rows == kMinRows) return ExpandLast<Lanes>();
    if constexpr (kIsWide<Lanes>) {
      if (rows <= kWindowRows && columns_ <= kMaxWindowedColumns) {
        Expand<Lanes, true>(rows);
        ExpandFull<Narrow>(rows - 1);
      } else {
        Expand<Lanes, false>(rows);
      }
    } else {
      Expand<Lanes, false>(rows);
    }
    ExpandFull<Lanes>(rows - 1);
  }

  // Takes the lowest free column of each board: the boards below it; `boards` keep the rest.
  template <typename Lanes>
  static POTLUCK_ALWAYS_INLINE Boards<Lanes> PlaceLowest(Boards<Lanes>& boards) {
    const auto bit = Lanes::And(boards.free, Lanes::Sub(Lanes::Zero(), boards.free));
    boards.free = Lanes::Xor(boards.free, bit);
    const auto left = Lanes::Or(boards.left, bit);
    const auto right = Lanes::Or(boards.right, bit);
    Boards<Lanes> child;
    child.columns = kBroken == Broken::kColumnsLeft ? boards.columns : Lanes::Or(boards.columns, bit);
    child.left = kBroken == Broken::kLeftDiagonal ? left : Lanes::Add(left, left);
    child.right = kBroken == Broken::kRightDiagonal ? right : Lanes::ShiftRightOne(right);
    child.free = Lanes::Nor(child.columns, child.left, child.right);
    return child;
  }

  template <typename Lanes>
  static POTLUCK_ALWAYS_INLINE Boards<Lanes> Load(const LevelOf<Lanes>& level, size_t at) {
    return {Lanes::Load(level.columns + at), Lanes::Load(level.left + at), Lanes::Load(level.right + at),
            Lanes::Load(level.free + at)};
  }
  // Appends the boards in `which` at `size`, which grows.
  template <typename Lanes>
  static POTLUCK_ALWAYS_INLINE void Append(LevelOf<Lanes>& level, size_t& size, typename Lanes::Mask which,
                                           const Boards<Lanes>& boards) {
    const typename Lanes::Packer packer(which);
    packer.Store(level.columns + size, boards.columns);
    packer.Store(level.left + size, boards.left);
    packer.Store(level.right + size, boards.right);
    packer.Store(level.free + size, boards.free);
    size += packer.count();
  }

  template <typename Lanes, bool kWindows>
  __attribute__((noinline)) void Expand(int rows) {
    LevelOf<Lanes>& level = At<Lanes>(rows);
    LevelOf<Lanes>& below = At<Lanes>(rows - 1);
    LevelOf<Narrow>& windowed = At<Narrow>(rows - 1);
    const size_t end = level.size;
    const size_t begin = end > LevelOf<Lanes>::kBatch ? end - LevelOf<Lanes>::kBatch : 0;
    size_t kept = begin;
    size_t below_size = below.size;
    size_t windowed_size = kWindows ? windowed.size : 0;
    uint64_t placed = end - begin;
    for (size_t at = begin; at < end; at += Lanes::kLanes) {
      Boards<Lanes> boards = Load<Lanes>(level, at);
      auto active = Lanes::FirstLanes(end - at);
#pragma GCC unroll 4
      for (int i = 0; i < kTries; ++i) {
        if (i > 0) {
          active = Lanes::NonZero(active, boards.free);
          placed += Lanes::Count(active);
        }
        const Boards<Lanes> child = PlaceLowest<Lanes>(boards);
        auto alive = Lanes::NonZero(active, child.free);
        if constexpr (kWindows) alive = MoveToWindows(windowed, windowed_size, alive, child, columns_);
        Append<Lanes>(below, below_size, alive, child);
      }
      // At most what was loaded is written back, so that no board is overwritten before it is loaded.
      Append<Lanes>(level, kept, Lanes::NonZero(active, boards.free), boards);
    }
    level.size = kept;
    below.size = below_size;
    if (kWindows) windowed.size = windowed_size;
    counts_.nodes += placed;
  }

  // Three open rows: what is below is counted at once.
  template <typename Lanes>
  __attribute__((noinline)) void ExpandLast() {
    LevelOf<Lanes>& level = At<Lanes>(kMinRows);
    const size_t end = level.size;
    const size_t begin = end > LevelOf<Lanes>::kBatch ? end - LevelOf<Lanes>::kBatch : 0;
    size_t kept = begin;
    uint64_t solutions = 0;
    uint64_t placed = end - begin;
    for (size_t at = begin; at < end; at += Lanes::kLanes) {
      Boards<Lanes> boards = Load<Lanes>(level, at);
      const auto active = Lanes::FirstLanes(end - at);
      CountLastTwoRows<Lanes>(active, PlaceLowest<Lanes>(boards), solutions, placed);
      Append<Lanes>(level, kept, Lanes::NonZero(active, boards.free), boards);
    }
    level.size = kept;
    counts_.solutions += solutions;
    counts_.nodes += placed + solutions;
  }

  // Two columns are left. The last row but one may take those of `free`, the last row those that no diagonal of the
  // rows above attacks, provided the two do not attack each other, which neighbours do.
  template <typename Lanes>
  static POTLUCK_ALWAYS_INLINE void CountLastTwoRows(typename Lanes::Mask active, const Boards<Lanes>& boards,
                                                     uint64_t& solutions, uint64_t& placed) {
    const auto open = Lanes::Not(boards.columns);
    const auto last =
        Lanes::Nor(boards.columns, Lanes::Add(boards.left, boards.left), Lanes::ShiftRightOne(boards.right));
    const auto some = Lanes::NonZero(active, boards.free);
    const auto both = Lanes::Equal(some, boards.free, open);
    placed += Lanes::Count(some) + Lanes::Count(both);
    // With one column free above, the last queen takes the other; with both, either may come last.
    const auto taken = kBroken == Broken::kTwoFreeColumns ? boards.free : Lanes::ClearWhere(both, boards.free);
    const auto final_free = Lanes::AndNot(taken, last);
    auto possible = Lanes::NonZero(some, final_free);
    if (kBroken != Broken::kNeighbours) {
      possible = Lanes::AndZero(possible, Lanes::And(open, Lanes::Add(open, open)));
    }
    solutions += Lanes::Count(possible) + Lanes::Count(Lanes::Equal(possible, final_free, open));
  }

  // Appends those boards of `alive` to `windowed` that fit a window of 16 columns; returns the others. A window must
  // hold all open columns; no attack along `left` may lie below it, for it moves up, and none along `right` above it.
  // Where the open columns leave a choice, the middle of the board is taken: attacks are rarest at the borders.
  static POTLUCK_ALWAYS_INLINE typename Wide::Mask MoveToWindows(LevelOf<Narrow>& windowed, size_t& size,
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
