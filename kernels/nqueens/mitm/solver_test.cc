// Every subproblem against brute force: all solutions of the board, found by plain recursion, are sorted by the row set
// that their east half uses.
#include "kernels/nqueens/mitm/solver.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "kernels/nqueens/test_util.h"

namespace potluck::nqueens::mitm {
namespace {

// Calls visit(row of each column) for every solution.
template <typename Visit>
void ForEachSolution(int n, std::vector<int>& rows, const Visit& visit) {
  const int column = static_cast<int>(rows.size());
  if (column == n) return visit(rows);
  for (int row = 0; row < n; ++row) {
    bool free = true;
    for (int other = 0; other < column && free; ++other) {
      const int distance = std::abs(rows[static_cast<size_t>(other)] - row);
      free = distance != 0 && distance != column - other;
    }
    if (!free) continue;
    rows.push_back(row);
    ForEachSolution(n, rows, visit);
    rows.pop_back();
  }
}

struct Halves {
  uint32_t east = 0;
  int middle_row = -1;
  int east_diagonals = 0;  // Long diagonals that have a queen there.
  int west_diagonals = 0;
  int middle_distance = 0;  // Of the middle row's queen from the middle column.
};

Halves HalvesOf(const std::vector<int>& rows) {
  const int n = static_cast<int>(rows.size());
  Halves halves;
  for (int column = 0; column < n; ++column) {
    const int row = rows[static_cast<size_t>(column)];
    const bool east = column >= (n + 1) / 2;
    if (n % 2 == 1 && column == n / 2) {
      halves.middle_row = row;
      continue;
    }
    if (east) halves.east |= uint32_t{1} << row;
    (east ? halves.east_diagonals : halves.west_diagonals) += (row == column) + (row == n - 1 - column);
    if (n % 2 == 1 && row == n / 2) halves.middle_distance = std::abs(column - n / 2);
  }
  return halves;
}

// How often a pair of halves counts, by the rules that half_board.h states.
uint64_t WeightOf(const Halves& halves, const Subproblem& subproblem, int n) {
  if (n % 2 == 0) {
    const int most = std::max(halves.east_diagonals, halves.west_diagonals);
    if (std::min(halves.east_diagonals, halves.west_diagonals) > 0) return 0;
    if (most == 0) return subproblem.is_own_complement ? 1 : 2;
    if (subproblem.is_own_complement && halves.east_diagonals > 0) return 0;
    return most == 2 ? 4 : 2;
  }
  const int distance = n / 2 - subproblem.middle_row;
  if (distance == 0) return 1;
  return halves.middle_distance > distance ? 2 : 0;
}

template <typename Word>
void ExpectBruteForceCounts(int n, const Kernel<Word>& kernel, const LayoutOptions& layout = {}) {
  std::map<std::pair<uint32_t, int>, std::vector<Halves>> by_rows;
  std::vector<int> rows;
  ForEachSolution(n, rows, [&](const std::vector<int>& solution) {
    const Halves halves = HalvesOf(solution);
    by_rows[{halves.east, halves.middle_row}].push_back(halves);
  });
  Solver<Word> solver(kernel);
  std::unique_ptr<Tables<Word>> tables;
  for (uint64_t index = 0; index < IndexCount(n); ++index) {
    const Subproblem subproblem = SubproblemAt(n, index);
    if (!tables || tables->half.middle_row() != subproblem.middle_row) {
      tables = std::make_unique<Tables<Word>>(n, subproblem.middle_row, Defect::kNone, layout);
    }
    uint64_t expected = 0;
    for (const Halves& halves : by_rows[{subproblem.east, subproblem.middle_row}]) {
      expected += WeightOf(halves, subproblem, n);
    }
    expected *= static_cast<uint64_t>(subproblem.mirror_weight);
    ASSERT_EQ(solver.Count(*tables, subproblem, [] { return false; }), expected) << "n = " << n << ", index " << index;
  }
}

TEST(SolverTest, EverySubproblemIsWhatBruteForceFinds) {
  const int last = kSanitized ? 9 : 12;
  for (int n = kMinN; n <= last; ++n) {
    for (const Dispatch dispatch : SupportedDispatches()) {
      ExpectBruteForceCounts<uint32_t>(n, GetKernel<uint32_t>(dispatch, false));
      ExpectBruteForceCounts<uint64_t>(n, GetKernel<uint64_t>(dispatch, HasVpopcntdq()));
      for (const int prefix_bits : {2, 4, 8}) {
        ExpectBruteForceCounts<uint64_t>(n, GetKernel<uint64_t>(dispatch, HasVpopcntdq()), {prefix_bits, 5});
      }
    }
  }
}

TEST(SolverTest, StopsWhenCancelled) {
  Solver<uint64_t> solver(GetKernel<uint64_t>(Dispatch::kScalar, false));
  const Tables<uint64_t> tables(12, -1, Defect::kNone);
  uint64_t index = 0;
  while (!SubproblemAt(12, index).counted()) ++index;
  EXPECT_EQ(solver.Count(tables, SubproblemAt(12, index), [] { return true; }), std::nullopt);
  EXPECT_NE(solver.Count(tables, SubproblemAt(12, index), [] { return false; }), std::nullopt);
}

TEST(JoinTablesTest, ListsAreAsLongAsPlainSearchFindsThem) {
  for (const int n : {10, 11, 13}) {
    const HalfBoard half(n, n % 2 == 0 ? -1 : 1);
    const Layout layout(half, 64);
    const JoinTables<uint64_t> joins(half, layout);
    // All outer placements, and all inner ones, by the tables' own ends.
    const size_t outer_sets = Binomial(n, joins.outer_columns());
    const size_t inner_sets = Binomial(n, joins.inner_columns());
    size_t outer = 0;
    for (size_t block = 0; block < joins.outer_begin()[outer_sets]; ++block) {
      for (size_t i = 0; i < 8; ++i) outer += joins.outer()[block * 16 + i] != ~uint64_t{0} ? 1 : 0;
    }
    const auto count = [&](auto&& self, int from, int to, uint32_t taken, uint64_t up, uint32_t down) -> size_t {
      if (from < to) return 1;
      size_t sum = 0;
      for (uint32_t free = half.all_rows() & ~(taken | static_cast<uint32_t>(up) | down | half.Closed(from)); free != 0;
           free &= free - 1) {
        const uint32_t bit = free & (0u - free);
        sum += self(self, from - 1, to, taken | bit, (up | bit) << 1, (down | bit) >> 1);
      }
      return sum;
    };
    EXPECT_EQ(outer, count(count, half.columns(), joins.inner_columns() + 1, 0, 0, 0));
    EXPECT_EQ(joins.inner_begin()[inner_sets], count(count, joins.inner_columns(), 1, 0, 0, 0));
  }
}

}  // namespace
}  // namespace potluck::nqueens::mitm
