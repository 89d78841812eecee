#include "kernels/nqueens/mitm/plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/nqueens/known.h"
#include "kernels/nqueens/mitm/half_board.h"
#include "kernels/nqueens/mitm/run_cpu.h"
#include "kernels/nqueens/planner.h"
#include "kernels/nqueens/test_util.h"

namespace potluck::nqueens::mitm {
namespace {

std::string SpecBytes(uint32_t n) { return Encode(Spec{n, kMeetInTheMiddle, 0}); }

TEST(MitmPlanTest, CostsAddUpAndSkippedIndicesCostNothing) {
  for (const int n : {4, 9, 12, 13}) {
    const MitmPlan plan(n);
    std::mt19937_64 random(3);
    const double all = plan.Cost({0, plan.Size()});
    EXPECT_GT(all, 0);
    for (int trial = 0; trial < 20; ++trial) {
      const uint64_t cut = random() % plan.Size();
      EXPECT_NEAR(plan.Cost({0, cut}) + plan.Cost({cut, plan.Size()}), all, all * 1e-9);
      const double one = plan.Cost({cut, cut + 1});
      EXPECT_EQ(one > 0, SubproblemAt(n, cut).counted()) << n << " " << cut;
    }
  }
}

TEST(MitmPlanTest, CutsAreNeverEmptyAndCostAboutWhatWasAsked) {
  const MitmPlan plan(14);
  const double all = plan.Cost({0, plan.Size()});
  for (const double wanted : {all / 3, all / 20, all / 100}) {
    uint64_t begin = 0;
    while (begin < plan.Size()) {
      const uint64_t end = plan.Cut({begin, plan.Size()}, wanted);
      ASSERT_GT(end, begin);
      EXPECT_LE(plan.Cost({begin, end}), wanted * 1.000001 + plan.Cost({end - 1, end}));
      if (end < plan.Size()) {
        EXPECT_GT(plan.Cost({begin, end + 1}), wanted * 0.999999);
      }
      begin = end;
    }
  }
  EXPECT_EQ(plan.Cut({5, 5}, 1), 5u);
  EXPECT_EQ(plan.Cut({5, 9}, 0), 6u);
  EXPECT_EQ(plan.Cut({5, 9}, std::nan("")), 6u);
  EXPECT_EQ(plan.Cut({5, 9}, 1e300), 9u);
}

// The half boards of a row set, by plain search.
double Count(const HalfBoard& half, int j, uint32_t rows, uint32_t taken, uint64_t up, uint32_t down) {
  if (j == 0) return 1;
  double sum = 0;
  for (uint32_t free = rows & ~(taken | static_cast<uint32_t>(up) | down | half.Closed(j)); free != 0;
       free &= free - 1) {
    const uint32_t bit = free & (0u - free);
    sum += Count(half, j - 1, rows, taken | bit, (up | bit) << 1, (down | bit) >> 1);
  }
  return sum;
}

TEST(CostModelTest, PredictsTheNumberOfHalfBoards) {
  for (const int n : {14, 15, 16, 17}) {
    const CostModel model(n);
    std::mt19937_64 random(5);
    double error = 0;
    double sum = 0;
    for (int trial = 0; trial < 200; ++trial) {
      const Subproblem subproblem = SubproblemAt(n, random() % IndexCount(n));
      const HalfBoard half(n, subproblem.middle_row);
      const double found = Count(half, half.columns(), subproblem.west, 0, 0, 0);
      error += std::abs(found - model.HalfBoards(subproblem.west, subproblem.middle_row));
      sum += found;
    }
    EXPECT_LT(error / sum, 0.2) << n;
  }
}

TEST(MitmPlannerTest, MergesARunToThePublishedTotal) {
  for (const uint32_t n : {1u, 3u, 4u, 10u, 11u}) {
    Result<std::unique_ptr<Planner>> planner = MakePlanner(SpecBytes(n));
    ASSERT_TRUE(planner.ok()) << planner.status().message();
    const Result<std::optional<Round>> round = (*planner)->NextRound(0);
    ASSERT_TRUE(round.ok() && round->has_value());
    const auto runner = MakeMitmRunner({.threads = 2, .dispatch = SupportedDispatches().front()});
    ASSERT_TRUE(runner->Open((*round)->payload).ok());
    EXPECT_FALSE((*planner)->NextRound(0).ok());
    for (int pass = 0; pass < 2; ++pass) {
      (*planner)->ResetRound();
      for (const Slice& slice : RunAll(*runner, {0, (*round)->plan->Size()})) {
        const Status merged = (*planner)->Merge(slice.interval, Encode(slice.counts));
        EXPECT_TRUE(merged.ok()) << merged.message();
      }
      EXPECT_EQ(DecodeCounts((*planner)->Summary())->solutions, *KnownSolutions(static_cast<int>(n)));
    }
    const Result<std::optional<Round>> next = (*planner)->NextRound(0);
    EXPECT_TRUE(next.ok() && !next->has_value());
    EXPECT_EQ(Concatenate((*planner)->State()), "0");
    EXPECT_TRUE((*planner)->Restore("0").ok());
    EXPECT_FALSE((*planner)->Restore("7").ok());
  }
}

TEST(MitmPlannerTest, ImpossibleResultsAreRefused) {
  Result<std::unique_ptr<Planner>> planner = MakePlanner(SpecBytes(8));
  ASSERT_TRUE(planner.ok());
  EXPECT_EQ((*planner)->Check({0, 1}, "").message(), "No round is open.");
  ASSERT_TRUE((*planner)->NextRound(0).ok());
  const auto check = [&](const Counts& counts) { return (*planner)->Check({2, 4}, Encode(counts)).message(); };
  EXPECT_EQ(check({10, 0, 5, 0}), "");
  EXPECT_EQ(check({10, 1, 5, 0}),
            "The result of subproblems [2, 4) has nodes 1; allowed: 0, as this algorithm visits no nodes.");
  EXPECT_EQ(check({10, 0, 5, 1}),
            "The result of subproblems [2, 4) has visited 1; allowed: 0, as this algorithm visits no nodes.");
  EXPECT_EQ(check({100000, 0, 5, 0}), "The result of subproblems [2, 4) has solutions 100000; allowed: 0 to 18432.");
  EXPECT_FALSE((*planner)->Check({70, 71}, Encode(Counts{})).ok());
  EXPECT_FALSE((*planner)->Check({3, 3}, Encode(Counts{})).ok());
  EXPECT_FALSE((*planner)->Check({2, 4}, "\xff").ok());
}

TEST(MitmPlannerTest, SpecificationsOutsideItsRangeAreRefused) {
  EXPECT_EQ(MakePlanner(SpecBytes(26)).status().message(), "n is 26; allowed for meeting in the middle: 1 to 25.");
  EXPECT_EQ(MakePlanner(Encode(Spec{8, kMeetInTheMiddle, 3})).status().message(),
            "depth is 3; allowed for meeting in the middle: 0.");
  EXPECT_EQ(MakePlanner(Encode(Spec{8, 3, 0})).status().message(),
            "algorithm is 3; allowed: 1 (backtracking) and 2 (meet in the middle).");
}

}  // namespace
}  // namespace potluck::nqueens::mitm
