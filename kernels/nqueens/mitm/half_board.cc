#include "kernels/nqueens/mitm/half_board.h"

namespace potluck::nqueens::mitm {

HalfBoard::HalfBoard(int n, int middle_row, Defect defect) : n_(n), middle_row_(middle_row), defect_(defect) {
  if (!odd()) return;
  const int distance = columns() - middle_row;  // Of the middle column's queen from the middle row.
  for (int j = 1; j <= columns(); ++j) {
    uint32_t closed = uint32_t{1} << middle_row;
    if (middle_row + j < n) closed |= uint32_t{1} << (middle_row + j);
    if (middle_row >= j && defect != Defect::kMiddleQueenMissesDiagonal) closed |= uint32_t{1} << (middle_row - j);
    if (j <= distance) closed |= uint32_t{1} << columns();
    closed_[static_cast<size_t>(j)] = closed;
  }
}

Pattern HalfBoard::PatternOf(uint64_t up, uint32_t down) const {
  const uint32_t mask = (uint32_t{1} << pattern_bits()) - 1;
  // `up` never has bit 0 here. With a middle column both have to cross it.
  const int up_shift = defect_ == Defect::kPatternIsNotShifted ? 0 : 1;
  const int down_shift = odd() && defect_ != Defect::kOddPatternIsNotShifted ? 1 : 0;
  return {static_cast<uint32_t>(up >> up_shift) & mask, (down >> down_shift) & mask};
}

}  // namespace potluck::nqueens::mitm
