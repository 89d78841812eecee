#include "kernels/nqueens/mitm/run_cpu.h"

#include <gtest/gtest.h>

#include <random>

#include "kernels/nqueens/known.h"
#include "kernels/nqueens/mitm/plan.h"
#include "kernels/nqueens/test_util.h"

namespace potluck::nqueens::mitm {
namespace {

Spec SpecOf(int n) { return {static_cast<uint32_t>(n), kMeetInTheMiddle, 0}; }

// Every path that this processor can run, one and more threads, and both word sizes.
std::vector<MitmOptions> Variants() {
  std::vector<MitmOptions> variants;
  for (const Dispatch dispatch : SupportedDispatches()) {
    variants.push_back({.threads = 1, .dispatch = dispatch});
    variants.push_back({.threads = 3, .dispatch = dispatch, .word_bits = 64});
    // As larger boards are laid out.
    variants.push_back(
        {.threads = 1, .dispatch = dispatch, .word_bits = 64, .layout = {.prefix_bits = 8, .chunk_bits = 7}});
  }
  variants.push_back({.threads = 2, .dispatch = SupportedDispatches().front(), .vector_popcount = false});
  return variants;
}

Counts CountBoard(Runner& runner, int n) {
  EXPECT_TRUE(runner.Open(Encode(SpecOf(n))).ok());
  return Sum(RunAll(runner, {0, MitmPlan(n).Size()}));
}

void ExpectPublishedTotals(int first, int last) {
  for (int n = first; n <= last; ++n) {
    std::optional<uint64_t> checksum;
    for (const MitmOptions& options : Variants()) {
      const auto runner = MakeMitmRunner(options);
      const Counts counts = CountBoard(*runner, n);
      EXPECT_EQ(counts.solutions, *KnownSolutions(n)) << n << " " << ToString(options.dispatch);
      EXPECT_EQ(counts.nodes, Count128());
      if (!checksum) checksum = counts.checksum;
      EXPECT_EQ(counts.checksum, *checksum) << n << " " << ToString(options.dispatch);
    }
  }
}

TEST(MitmRunnerTest, BoardsReachPublishedTotalsByEveryPath) { ExpectPublishedTotals(1, kSanitized ? 14 : 17); }

TEST(MitmRunnerTest, LongBoardsEighteenAndNineteenReachTheirPublishedTotals) {
  if (kSanitized) GTEST_SKIP() << "takes too long under a sanitizer";
  ExpectPublishedTotals(18, 19);
}

// Boards whose totals take too long: the paths, and so the layouts of long patterns, must agree on parts of them.
void ExpectPathsAgreeOnSomeSubproblems(int n, double cost) {
  const MitmPlan plan(n);
  std::optional<Counts> expected;
  for (const MitmOptions& options : Variants()) {
    const auto runner = MakeMitmRunner(options);
    ASSERT_TRUE(runner->Open(Encode(SpecOf(n))).ok());
    const uint64_t begin = plan.Size() / 7;
    const Counts counts = Sum(RunAll(*runner, {begin, plan.Cut({begin, plan.Size()}, cost)}));
    EXPECT_GT(counts.solutions, Count128());
    if (!expected) expected = counts;
    EXPECT_EQ(counts, *expected) << n << " " << ToString(options.dispatch);
  }
}

TEST(MitmRunnerTest, PathsAgreeOnSomeSubproblemsOfLargerBoards) {
  for (const int n : {18, 19}) ExpectPathsAgreeOnSomeSubproblems(n, 3e6);
}

TEST(MitmRunnerTest, LongPathsAgreeOnSomeSubproblemsOfLargeBoards) {
  if (kSanitized) GTEST_SKIP() << "takes too long under a sanitizer";
  for (const int n : {20, 21, 22}) ExpectPathsAgreeOnSomeSubproblems(n, 2e8);
}

TEST(MitmRunnerTest, RandomPartitionsOfTheIndicesGiveTheSameSumAndChecksum) {
  for (const int n : {10, 11, kSanitized ? 12 : 14}) {
    const auto one = MakeMitmRunner({.threads = 1, .dispatch = Dispatch::kScalar});
    const auto many = MakeMitmRunner({.threads = 3, .dispatch = SupportedDispatches().front()});
    ASSERT_TRUE(one->Open(Encode(SpecOf(n))).ok());
    ASSERT_TRUE(many->Open(Encode(SpecOf(n))).ok());
    const uint64_t size = MitmPlan(n).Size();
    const Counts expected = Sum(RunAll(*one, {0, size}));
    std::mt19937_64 random(7);
    for (int trial = 0; trial < 5; ++trial) {
      std::vector<Slice> slices;
      for (uint64_t begin = 0; begin < size;) {
        const Interval unit{begin, std::min(size, begin + 1 + random() % (size / 4))};
        for (const Slice& slice : RunAll(random() % 2 ? *one : *many, unit)) slices.push_back(slice);
        begin = unit.end;
      }
      EXPECT_EQ(Sum(slices), expected) << n;
    }
  }
}

// Each rule of the algorithm matters: without it some board's total is wrong.
TEST(MitmRunnerTest, EveryBrokenRuleMakesSomeTotalWrong) {
  for (const Defect defect :
       {Defect::kBothDiagonalsCountTwo, Defect::kOwnComplementCountsTwo, Defect::kMirrorWeightAlwaysTwo,
        Defect::kLongDiagonalIsShifted, Defect::kPatternIsNotShifted, Defect::kOddPatternIsNotShifted,
        Defect::kMiddleQueenMissesDiagonal, Defect::kTransposedIsNotCounted, Defect::kInnerConflictIsShifted}) {
    bool noticed = false;
    for (int n = 6; n <= 13 && !noticed; ++n) {
      const auto runner = MakeMitmRunner({.threads = 1, .dispatch = SupportedDispatches().front(), .defect = defect});
      noticed = CountBoard(*runner, n).solutions != *KnownSolutions(n);
    }
    EXPECT_TRUE(noticed) << static_cast<int>(defect);
    const auto runner = MakeMitmRunner({.threads = 1, .dispatch = SupportedDispatches().front(), .defect = defect});
    EXPECT_FALSE(runner->SelfTest().ok()) << static_cast<int>(defect);
  }
}

TEST(MitmRunnerTest, SelfTestPassesAndKeepsTheOpenRound) {
  for (const MitmOptions& options : Variants()) {
    const auto runner = MakeMitmRunner(options);
    ASSERT_TRUE(runner->Open(Encode(SpecOf(9))).ok());
    const Status status = runner->SelfTest();
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(Sum(RunAll(*runner, {0, MitmPlan(9).Size()})).solutions, *KnownSolutions(9));
  }
}

TEST(MitmRunnerTest, CancelReportsNothingMore) {
  const auto runner = MakeMitmRunner({.threads = 2, .dispatch = SupportedDispatches().front()});
  ASSERT_TRUE(runner->Open(Encode(SpecOf(14))).ok());
  const Interval all{0, MitmPlan(14).Size()};
  RunControl cancelled(all);
  cancelled.Cancel();
  int slices = 0;
  const SliceSink count = [&](Interval, std::string_view, double) { ++slices; };
  EXPECT_TRUE(runner->Run(all, cancelled, RunOptions{}, count).ok());
  EXPECT_EQ(slices, 0);
  RunControl control(all);
  EXPECT_TRUE(runner
                  ->Run(all, control, RunOptions{1e-4},
                        [&](Interval, std::string_view, double) {
                          ++slices;
                          control.Cancel();
                        })
                  .ok());
  EXPECT_EQ(slices, 1);
}

TEST(MitmRunnerTest, ShrunkIntervalEndsWhereItWasShrunk) {
  const auto runner = MakeMitmRunner({.threads = 2, .dispatch = SupportedDispatches().front()});
  ASSERT_TRUE(runner->Open(Encode(SpecOf(13))).ok());
  const Interval all{0, MitmPlan(13).Size()};
  RunControl control(all);
  uint64_t shrunk = 0;
  uint64_t end = 0;
  EXPECT_TRUE(runner
                  ->Run(all, control, RunOptions{1e-5},
                        [&](Interval slice, std::string_view, double) {
                          if (shrunk == 0) shrunk = control.Shrink(slice.end + 5);
                          end = slice.end;
                        })
                  .ok());
  EXPECT_GT(shrunk, 0u);
  EXPECT_LT(shrunk, all.end);
  EXPECT_EQ(end, shrunk);
}

TEST(MitmRunnerTest, RunNeedsAnOpenRoundAndAnIntervalInsideIt) {
  const auto runner = MakeMitmRunner({.threads = 1, .dispatch = Dispatch::kScalar});
  RunControl control({0, 1});
  const SliceSink ignore = [](Interval, std::string_view, double) {};
  EXPECT_EQ(runner->Run({0, 1}, control, RunOptions{}, ignore).message(),
            "No round is open; Open must come before Run.");
  ASSERT_TRUE(runner->Open(Encode(SpecOf(4))).ok());
  EXPECT_EQ(runner->Run({2, 9}, control, RunOptions{}, ignore).message(),
            "The interval is [2, 9); allowed: within [0, 6).");
  EXPECT_FALSE(runner->Open("\xff").ok());
}

}  // namespace
}  // namespace potluck::nqueens::mitm
