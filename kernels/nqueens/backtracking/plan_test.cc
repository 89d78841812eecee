#include "kernels/nqueens/backtracking/plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "kernels/nqueens/known.h"
#include "kernels/nqueens/backtracking/run_cpu.h"
#include "kernels/nqueens/test_util.h"

namespace potluck::nqueens {
namespace {

struct OpenPlanner {
  std::unique_ptr<Planner> planner;
  Round round;
};

OpenPlanner Open(uint32_t n, uint32_t depth = 0) {
  auto planner = QueensPlanner::Create(Encode(Spec{n, kBacktracking, depth}));
  EXPECT_TRUE(planner.ok()) << planner.status().message();
  auto round = (*planner)->NextRound(0);
  EXPECT_TRUE(round.ok() && round->has_value());
  return {std::move(*planner), **round};
}

TEST(PlanTest, CostIsAdditiveAndNotNegative) {
  const QueensPlan plan(14, DefaultDepth(14));
  std::mt19937_64 random(5);
  const double total = plan.Cost({0, plan.Size()});
  for (int trial = 0; trial < 200; ++trial) {
    const uint64_t middle = random() % (plan.Size() + 1);
    const double left = plan.Cost({0, middle}), right = plan.Cost({middle, plan.Size()});
    EXPECT_GE(left, 0);
    EXPECT_GE(right, 0);
    EXPECT_NEAR(left + right, total, total * 1e-9);
  }
}

TEST(PlanTest, CostPredictsTheVisitedNodes) {
  for (const int n : {10, 13, 15, 17}) {
    const QueensPlan plan(n, DefaultDepth(n));
    const double visited = (KnownNodes(n) ? KnownNodes(n)->ToDouble() : 35538.0) / 2;
    EXPECT_NEAR(plan.Cost({0, plan.Size()}) / visited, 1.0, 0.1) << n;
  }
}

TEST(PlanTest, CutAdvancesAndSpendsAboutTheCost) {
  const QueensPlan plan(15, DefaultDepth(15));
  const double total = plan.Cost({0, plan.Size()});
  for (const double share : {0.5, 0.1, 0.01}) {
    uint64_t begin = 0;
    int cuts = 0;
    while (begin < plan.Size()) {
      const uint64_t end = plan.Cut({begin, plan.Size()}, total * share);
      ASSERT_GT(end, begin);
      ASSERT_LE(end, plan.Size());
      EXPECT_LE(plan.Cost({begin, end}), total * share * 1.01);
      begin = end;
      ++cuts;
    }
    EXPECT_NEAR(cuts, 1 / share, 0.05 / share + 1);
  }
}

TEST(PlanTest, CutNeverLeavesTheInterval) {
  const QueensPlan plan(9, 4);
  EXPECT_EQ(plan.Cut({3, 20}, 0), 4u);
  EXPECT_EQ(plan.Cut({3, 20}, -1), 4u);
  EXPECT_EQ(plan.Cut({3, 20}, std::nan("")), 4u);
  EXPECT_EQ(plan.Cut({3, 20}, std::numeric_limits<double>::infinity()), 20u);
}

TEST(PlanTest, EveryBoardOpens) {
  for (uint32_t n = 1; n <= kMaxN; ++n) {
    const OpenPlanner open = Open(n);
    EXPECT_EQ(open.round.durability, Durability::kLedger);
    EXPECT_GE(open.round.plan->Size(), 1u);
    EXPECT_GT(open.round.plan->Cost({0, open.round.plan->Size()}), 0) << n;
    EXPECT_GT(open.round.plan->ProbeCost(), 0);
  }
}

TEST(PlannerTest, OneRoundMergedFromSlicesGivesThePublishedTotals) {
  for (const uint32_t n : {1u, 2u, 3u, 8u, 12u}) {
    OpenPlanner open = Open(n);
    const auto runner = MakeBacktrackingRunner(2, Dispatch::kScalar);
    ASSERT_TRUE(runner->Open(open.round.payload).ok());
    const Interval all{0, open.round.plan->Size()};
    EXPECT_FALSE(open.planner->NextRound(0).ok());
    for (const Slice& slice : RunAll(*runner, all)) {
      const Status status = open.planner->Merge(slice.interval, Encode(slice.counts));
      ASSERT_TRUE(status.ok()) << status.message();
    }
    const Result<Counts> counts = DecodeCounts(open.planner->Summary());
    ASSERT_TRUE(counts.ok());
    EXPECT_EQ(counts->solutions, *KnownSolutions(static_cast<int>(n)));
    if (const auto nodes = KnownNodes(static_cast<int>(n))) {
      EXPECT_EQ(counts->nodes, *nodes);
    }
    const auto next = open.planner->NextRound(0);
    ASSERT_TRUE(next.ok());
    EXPECT_FALSE(next->has_value());
  }
}

// Slices of two ranks of board 8, each with room for (8 - 3)! = 120 solutions.
class PlannerCheckTest : public testing::Test {
 protected:
  Status Check(const Counts& counts) const { return open_.planner->Check({0, 2}, Encode(counts)); }
  OpenPlanner open_ = Open(8);
};

TEST_F(PlannerCheckTest, PossibleCountsPass) {
  EXPECT_TRUE(Check(Counts{4, 200, 1, 100}).ok());
  EXPECT_TRUE(Check(Counts{0, 4, 1, 2}).ok());
}

TEST_F(PlannerCheckTest, MoreSolutionsThanThePrefixesCanHoldAreRefused) {
  EXPECT_TRUE(Check(Counts{480, 1000, 1, 500}).ok());
  EXPECT_EQ(Check(Counts{482, 1000, 1, 500}).message(),
            "The result of subproblems [0, 2) has solutions 482; allowed: 0 to 480.");
  EXPECT_FALSE(Check(Counts{102, 100, 1, 50}).ok());  // More solutions than nodes.
  EXPECT_FALSE(Check(Counts{3, 100, 1, 50}).ok());    // A mirror image without its twin.
}

TEST_F(PlannerCheckTest, ImpossibleNodeCountsAreRefused) {
  EXPECT_FALSE(Check(Counts{0, 2, 1, 1}).ok());            // Fewer than one a rank.
  EXPECT_FALSE(Check(Counts{0, 100, 1, 49}).ok());         // Not twice the visited ones.
  EXPECT_FALSE(Check(Counts{0, 200000, 1, 100000}).ok());  // More than five rows hold.
  EXPECT_FALSE(Check(Counts{0, Count128::Max(), 1, Count128::Max()}).ok());
}

TEST_F(PlannerCheckTest, BadShapesAreRefused) {
  const std::string good = Encode(Counts{4, 200, 1, 100});
  EXPECT_FALSE(open_.planner->Check({0, 2}, "\xff").ok());
  EXPECT_FALSE(open_.planner->Check({0, 2}, "").ok());
  EXPECT_FALSE(open_.planner->Check({2, 2}, good).ok());
  EXPECT_FALSE(open_.planner->Check({0, open_.round.plan->Size() + 1}, good).ok());
  EXPECT_FALSE(open_.planner->Merge({2, 2}, good).ok());
}

TEST(PlannerTest, MiddleRankOfAnOddBoardCountsOnce) {
  const OpenPlanner open = Open(5, 1);
  const Interval middle{2, 3};
  EXPECT_EQ(open.round.plan->Size(), 3u);
  EXPECT_TRUE(open.planner->Check(middle, Encode(Counts{2, 9, 1, 9})).ok());
  EXPECT_FALSE(open.planner->Check({0, 1}, Encode(Counts{2, 9, 1, 9})).ok());
}

TEST(PlannerTest, ResetForgetsWhatWasMergedButNotTheInterior) {
  OpenPlanner open = Open(8);
  const std::string before = open.planner->Summary();
  ASSERT_TRUE(open.planner->Merge({0, 2}, Encode(Counts{4, 200, 1, 100})).ok());
  EXPECT_NE(open.planner->Summary(), before);
  open.planner->ResetRound();
  EXPECT_EQ(open.planner->Summary(), before);
}

TEST(PlannerTest, RestoredPlannerOpensTheSameRound) {
  const OpenPlanner open = Open(12);
  auto restored = QueensPlanner::Create(Encode(Spec{12}));
  ASSERT_TRUE(restored.ok());
  ASSERT_TRUE((*restored)->Restore(Concatenate(open.planner->State())).ok());
  const auto round = (*restored)->NextRound(0);
  ASSERT_TRUE(round.ok() && round->has_value());
  EXPECT_EQ((*round)->payload, open.round.payload);
  EXPECT_EQ((*round)->number, open.round.number);
  EXPECT_EQ((*round)->plan->Size(), open.round.plan->Size());
  EXPECT_FALSE((*restored)->Restore("7").ok());
}

TEST(PayloadTest, CountsAndSpecificationsComeBackAsTheyWereWritten) {
  const Spec spec{22, kBacktracking, 6};
  EXPECT_EQ(*DecodeSpec(Encode(spec)), spec);
  const Counts counts{Count128::FromWords(1, 2), Count128::FromWords(3, 4), 5, Count128::FromWords(6, 7)};
  EXPECT_EQ(*DecodeCounts(Encode(counts)), counts);
}

TEST(PayloadTest, OverflowingSumChangesNothing) {
  Counts counts{1, Count128::Max(), 1, 1};
  const Counts before = counts;
  EXPECT_FALSE(counts.Add(Counts{1, 1, 1, 1}));
  EXPECT_EQ(counts, before);
}

TEST(KnownTest, TablesEndWhereNothingIsPublished) {
  EXPECT_EQ(*KnownSolutions(27), Count128(234907967154122528));
  EXPECT_FALSE(KnownSolutions(28).has_value());
  EXPECT_FALSE(KnownSolutions(0).has_value());
  EXPECT_EQ(*KnownUpToSymmetry(18), Count128(83263591));
  EXPECT_FALSE(KnownUpToSymmetry(19).has_value());
  EXPECT_FALSE(KnownNodes(7).has_value());
}

}  // namespace
}  // namespace potluck::nqueens
