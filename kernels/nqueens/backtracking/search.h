// The backtracking search of one subtree as one lane executes it: a GPU thread, or one of a few lanes that a CPU thread
// interleaves. No thread index, no memory but the lane's own stack: the launcher passes both in, so all of it runs, and
// is tested, on a CPU.
//
// Depth-first with bit masks for the columns and both diagonals (the classical method; see M. Richards, "Backtracking
// algorithms in MCPL using bit patterns and recursion", 1997), iterative. Both lanes place queens with the same Board;
// they differ in the way back up, because memory a lane is scarce on a GPU and mispredicted branches are dear on a CPU:
//
//   UndoLane   one 32-bit word a level, the columns still to try, at stack[level * stride]. On a GPU the words of a
//              level lie side by side in shared memory, so no two lanes of a warp meet in a bank. The rest is undone:
//              the last column tried is the lowest bit of the word, and the diagonals are wide enough to lose no bit.
//   SaveLane   whole boards on the stack, no data-dependent branch within a subtree: every step is one placement.
#pragma once

#include "kernels/math/host_device.h"

namespace potluck::nqueens {

// A subtree to search: the board as its first open row sees it, and the slot that its counts are added to.
struct Seed {
  uint32_t columns;  // Occupied columns.
  uint32_t left;     // Attacked along diagonals that move one column up a row.
  uint32_t right;    // Attacked along diagonals that move one column down a row.
  uint32_t slot;
};

// What all seeds of one search share.
struct SearchShape {
  uint32_t full;  // The n lowest bits.
  int rows;       // Open rows below a seed; at least kMinRows.
};

constexpr int kMinRows = 3;

// A partial placement as the next row sees it. `Diagonal` has 32 bits, or more to be able to take queens back: 32 bits
// are enough for that while n + rows <= 32, and 64 always. `right` is held `offset` bits up.
template <typename Diagonal>
struct Board {
  uint32_t columns;
  Diagonal left;
  Diagonal right;
  uint32_t free;  // Columns that the next row may take.

  POTLUCK_HOST_DEVICE static Board Of(uint32_t full, const Seed& seed, int offset) {
    return {seed.columns, seed.left, static_cast<Diagonal>(seed.right) << offset,
            full & ~(seed.columns | seed.left | seed.right)};
  }
  // The board after a queen in column `bit`.
  POTLUCK_HOST_DEVICE Board With(uint32_t full, uint32_t bit, int offset) const {
    Board child;
    child.columns = columns | bit;
    child.left = static_cast<Diagonal>(left | bit) << 1;
    child.right = static_cast<Diagonal>(right | static_cast<Diagonal>(bit) << offset) >> 1;
    child.free =
        full & ~(child.columns | static_cast<uint32_t>(child.left) | static_cast<uint32_t>(child.right >> offset));
    return child;
  }
};

// `Count` of 32 bits serves up to 12 rows: 12! * e < 2^32.
constexpr int kMaxRowsFor32BitCounts = 12;

template <typename Diagonal, typename Count>
class UndoLane {
 public:
  // Words of stack needed: the last two rows need none.
  POTLUCK_HOST_DEVICE static constexpr int StackWords(int rows) { return rows - 2; }
  // Whether Diagonal is wide enough.
  POTLUCK_HOST_DEVICE static constexpr bool Serves(int n, int rows) { return sizeof(Diagonal) == 8 || n + rows <= 32; }

  POTLUCK_HOST_DEVICE void Start(const SearchShape& shape, const Seed& seed) {
    board_ = Board<Diagonal>::Of(shape.full, seed, Offset(shape));
    level_ = 0;
    placed_ = 0;
    solutions_ = 0;
  }

  // Places one queen or goes one level up; false when the subtree is done.
  POTLUCK_HOST_DEVICE bool Step(const SearchShape& shape, uint32_t* stack, int stride) {
    if (board_.free == 0) {
      if (level_ == 0) return false;
      --level_;
      GoUp(stack[level_ * stride], Offset(shape));
      return true;
    }
    const uint32_t bit = board_.free & (0u - board_.free);
    const Board<Diagonal> child = board_.With(shape.full, bit, Offset(shape));
    ++placed_;
    if (child.free != 0 && level_ != shape.rows - 2) {
      stack[level_ * stride] = board_.free;
      ++level_;
      board_ = child;
    } else {
      // A dead end; or the last row but one, below which a single column is left, and it is free or attacked.
      solutions_ += child.free != 0;
      board_.free ^= bit;
    }
    return true;
  }

  POTLUCK_HOST_DEVICE Count solutions() const { return solutions_; }
  // Placements below the seed, its own last one not included.
  POTLUCK_HOST_DEVICE Count nodes() const { return placed_ + solutions_; }

 private:
  POTLUCK_HOST_DEVICE static int Offset(const SearchShape& shape) { return sizeof(Diagonal) == 8 ? 32 : shape.rows; }

  POTLUCK_HOST_DEVICE void GoUp(uint32_t word, int offset) {
    const uint32_t bit = word & (0u - word);
    board_.free = word ^ bit;
    board_.columns ^= bit;
    board_.left = (board_.left >> 1) & ~static_cast<Diagonal>(bit);
    board_.right = (board_.right << 1) & ~(static_cast<Diagonal>(bit) << offset);
  }

  Board<Diagonal> board_;
  int level_;
  Count placed_;
  Count solutions_;
};

template <int kMaxRows>
class SaveLane {
 public:
  POTLUCK_HOST_DEVICE void Start(const SearchShape& shape, const Seed& seed) {
    board_ = Board<uint32_t>::Of(shape.full, seed, 0);
    top_ = 1;
    solutions_ = 0;
  }

  // Places exactly one queen; false when that was the subtree's last. The seed must have a free column.
  POTLUCK_HOST_DEVICE bool Step(const SearchShape& shape) {
    // Push what is left of this row and the row below, each kept only if it has a free column; then go on with the top.
    const uint32_t rest = board_.free & (board_.free - 1);
    const Board<uint32_t> child = board_.With(shape.full, board_.free ^ rest, 0);
    stack_[top_] = {board_.columns, board_.left, board_.right, rest};
    top_ += rest != 0;
    stack_[top_] = child;
    top_ += child.free != 0;
    solutions_ += child.columns == shape.full;
    --top_;
    board_ = stack_[top_];
    return top_ != 0;
  }

  POTLUCK_HOST_DEVICE uint64_t solutions() const { return solutions_; }

 private:
  Board<uint32_t> board_;
  uint32_t top_;
  uint64_t solutions_;
  Board<uint32_t> stack_[kMaxRows + 2] = {};  // Entry 0 is never pushed to: it is popped at the end.
};

}  // namespace potluck::nqueens
