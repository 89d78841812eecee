#include "kernels/nqueens/backtracking/run_cpu.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "kernels/nqueens/known.h"
#include "kernels/nqueens/test_util.h"

namespace potluck::nqueens {
namespace {

constexpr int kThreads = 3;

// All of board n, the interior included.
Counts CountBoard(SliceRunner& runner, int n, uint32_t depth = 0) {
  EXPECT_TRUE(runner.Open(Encode(Spec{static_cast<uint32_t>(n), kBacktracking, depth})).ok());
  Counts sum = Sum(RunAll(runner, {0, runner.table().size()}));
  EXPECT_TRUE(sum.nodes.Add(runner.table().interior().nodes));
  EXPECT_TRUE(sum.visited.Add(runner.table().interior().visited));
  return sum;
}

void ExpectPublishedTotals(int first, int last) {
  const auto runner = MakeBacktrackingRunner(kThreads, Dispatch::kScalar);
  for (int n = first; n <= last; ++n) {
    const Counts counts = CountBoard(*runner, n);
    EXPECT_EQ(counts.solutions, *KnownSolutions(n)) << n;
    if (const auto nodes = KnownNodes(n)) {
      EXPECT_EQ(counts.nodes, *nodes) << n;
    }
    EXPECT_GE(counts.nodes, counts.visited);
  }
}

TEST(RunCpuTest, BoardsReachPublishedTotalsAndNodeCounts) { ExpectPublishedTotals(1, kSanitized ? 12 : 16); }

TEST(RunCpuTest, LongBoardSeventeenReachesItsPublishedTotals) {
  if (kSanitized) GTEST_SKIP() << "takes too long under a sanitizer";
  ExpectPublishedTotals(17, 17);
}

TEST(RunCpuTest, TotalsDoNotDependOnThePrefixDepth) {
  const auto runner = MakeBacktrackingRunner(kThreads, Dispatch::kScalar);
  for (int n = 4; n <= 11; ++n) {
    const Counts expected = CountBoard(*runner, n);
    for (int depth = 1; depth <= MaxPrefixDepth(n); ++depth) {
      const Counts counts = CountBoard(*runner, n, static_cast<uint32_t>(depth));
      EXPECT_EQ(counts.solutions, expected.solutions) << n << " " << depth;
      EXPECT_EQ(counts.nodes, expected.nodes) << n << " " << depth;
    }
  }
}

TEST(RunCpuTest, RandomPartitionsOfTheRanksGiveTheSameSumAndChecksum) {
  const int n = kSanitized ? 11 : 13;
  const auto one = MakeBacktrackingRunner(1, Dispatch::kScalar);
  const auto many = MakeBacktrackingRunner(kThreads, Dispatch::kScalar);
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
}

TEST(RunCpuTest, SelfTestPassesAndKeepsTheOpenRound) {
  const auto runner = MakeBacktrackingRunner(2, Dispatch::kScalar);
  ASSERT_TRUE(runner->Open(Encode(Spec{9})).ok());
  const uint64_t size = runner->table().size();
  const Status status = runner->SelfTest();
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(runner->table().size(), size);
  EXPECT_EQ(Sum(RunAll(*runner, {0, size})).solutions, *KnownSolutions(9));
}

TEST(RunCpuTest, CancelBeforeTheStartReportsNothing) {
  const auto runner = MakeBacktrackingRunner(2, Dispatch::kScalar);
  ASSERT_TRUE(runner->Open(Encode(Spec{12})).ok());
  RunControl control({0, 100});
  control.Cancel();
  int slices = 0;
  EXPECT_TRUE(runner->Run({0, 100}, control, RunOptions{}, [&](Interval, std::string_view, double) { ++slices; }).ok());
  EXPECT_EQ(slices, 0);
}

TEST(RunCpuTest, CancelInTheMiddleStopsWithoutReportingTheSlice) {
  // One rank of this board would take hours: the run ends only because it is cancelled.
  const auto runner = MakeBacktrackingRunner(2, Dispatch::kScalar);
  ASSERT_TRUE(runner->Open(Encode(Spec{28})).ok());
  std::atomic<int> polls{0};
  const Steering steering{[](uint64_t, uint64_t wanted) { return wanted; }, [&] { return ++polls > 10; }};
  int slices = 0;
  const Status status =
      runner->Run(Interval{0, 1}, steering, RunOptions{}, [&](Interval, std::string_view, double) { ++slices; });
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(slices, 0);
}

TEST(RunCpuTest, ShrunkIntervalEndsWhereItWasShrunk) {
  const auto runner = MakeBacktrackingRunner(2, Dispatch::kScalar);
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

TEST(RunCpuTest, RunNeedsAnOpenRoundAndAnIntervalInsideIt) {
  const auto runner = MakeBacktrackingRunner(1, Dispatch::kScalar);
  RunControl control({0, 1});
  const SliceSink ignore = [](Interval, std::string_view, double) {};
  EXPECT_EQ(runner->Run({0, 1}, control, RunOptions{}, ignore).message(),
            "No round is open; Open must come before Run.");
  ASSERT_TRUE(runner->Open(Encode(Spec{4})).ok());
  EXPECT_EQ(runner->Run({2, 9}, control, RunOptions{}, ignore).message(),
            "The interval is [2, 9); allowed: within [0, 3).");
  EXPECT_FALSE(runner->Open("\xff").ok());
}

}  // namespace
}  // namespace potluck::nqueens
