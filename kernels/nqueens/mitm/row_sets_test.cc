#include "kernels/nqueens/mitm/row_sets.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace potluck::nqueens::mitm {
namespace {

TEST(RowSetsTest, RanksCountSetsInTheirOrderAsNumbers) {
  for (int k = 1; k <= 5; ++k) {
    uint32_t set = (uint32_t{1} << k) - 1;
    const Ranker ranker(14, k);
    for (uint64_t rank = 0; rank < Binomial(14, k); ++rank, set = NextSubset(set)) {
      ASSERT_EQ(Rank(set), rank);
      ASSERT_EQ(Unrank(rank, k), set);
      ASSERT_EQ(ranker(set), rank);
    }
  }
  // Beyond the rows that the look-up tables hold together.
  const Ranker ranker(26, 7);
  for (const uint64_t rank : {0ull, 12345ull, 300000ull, 657799ull}) EXPECT_EQ(ranker(Unrank(rank, 7)), rank);
}

TEST(RowSetsTest, MirroringTwiceChangesNothing) {
  EXPECT_EQ(Mirrored(0b0011010, 7), 0b0101100u);
  for (uint32_t set = 0; set < 512; ++set) EXPECT_EQ(Mirrored(Mirrored(set, 9), 9), set);
}

TEST(RowSetsTest, HalvesShareOutTheRows) {
  for (int n = kMinN; n <= 13; ++n) {
    for (uint64_t index = 0; index < IndexCount(n); ++index) {
      const Subproblem subproblem = SubproblemAt(n, index);
      const uint32_t middle = n % 2 == 0 ? 0 : uint32_t{1} << subproblem.middle_row;
      ASSERT_EQ(std::popcount(subproblem.east), n / 2);
      ASSERT_EQ(std::popcount(subproblem.west), n / 2);
      ASSERT_EQ(subproblem.east | subproblem.west | middle, (uint32_t{1} << n) - 1);
    }
  }
}

// Every way to share out the rows is counted through exactly one index.
TEST(RowSetsTest, WeightsOfCountedIndicesAddUpToAllRowSets) {
  for (int n = kMinN; n <= 14; ++n) {
    uint64_t sum = 0;
    for (uint64_t index = 0; index < IndexCount(n); ++index) {
      const Subproblem subproblem = SubproblemAt(n, index);
      // An even index counts both its row set and the other half's, if that is not its mirror image.
      const uint64_t sides = n % 2 == 0 && !subproblem.is_own_complement ? 2 : 1;
      sum += static_cast<uint64_t>(subproblem.mirror_weight) * sides;
    }
    // For odd n no row set is left when the middle column's queen stands at an end, which closes the middle row.
    const uint64_t rows = static_cast<uint64_t>(n);
    EXPECT_EQ(sum, n % 2 == 0 ? Binomial(n, n / 2) : rows * Binomial(n - 1, n / 2) - 4 * Binomial(n - 2, n / 2 - 1))
        << n;
  }
}

TEST(RowSetsTest, AWalkTellsTheSubproblemsInTheOrderOfTheirIndices) {
  for (int n = kMinN; n <= 13; ++n) {
    SubproblemWalk walk(n);
    for (uint64_t index = 0; index < IndexCount(n); ++index) {
      const Subproblem expected = SubproblemAt(n, index);
      const Subproblem told = walk.Next();
      ASSERT_EQ(told.east, expected.east);
      ASSERT_EQ(told.west, expected.west);
      ASSERT_EQ(told.middle_row, expected.middle_row);
      ASSERT_EQ(told.mirror_weight, expected.mirror_weight);
      ASSERT_EQ(told.is_own_complement, expected.is_own_complement);
    }
  }
}

TEST(RowSetsTest, IndicesAreDistinctSubproblems) {
  for (const int n : {10, 11}) {
    std::set<std::pair<uint32_t, int>> seen;
    for (uint64_t index = 0; index < IndexCount(n); ++index) {
      const Subproblem subproblem = SubproblemAt(n, index);
      EXPECT_TRUE(seen.emplace(subproblem.east, subproblem.middle_row).second);
    }
  }
}

}  // namespace
}  // namespace potluck::nqueens::mitm
