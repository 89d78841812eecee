#include "kernels/nqueens/mitm/cost_model.h"

#include <bit>
#include <cmath>
#include <cstdlib>

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
  for (int i = 2; i <= half_; ++i) log_factorial_ += std::log(i);
  for (int k = 1; k < half_; ++k) pair_log_[k] = std::log(1 - 2.0 * (half_ - k) / (half_ * (half_ - 1.0)) * 0.999999);
}

double CostModel::HalfBoards(uint32_t rows, int middle_row) const {
  double lambda = 0;
  for (int k = 1; k < half_; ++k) lambda += std::popcount(rows & rows >> k) * pair_log_[k];
  if (middle_row < 0) return std::exp(log_factorial_ + kEvenOffset + kEvenSlope * lambda);
  int closed = 0;  // Rows with a cell on a diagonal of the middle column's queen.
  for (uint32_t rest = rows; rest != 0; rest &= rest - 1) {
    const int row = std::countr_zero(rest);
    closed += row != half_ && std::abs(row - middle_row) <= half_ ? 1 : 0;
  }
  const int distance = half_ - middle_row;
  double middle = 0;
  if ((rows >> half_ & 1) != 0 && distance > 0) middle = std::log((half_ - distance + 0.2) / half_);
  return std::exp(log_factorial_ + kOddOffset + kOddSlope * lambda +
                  kOddClosedSlope * closed * std::log(1 - 1.0 / half_) + kOddMiddleSlope * middle);
}

double CostModel::Cost(const Subproblem& subproblem) const {
  if (!subproblem.counted()) return 0;
  const double east = HalfBoards(subproblem.east, subproblem.middle_row);
  const double west = HalfBoards(subproblem.west, subproblem.middle_row);
  return kFixed * half_ + kPerHalfBoard * (east + west) + kPerPair * east * west;
}

}  // namespace potluck::nqueens::mitm
