// The paths in vectors against a plain recursion, subtree by subtree, and what breaking their rules does.
#include "kernels/nqueens/backtracking/vector_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/nqueens/backtracking/broken_paths.h"
#include "kernels/nqueens/backtracking/prefix.h"
#include "kernels/nqueens/backtracking/run_vector.h"
#include "kernels/nqueens/test_util.h"

namespace potluck::nqueens {
namespace {

void AddBelow(uint32_t full, const Prefix& prefix, SubtreeCounts& counts) {
  if (prefix.columns == full) ++counts.solutions;
  for (uint32_t rest = prefix.Free(full); rest != 0; rest &= rest - 1) {
    ++counts.nodes;
    AddBelow(full, prefix.With(rest & (0u - rest)), counts);
  }
}

// Random placements with a free column and `rows` open rows on a board of `n`.
std::vector<Seed> RandomSeeds(int n, int rows, size_t count, uint64_t random_seed) {
  const uint32_t full = FullMask(n);
  std::mt19937_64 random(random_seed);
  std::vector<Seed> seeds;
  while (seeds.size() < count) {
    Prefix prefix;
    for (int row = 0; row < n - rows && prefix.Free(full) != 0; ++row) {
      uint32_t rest = prefix.Free(full);
      for (auto skip = random() % static_cast<unsigned>(__builtin_popcount(rest)); skip > 0; --skip) rest &= rest - 1;
      prefix = prefix.With(rest & (0u - rest));
    }
    if (__builtin_popcount(prefix.columns) == n - rows && prefix.Free(full) != 0) {
      seeds.push_back({prefix.columns, prefix.left & full, prefix.right, 0});
    }
  }
  return seeds;
}

SubtreeCounts ByRecursion(int n, const std::vector<Seed>& seeds) {
  SubtreeCounts counts{0, 0};
  for (const Seed& seed : seeds) AddBelow(FullMask(n), Prefix{seed.columns, seed.left, seed.right}, counts);
  return counts;
}

// A path with a workspace of exactly the size it asks for.
class PathUnderTest {
 public:
  explicit PathUnderTest(const VectorPath& path)
      : path_(path), workspace_(::operator new (path.workspace_bytes, std::align_val_t{kWorkspaceAlignment})) {
    std::fill_n(static_cast<char*>(workspace_), path.workspace_bytes, char{0});
  }
  ~PathUnderTest() { ::operator delete (workspace_, std::align_val_t{kWorkspaceAlignment}); }
  PathUnderTest(const PathUnderTest&) = delete;
  PathUnderTest& operator=(const PathUnderTest&) = delete;

  SubtreeCounts Search(int n, int rows, const std::vector<Seed>& seeds) {
    return path_.search(workspace_, SearchShape{FullMask(n), rows}, seeds.data(), seeds.size());
  }

 private:
  const VectorPath& path_;
  void* workspace_;
};

std::string ToText(const SubtreeCounts& counts) {
  return std::to_string(counts.solutions) + " solutions, " + std::to_string(counts.nodes) + " nodes";
}

TEST(VectorSearchTest, EveryNumberOfSeedsGivesTheCountsOfAPlainRecursion) {
  for (const VectorPath* path : SupportedVectorPaths()) {
    PathUnderTest search(*path);
    for (size_t count = 1; count < 600; count += count < 70 ? 1 : 61) {
      const std::vector<Seed> seeds = RandomSeeds(12, 5, count, count);
      EXPECT_EQ(ToText(search.Search(12, 5, seeds)), ToText(ByRecursion(12, seeds))) << path->name << " " << count;
    }
  }
}

TEST(VectorSearchTest, EveryBoardAndNumberOfRowsGivesTheCountsOfAPlainRecursion) {
  const int most_rows = kSanitized ? 9 : 11;
  for (const VectorPath* path : SupportedVectorPaths()) {
    PathUnderTest search(*path);
    for (int n = 4; n <= kMaxN; ++n) {
      for (int rows = kMinRows; rows <= std::min(n - 1, most_rows); ++rows) {
        const size_t count = rows >= 10 ? 7 : 33;
        const std::vector<Seed> seeds = RandomSeeds(n, rows, count, static_cast<uint64_t>(100 * n + rows));
        EXPECT_EQ(ToText(search.Search(n, rows, seeds)), ToText(ByRecursion(n, seeds)))
            << path->name << " n " << n << " rows " << rows;
      }
    }
  }
}

TEST(VectorSearchTest, TheLargestSubtreesGiveTheCountsOfAPlainRecursion) {
  if (kSanitized) GTEST_SKIP() << "takes too long under a sanitizer";
  for (const int n : {15, 16, 17, 18, 20, 21, 22}) {
    const std::vector<Seed> seeds = RandomSeeds(n, kVectorMaxRows, n < 18 ? 3 : 1, static_cast<uint64_t>(n));
    const SubtreeCounts expected = ByRecursion(n, seeds);
    for (const VectorPath* path : SupportedVectorPaths()) {
      EXPECT_EQ(ToText(PathUnderTest(*path).Search(n, kVectorMaxRows, seeds)), ToText(expected)) << path->name << n;
    }
  }
}

// The densest tree there is: on an empty board.
TEST(VectorSearchTest, BuffersHoldWhatAnEmptyBoardBrings) {
  for (const VectorPath* path : SupportedVectorPaths()) {
    PathUnderTest search(*path);
    for (int n = 4; n <= (kSanitized ? 10 : 12); ++n) {
      const std::vector<Seed> seeds(kSanitized ? 3 : 37, Seed{0, 0, 0, 0});
      EXPECT_EQ(ToText(search.Search(n, n, seeds)), ToText(ByRecursion(n, seeds))) << path->name << " " << n;
    }
  }
}

#if defined(__x86_64__)
// Whether `path` counts right on boards in 16-bit lanes, in 32-bit lanes and in those that change over.
bool CountsRight(const VectorPath& path) {
  for (const auto& [n, rows] : {std::pair{12, 8}, {18, 11}, {20, 11}, {26, 8}}) {
    const std::vector<Seed> seeds = RandomSeeds(n, rows, 20, 5);
    if (ToText(PathUnderTest(path).Search(n, rows, seeds)) != ToText(ByRecursion(n, seeds))) return false;
  }
  return true;
}

TEST(VectorSearchTest, BreakingAnyRuleGivesWrongCounts) {
  if (!IsSupported(Dispatch::kAvx2)) GTEST_SKIP() << "needs AVX2";
  EXPECT_TRUE(CountsRight(kUnbrokenPath));
  for (const VectorPath& path : kBrokenPaths) EXPECT_FALSE(CountsRight(path)) << path.name;
}
#endif

TEST(VectorSearchTest, EachSupportedInstructionSetHasAPath) {
  std::set<std::string> names;
  for (const VectorPath* path : SupportedVectorPaths()) names.insert(path->name);
  EXPECT_EQ(names.count("avx2") > 0, IsSupported(Dispatch::kAvx2));
  EXPECT_EQ(names.count("avx512") > 0, IsSupported(Dispatch::kAvx512));
  EXPECT_EQ(names.count("avx512_vbmi2") > 0, HasVbmi2());
}

}  // namespace
}  // namespace potluck::nqueens
