#include "kernels/nqueens/backtracking/known_answers.h"

#include <gtest/gtest.h>

#include <chrono>

#include "kernels/nqueens/backtracking/plan.h"
#include "kernels/nqueens/backtracking/run_cpu.h"
#include "kernels/nqueens/test_util.h"

namespace potluck::nqueens {
namespace {

TEST(KnownAnswersTest, AreWhatTheRunnerFinds) {
  for (int n = 1; n <= 20; ++n) {
    const auto planner = QueensPlanner::Create(Encode(Spec{static_cast<uint32_t>(n), kBacktracking, 0}));
    ASSERT_TRUE(planner.ok());
    EXPECT_TRUE((*planner)->KnownAnswers().empty()) << "no round is open";
    const auto round = (*planner)->NextRound(0);
    ASSERT_TRUE(round.ok() && round->has_value());
    const std::vector<Part> answers = (*planner)->KnownAnswers();
    EXPECT_GE(answers.size(), 1u) << n;
    const auto runner = MakeBacktrackingRunner(1, Dispatch::kScalar);
    ASSERT_TRUE(runner->Open((*round)->payload).ok());
    for (const Part& answer : answers) {
      ASSERT_FALSE(answer.interval.empty());
      ASSERT_LE(answer.interval.end, (*round)->plan->Size());
      EXPECT_TRUE((*planner)->Check(answer.interval, answer.payload).ok());
      EXPECT_EQ(answer.payload, Encode(Sum(RunAll(*runner, answer.interval)))) << n << " " << ToString(answer.interval);
    }
  }
}

TEST(KnownAnswersTest, LargeBoardsAreGivenUpInTime) {
  for (const int n : {20, 24, 32}) {
    const PrefixTable table(n, n == 32 ? 3 : DefaultDepth(n));
    const auto start = std::chrono::steady_clock::now();
    for (const Part& answer : KnownAnswers(table)) EXPECT_LE(answer.interval.end, table.size());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    // Some 0.03 s on an idle machine.
    EXPECT_LT(took.count(), kSanitized ? 30.0 : 1.0) << n;
  }
}

TEST(KnownAnswersTest, PartsOfAnIntervalCombineToItsResult) {
  const auto planner = QueensPlanner::Create(Encode(Spec{11, kBacktracking, 0}));
  ASSERT_TRUE(planner.ok());
  const auto round = (*planner)->NextRound(0);
  const auto runner = MakeBacktrackingRunner(1, Dispatch::kScalar);
  ASSERT_TRUE(runner->Open((*round)->payload).ok());
  const auto payload = [&](Interval interval) { return Encode(Sum(RunAll(*runner, interval))); };
  const std::vector<Part> parts = {
      {{5, 9}, payload({5, 9})}, {{9, 10}, payload({9, 10})}, {{10, 60}, payload({10, 60})}};
  const Result<std::string> combined = (*planner)->Combine(parts);
  ASSERT_TRUE(combined.ok());
  EXPECT_EQ(*combined, payload({5, 60}));
}

TEST(KnownAnswersTest, ASumThatOverflowsIsNoResult) {
  const auto planner = QueensPlanner::Create(Encode(Spec{11, kBacktracking, 0}));
  Counts huge;
  huge.nodes = Count128::Max();
  const std::vector<Part> parts = {{{0, 1}, Encode(huge)}, {{1, 2}, Encode(huge)}};
  EXPECT_FALSE((*planner)->Combine(parts).ok());
}

}  // namespace
}  // namespace potluck::nqueens
