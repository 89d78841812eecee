#include "kernels/nqueens/backtracking/run_cpu.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "kernels/nqueens/backtracking/run_vector.h"
#include "kernels/nqueens/known.h"
#include "kernels/nqueens/test_util.h"

namespace potluck::nqueens {
namespace {

constexpr int kThreads = 3;

// The scalar path, and all in vectors that this processor supports.
std::vector<std::string> PathNames() {
  std::vector<std::string> names = {"scalar"};
  for (const VectorPath* path : SupportedVectorPaths()) names.push_back(path->name);
  return names;
}

std::unique_ptr<SliceRunner> MakeRunner(const std::string& path_name, int threads) {
  for (const VectorPath* path : SupportedVectorPaths()) {
    if (path->name == path_name) return std::make_unique<SliceRunner>(MakeVectorEngine(threads, *path));
  }
  return MakeBacktrackingRunner(threads, Dispatch::kScalar);
}

class RunCpuTest : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<SliceRunner> MakeRunner(int threads) const { return nqueens::MakeRunner(GetParam(), threads); }
  void ExpectPublishedTotals(int first, int last, int threads) const;
};

INSTANTIATE_TEST_SUITE_P(Paths, RunCpuTest, testing::ValuesIn(PathNames()),
                         [](const testing::TestParamInfo<std::string>& path) { return path.param; });

// All of board n, the interior included.
Counts CountBoard(SliceRunner& runner, int n, uint32_t depth = 0) {
  EXPECT_TRUE(runner.Open(Encode(Spec{static_cast<uint32_t>(n), kBacktracking, depth})).ok());
  Counts sum = Sum(RunAll(runner, {0, runner.table().size()}));
  EXPECT_TRUE(sum.nodes.Add(runner.table().interior().nodes));
  EXPECT_TRUE(sum.visited.Add(runner.table().interior().visited));
  return sum;
}

void RunCpuTest::ExpectPublishedTotals(int first, int last, int threads) const {
  const auto runner = MakeRunner(threads);
  for (int n = first; n <= last; ++n) {
    const Counts counts = CountBoard(*runner, n);
    EXPECT_EQ(counts.solutions, *KnownSolutions(n)) << n;
    if (const auto nodes = KnownNodes(n)) {
      EXPECT_EQ(counts.nodes, *nodes) << n;
    }
    EXPECT_GE(counts.nodes, counts.visited);
  }
}

TEST_P(RunCpuTest, BoardsReachPublishedTotalsAndNodeCounts) {
  for (int threads = 1; threads <= kThreads; ++threads) ExpectPublishedTotals(1, kSanitized ? 11 : 15, threads);
}

TEST_P(RunCpuTest, LongBoardsReachPublishedTotalsAndNodeCounts) {
  if (kSanitized) GTEST_SKIP() << "takes too long under a sanitizer";
  ExpectPublishedTotals(16, 17, 2);
}

TEST_P(RunCpuTest, LongBoardsEighteenAndNineteenReachTheirPublishedTotals) {
  if (kSanitized) GTEST_SKIP() << "takes too long under a sanitizer";
  // The scalar path would take another seven minutes.
  ExpectPublishedTotals(18, GetParam() == "scalar" ? 18 : 19, 2);
}

// What a slice's ranks hold, one by one.
std::vector<RankCounts> CountRanks(SliceRunner& runner, Interval ranks) {
  std::vector<RankCounts> counts;
  for (uint64_t rank = ranks.begin; rank < ranks.end; ++rank) {
    const Counts one = Sum(RunAll(runner, {rank, rank + 1}));
    counts.push_back({one.solutions.low(), one.visited.low()});
  }
  return counts;
}

TEST_P(RunCpuTest, EveryRankHoldsWhatTheScalarPathFinds) {
  struct Case {
    int n;
    uint32_t depth;
    uint64_t ranks;
  };
  std::vector<Case> cases = {{5, 1, 9}, {8, 3, 99}, {9, 6, 500}, {11, 2, 50}, {11, 6, 500}, {12, 4, 300}};
  if (!kSanitized)
    cases.insert(cases.end(), {{13, 1, 7}, {16, 5, 99}, {17, 4, 9}, {18, 6, 20}, {20, 6, 5}, {21, 6, 1}});
  std::mt19937_64 random(3);
  for (const Case& one : cases) {
    const auto runner = MakeRunner(2);
    const auto scalar = MakeBacktrackingRunner(2, Dispatch::kScalar);
    const std::string round = Encode(Spec{static_cast<uint32_t>(one.n), kBacktracking, one.depth});
    ASSERT_TRUE(runner->Open(round).ok());
    ASSERT_TRUE(scalar->Open(round).ok());
    const uint64_t size = runner->table().size();
    const uint64_t begin = random() % size;
    const Interval ranks{begin, std::min(size, begin + one.ranks)};
    EXPECT_EQ(CountRanks(*runner, ranks), CountRanks(*scalar, ranks)) << one.n << " " << one.depth;
    // In one go, where ranks follow each other in the buffers.
    EXPECT_EQ(Sum(RunAll(*runner, ranks)), Sum(RunAll(*scalar, ranks))) << one.n << " " << one.depth;
  }
}

TEST_P(RunCpuTest, TotalsDoNotDependOnThePrefixDepth) {
  const auto runner = MakeRunner(kThreads);
  for (int n = 4; n <= 11; ++n) {
    const Counts expected = CountBoard(*runner, n);
    for (int depth = 1; depth <= MaxPrefixDepth(n); ++depth) {
      const Counts counts = CountBoard(*runner, n, static_cast<uint32_t>(depth));
      EXPECT_EQ(counts.solutions, expected.solutions) << n << " " << depth;
      EXPECT_EQ(counts.nodes, expected.nodes) << n << " " << depth;
    }
  }
}

TEST_P(RunCpuTest, RandomPartitionsOfTheRanksGiveTheSameSumAndChecksum) {
  const int n = kSanitized ? 11 : 13;
  const auto one = MakeRunner(1);
  const auto many = MakeRunner(kThreads);
  for (SliceRunner* runner : {one.get(), many.get()}) {
    ASSERT_TRUE(runner->Open(Encode(Spec{static_cast<uint32_t>(n)})).ok());
  }
  const uint64_t size = one->table().size();
  const Counts expected = Sum(RunAll(*one, {0, size}));
  std::mt19937_64 random(11);
  for (int trial = 0; trial < 5; ++trial) {
    std::vector<Slice> slices;
    for (uint64_t begin = 0; begin < size;) {
      const Interval unit{begin, std::min(size, begin + 1 + random() % (size / 4))};
      for (const Slice& slice : RunAll(random() % 2 ? *one : *many, unit)) slices.push_back(slice);
      begin = unit.end;
    }
    EXPECT_EQ(Sum(slices), expected);
  }
  const auto scalar = MakeBacktrackingRunner(2, Dispatch::kScalar);
  ASSERT_TRUE(scalar->Open(Encode(Spec{static_cast<uint32_t>(n)})).ok());
  EXPECT_EQ(Sum(RunAll(*scalar, {0, size})), expected);
}

TEST_P(RunCpuTest, SelfTestPassesAndKeepsTheOpenRound) {
  const auto runner = MakeRunner(2);
  ASSERT_TRUE(runner->Open(Encode(Spec{9})).ok());
  const uint64_t size = runner->table().size();
  const Status status = runner->SelfTest();
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(runner->table().size(), size);
  EXPECT_EQ(Sum(RunAll(*runner, {0, size})).solutions, *KnownSolutions(9));
}

TEST_P(RunCpuTest, CancelBeforeTheStartReportsNothing) {
  const auto runner = MakeRunner(2);
  ASSERT_TRUE(runner->Open(Encode(Spec{12})).ok());
  RunControl control({0, 100});
  control.Cancel();
  int slices = 0;
  EXPECT_TRUE(runner->Run({0, 100}, control, RunOptions{}, [&](Interval, std::string_view, double) { ++slices; }).ok());
  EXPECT_EQ(slices, 0);
}

TEST_P(RunCpuTest, CancelInTheMiddleStopsWithoutReportingTheSlice) {
  // One rank of this board would take hours: the run ends only because it is cancelled.
  const auto runner = MakeRunner(2);
  ASSERT_TRUE(runner->Open(Encode(Spec{28})).ok());
  std::atomic<int> polls{0};
  const Steering steering{[](uint64_t, uint64_t wanted) { return wanted; }, [&] { return ++polls > 10; }};
  int slices = 0;
  const Status status =
      runner->Run(Interval{0, 1}, steering, RunOptions{}, [&](Interval, std::string_view, double) { ++slices; });
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(slices, 0);
}

TEST_P(RunCpuTest, ShrunkIntervalEndsWhereItWasShrunk) {
  const auto runner = MakeRunner(2);
  ASSERT_TRUE(runner->Open(Encode(Spec{12})).ok());
  RunControl control({0, 2000});
  uint64_t shrunk = 0;
  uint64_t end = 0;
  EXPECT_TRUE(runner
                  ->Run({0, 2000}, control, RunOptions{0.001},
                        [&](Interval slice, std::string_view, double) {
                          if (shrunk == 0) shrunk = control.Shrink(slice.end + 5);
                          end = slice.end;
                        })
                  .ok());
  EXPECT_GT(shrunk, 0u);
  EXPECT_LT(shrunk, 2000u);
  EXPECT_EQ(end, shrunk);
}

TEST_P(RunCpuTest, RunNeedsAnOpenRoundAndAnIntervalInsideIt) {
  const auto runner = MakeRunner(1);
  RunControl control({0, 1});
  const SliceSink ignore = [](Interval, std::string_view, double) {};
  EXPECT_EQ(runner->Run({0, 1}, control, RunOptions{}, ignore).message(),
            "No round is open; Open must come before Run.");
  ASSERT_TRUE(runner->Open(Encode(Spec{4})).ok());
  EXPECT_EQ(runner->Run({2, 9}, control, RunOptions{}, ignore).message(),
            "The interval is [2, 9); allowed: within [0, 3).");
  EXPECT_FALSE(runner->Open("\xff").ok());
}

// What a registry asks for by name is what it gets.
TEST(RunCpuDispatchTest, EveryDispatchReachesThePublishedTotals) {
  for (const Dispatch dispatch : SupportedDispatches()) {
    const auto runner = MakeBacktrackingRunner(2, dispatch);
    EXPECT_TRUE(runner->SelfTest().ok()) << ToString(dispatch);
    EXPECT_EQ(CountBoard(*runner, 13).nodes, *KnownNodes(13)) << ToString(dispatch);
  }
}

}  // namespace
}  // namespace potluck::nqueens
