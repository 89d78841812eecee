// The geometry of one half of the board: which cells are closed, and what a half board looks like across the seam.
//
// Both halves are seen from the seam: columns are at distance j = H..1 from it (from the middle column when n is odd),
// filled from the outside in. A placement in row b moves along its diagonals by one row a column: `up` toward higher
// rows, `down` toward lower ones. What reaches the other half is the half board's pattern: P, the diagonals that go up
// across the seam, and Q, those that go down; the other half's P and Q are the same diagonals of the board the other
// way round, so an east half board e and a west one w fit when e.P & w.Q and e.Q & w.P are 0.
//
// How the remaining symmetry is used:
//   n even: a pattern's class is whether it has the two long diagonals (index H-1 of P and of Q). Every solution can be
//           turned so that east has none of them: pairs count 4 when west has both, 2 when it has one; when it has
//           none, 2, or 1 where east and west are mirror images (row_sets.h).
//   n odd:  transposing the board swaps "distance d of the middle column's queen from the middle row" and "distance j
//   of
//           the middle row's queen from the middle column"; they differ, or the two queens would stand on a diagonal.
//           Only j > d is counted, twice: the middle row is closed at j <= d. With the queen in the centre there is
//           nothing to choose.
//
// Immutable, thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace potluck::nqueens::mitm {

// Deliberately broken rules, so that tests can show that each of them matters.
enum class Defect {
  kNone,
  kBothDiagonalsCountTwo,      // Class weight, n even.
  kOwnComplementCountsTwo,     // Weight of pairs without long diagonals where east and west are mirror images.
  kMirrorWeightAlwaysTwo,      // Row sets that are their own mirror image.
  kLongDiagonalIsShifted,      // The class is read from index H.
  kPatternIsNotShifted,        // P is taken one column too early.
  kOddPatternIsNotShifted,     // Q does not cross the middle column.
  kMiddleQueenMissesDiagonal,  // n odd: one diagonal of the middle column's queen is not closed.
  kTransposedIsNotCounted,     // Class weight, n odd.
  kInnerConflictIsShifted,     // Joining: inner queens are looked for one column too far in.
};

struct Pattern {
  uint32_t up = 0;    // P
  uint32_t down = 0;  // Q
};

// Weights of the four classes of a half board that is streamed against class 0 of the other half. For odd n there is
// only class 0.
using ClassWeights = std::array<uint32_t, 4>;

class HalfBoard {
 public:
  // `middle_row` as in Subproblem.
  HalfBoard(int n, int middle_row, Defect defect = Defect::kNone);

  int n() const { return n_; }
  int columns() const { return n_ / 2; }
  bool odd() const { return n_ % 2 != 0; }
  int middle_row() const { return middle_row_; }
  Defect defect() const { return defect_; }
  uint32_t all_rows() const { return ~uint32_t{0} >> (32 - n_); }
  // Rows closed in the column at distance j (1..columns()).
  uint32_t Closed(int j) const { return closed_[static_cast<size_t>(j)]; }

  // Number of bits of P and of Q.
  int pattern_bits() const { return odd() ? n_ - 2 : n_ - 1; }
  // The pattern of the diagonals as the next column inward sees them after j = 1.
  Pattern PatternOf(uint64_t up, uint32_t down) const;
  // The index in P and Q of what makes no difference between fitting and not: the long diagonals, which are classes; or
  // those of the middle column's queen, which nobody has. -1 when there is none (middle_row() 0).
  int SpecialDiagonal() const { return odd() ? middle_row_ - 1 : columns() - 1; }
  // The index that decides the class, n even.
  int ClassDiagonal() const { return columns() - 1 + (defect_ == Defect::kLongDiagonalIsShifted ? 1 : 0); }

 private:
  int n_;
  int middle_row_;
  Defect defect_;
  std::array<uint32_t, 17> closed_{};
};

}  // namespace potluck::nqueens::mitm
