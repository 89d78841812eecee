#include "kernels/nqueens/backtracking/prefix.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>

#include "kernels/nqueens/payload.h"
#include "kernels/nqueens/backtracking/seed_stream.h"

namespace potluck::nqueens {
namespace {

std::vector<Prefix> AllPrefixes(const PrefixTable& table) {
  std::vector<Prefix> prefixes;
  for (size_t stem = 0; stem < table.stems().size(); ++stem) {
    EXPECT_EQ(table.stems()[stem].first_rank, prefixes.size());
    table.AppendPrefixes(stem, prefixes);
  }
  return prefixes;
}

// Placements of `rows` rows on the full board.
uint64_t FullPrefixes(int n, int rows, const Prefix& prefix) {
  if (rows == 0) return 1;
  uint64_t count = 0;
  for (uint32_t rest = prefix.Free(FullMask(n)); rest != 0; rest &= rest - 1) {
    count += FullPrefixes(n, rows - 1, prefix.With(rest & (0u - rest)));
  }
  return count;
}

TEST(PrefixTest, RanksWithTheirWeightsAreAllPlacementsOfTheirDepth) {
  for (int n = 1; n <= 12; ++n) {
    for (int depth = 1; depth <= std::min(MaxPrefixDepth(n), 5); ++depth) {
      const PrefixTable table(n, depth);
      EXPECT_EQ(AllPrefixes(table).size(), table.size());
      uint64_t weighted = 0;
      for (uint64_t rank = 0; rank < table.size(); ++rank) weighted += static_cast<uint64_t>(table.Weight(rank));
      EXPECT_EQ(weighted, FullPrefixes(n, depth, Prefix{})) << n << " " << depth;
    }
  }
}

TEST(PrefixTest, InteriorIsAllShallowerPlacementsDeadEndsIncluded) {
  for (int n = 1; n <= 12; ++n) {
    const int depth = DefaultDepth(n);
    const PrefixTable table(n, depth);
    uint64_t above = 0;
    for (int rows = 1; rows < depth; ++rows) above += FullPrefixes(n, rows, Prefix{});
    EXPECT_EQ(table.interior().nodes, above) << n;
    EXPECT_LE(table.interior().visited, above);
    EXPECT_GE(2 * table.interior().visited, above);
  }
}

TEST(PrefixTest, EveryBoardHasARankAndNoTableIsLarge) {
  for (int n = 1; n <= kMaxN; ++n) {
    const PrefixTable table(n, DefaultDepth(n));
    EXPECT_GE(table.size(), 1u) << n;
    EXPECT_LE(table.size(), 130'000'000u) << n;
    EXPECT_LE(table.stems().size(), 300'000u) << n;
    EXPECT_EQ(table.StemOf(0), 0u);
    EXPECT_EQ(table.StemOf(table.size() - 1), table.stems().size() - 1);
  }
}

TEST(PrefixTest, SeedsDoNotDependOnHowTheyAreTaken) {
  const PrefixTable table(12, 4);
  const Interval ranks{17, 900};
  std::vector<RankCounts> counts_at_once(ranks.size()), counts_in_bits(ranks.size());
  std::vector<Seed> at_once, in_bits;
  SeedStream(table, 6, ranks, counts_at_once).Take(1u << 30, at_once);
  SeedStream stream(table, 6, ranks, counts_in_bits);
  std::mt19937_64 random(3);
  while (true) {
    const size_t limit = 1 + random() % 50;
    if (stream.Take(limit, in_bits) < limit) break;
  }
  ASSERT_EQ(at_once.size(), in_bits.size());
  for (size_t i = 0; i < at_once.size(); ++i) {
    EXPECT_EQ(at_once[i].columns, in_bits[i].columns);
    EXPECT_EQ(at_once[i].left, in_bits[i].left);
    EXPECT_EQ(at_once[i].right, in_bits[i].right);
    EXPECT_EQ(at_once[i].slot, in_bits[i].slot);
    EXPECT_EQ(std::popcount(at_once[i].columns), 6);
  }
  EXPECT_EQ(counts_at_once, counts_in_bits);
}

}  // namespace
}  // namespace potluck::nqueens
