#include "kernels/nqueens/mitm/known_answers.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <utility>

#include "kernels/math/mix64.h"
#include "kernels/nqueens/mitm/cost_model.h"
#include "kernels/nqueens/mitm/row_sets.h"
#include "kernels/nqueens/payload.h"

namespace potluck::nqueens::mitm {
namespace {

constexpr size_t kAnswers = 4;
constexpr size_t kTries = 6;
constexpr uint64_t kDraws = 4000;
constexpr uint64_t kMostPairs = 8'000'000;  // About a nanosecond each.
constexpr size_t kMostHalves = 20'000;      // Some 100 ns each, dead ends included.

// Queens in some columns, in coordinates of the whole board.
struct PlacedHalf {
  uint64_t rising = 0;   // Bit row + column.
  uint64_t falling = 0;  // Bit row - column + n.
  int long_diagonals = 0;
  int middle_distance = 0;  // Of the middle row's queen from the middle column; 0: none here.
};

class PlainHalves {
 public:
  explicit PlainHalves(int n) : n_(n) {}

  // All ways to place queens in the columns [first, first + n/2), in these rows, clear of a queen in the middle column
  // (none when `middle_row` < 0). False when there are more than allowed.
  bool Find(int first, uint32_t rows, int middle_row) {
    found_.clear();
    PlacedHalf start;
    if (middle_row >= 0) {
      start.rising = uint64_t{1} << (middle_row + n_ / 2);
      start.falling = uint64_t{1} << (middle_row - n_ / 2 + n_);
    }
    const PlacedHalf blocked = start;
    const bool complete = Place(first, first + n_ / 2, rows, start);
    // The middle column's queen is not a part of the half.
    for (PlacedHalf& half : found_) {
      half.rising ^= blocked.rising;
      half.falling ^= blocked.falling;
    }
    return complete;
  }
  const std::vector<PlacedHalf>& found() const { return found_; }

 private:
  bool Place(int column, int end, uint32_t rows, const PlacedHalf& half) {
    if (column == end) {
      found_.push_back(half);
      return found_.size() <= kMostHalves;
    }
    for (int row = 0; row < n_; ++row) {
      if ((rows >> row & 1) == 0) continue;
      const uint64_t rising = uint64_t{1} << (row + column);
      const uint64_t falling = uint64_t{1} << (row - column + n_);
      if ((half.rising & rising) != 0 || (half.falling & falling) != 0) continue;
      PlacedHalf next = half;
      next.rising |= rising;
      next.falling |= falling;
      next.long_diagonals += (row == column ? 1 : 0) + (row + column == n_ - 1 ? 1 : 0);
      if (n_ % 2 == 1 && row == n_ / 2) next.middle_distance = std::abs(column - n_ / 2);
      if (!Place(column + 1, end, rows & ~(uint32_t{1} << row), next)) return false;
    }
    return true;
  }

  int n_;
  std::vector<PlacedHalf> found_;
};

// How often a pair counts (half_board.h says why).
uint64_t Weight(int n, const Subproblem& subproblem, const PlacedHalf& east, const PlacedHalf& west) {
  if (n % 2 == 1) {
    const int distance = n / 2 - subproblem.middle_row;
    if (distance == 0) return 1;
    return std::max(east.middle_distance, west.middle_distance) > distance ? 2 : 0;
  }
  if (subproblem.is_own_complement) {
    if (east.long_diagonals > 0) return 0;
    return west.long_diagonals == 0 ? 1 : static_cast<uint64_t>(2 * west.long_diagonals);
  }
  if (east.long_diagonals > 0 && west.long_diagonals > 0) return 0;
  return std::max<uint64_t>(2, 2 * static_cast<uint64_t>(east.long_diagonals + west.long_diagonals));
}

}  // namespace

std::optional<uint64_t> CountPlainly(int n, uint64_t index, uint64_t most_pairs) {
  const Subproblem subproblem = SubproblemAt(n, index);
  if (!subproblem.counted()) return 0;
  PlainHalves west(n), east(n);
  if (!west.Find(0, subproblem.west, subproblem.middle_row)) return std::nullopt;
  if (!east.Find((n + 1) / 2, subproblem.east, subproblem.middle_row)) return std::nullopt;
  if (west.found().size() * east.found().size() > most_pairs) return std::nullopt;
  uint64_t solutions = 0;
  for (const PlacedHalf& one : east.found()) {
    for (const PlacedHalf& other : west.found()) {
      if ((one.rising & other.rising) == 0 && (one.falling & other.falling) == 0) {
        solutions += Weight(n, subproblem, one, other);
      }
    }
  }
  return solutions * static_cast<uint64_t>(subproblem.mirror_weight);
}

std::vector<Part> KnownAnswers(int n) {
  std::vector<Part> answers;
  if (n < kMinN) return answers;
  const uint64_t size = IndexCount(n);
  // The dearest that can be afforded: cheap ones have compact row sets, which hardly ever have solutions.
  const CostModel model(n);
  std::vector<std::pair<double, uint64_t>> candidates;
  for (uint64_t draw = 1; draw <= kDraws; ++draw) {
    const uint64_t index = Mix64(draw) % size;
    const Subproblem subproblem = SubproblemAt(n, index);
    if (!subproblem.counted()) continue;
    const double east = model.HalfBoards(subproblem.east, subproblem.middle_row);
    const double west = model.HalfBoards(subproblem.west, subproblem.middle_row);
    if (std::max(east, west) > kMostHalves || east * west > kMostPairs / 2) continue;  // Predictions may be half off.
    candidates.emplace_back(east * west, index);
  }
  std::sort(candidates.begin(), candidates.end(), std::greater<>());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  candidates.resize(std::min(candidates.size(), kTries));
  for (const auto& [pairs, index] : candidates) {
    if (answers.size() == kAnswers) break;
    const std::optional<uint64_t> solutions = CountPlainly(n, index, kMostPairs);
    // A zero would also be found by who loses everything.
    if (!solutions || *solutions == 0) continue;
    answers.push_back({{index, index + 1}, Encode(Counts{*solutions, 0, Mix64(index, *solutions, 0), 0})});
  }
  return answers;
}

}  // namespace potluck::nqueens::mitm
