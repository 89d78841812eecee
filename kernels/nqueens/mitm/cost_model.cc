#include "kernels/nqueens/mitm/cost_model.h"

#include <bit>
#include <cmath>

namespace potluck::nqueens::mitm {
namespace {

// Fitted on row sets drawn at random.
constexpr double kEvenOffset = 0.392, kEvenSlope = 1.208;
constexpr double kOddOffset = 0.430, kOddSlope = 1.238, kOddClosedSlope = 1.138, kOddMiddleSlope = 1.161;

// Nanoseconds: for a subproblem, for a half board joined, and for a pair counted, after the symmetries and what the
// blocks skip.
constexpr double kFixed = 2000, kPerHalfBoard = 2.5, kPerPair = 0.0010;

}  // namespace

CostModel::CostModel(int n) : n_(n), half_(n / 2) {
  const bool odd = n % 2 == 1;
  double log_factorial = 0;
  for (int i = 2; i <= half_; ++i) log_factorial += std::log(i);
  none_ = std::exp(log_factorial + (odd ? kOddOffset : kEvenOffset));
  const double slope = odd ? kOddSlope : kEvenSlope;
  for (int k = 1; k < half_; ++k) {
    // For two columns p(1) is 1: then hardly any, not none.
    const double log = std::log(1 - 2.0 * (half_ - k) / (half_ * (half_ - 1.0)) * 0.999999);
    for (int pairs = 0; pairs < 16; ++pairs) {
      pair_[static_cast<size_t>(k)][static_cast<size_t>(pairs)] = std::exp(slope * pairs * log);
    }
  }
  for (int rows = 0; rows < 16; ++rows) {
    closed_[static_cast<size_t>(rows)] = std::exp(kOddClosedSlope * rows * std::log(1 - 1.0 / half_));
    const int distance = half_ - rows;
    middle_[static_cast<size_t>(rows)] =
        distance <= 0 ? 1 : std::exp(kOddMiddleSlope * std::log((half_ - distance + 0.2) / half_));
  }
}

double CostModel::HalfBoards(uint32_t rows, int middle_row) const {
  double boards = none_;
  for (int k = 1; k < half_; ++k) {
    boards *= pair_[static_cast<size_t>(k)][static_cast<size_t>(std::popcount(rows & rows >> k))];
  }
  if (middle_row < 0) return boards;
  // Rows with a cell on a diagonal of the middle column's queen: no farther from it than there are columns.
  const uint32_t near = ((uint32_t{2} << (middle_row + half_)) - 1) & ~(uint32_t{1} << half_);
  boards *= closed_[static_cast<size_t>(std::popcount(rows & near))];
  if ((rows >> half_ & 1) != 0) boards *= middle_[static_cast<size_t>(middle_row)];
  return boards;
}

double CostModel::Cost(const Subproblem& subproblem) const {
  if (!subproblem.counted()) return 0;
  const double east = HalfBoards(subproblem.east, subproblem.middle_row);
  const double west = HalfBoards(subproblem.west, subproblem.middle_row);
  return kFixed * half_ + kPerHalfBoard * (east + west) + kPerPair * east * west;
}

}  // namespace potluck::nqueens::mitm
