#include "kernels/nqueens/mitm/known_answers.h"

#include <gtest/gtest.h>

#include "kernels/nqueens/known.h"
#include "kernels/nqueens/mitm/plan.h"
#include "kernels/nqueens/mitm/row_sets.h"
#include "kernels/nqueens/mitm/run_cpu.h"
#include "kernels/nqueens/planner.h"
#include "kernels/nqueens/test_util.h"

namespace potluck::nqueens::mitm {
namespace {

TEST(MitmKnownAnswersTest, PlainCountsOfAllIndicesAddUpToTheTotal) {
  for (int n = kMinN; n <= 10; ++n) {
    uint64_t sum = 0;
    for (uint64_t index = 0; index < IndexCount(n); ++index) sum += *CountPlainly(n, index, 1u << 30);
    EXPECT_EQ(Count128(sum), *KnownSolutions(n)) << n;
  }
}

TEST(MitmKnownAnswersTest, AreWhatTheRunnerFinds) {
  for (int n = 1; n <= (kSanitized ? 12 : 23); ++n) {
    const auto planner = MakePlanner(Encode(Spec{static_cast<uint32_t>(n), kMeetInTheMiddle, 0}));
    ASSERT_TRUE(planner.ok());
    EXPECT_TRUE((*planner)->KnownAnswers().empty()) << "no round is open";
    const auto round = (*planner)->NextRound(0);
    ASSERT_TRUE(round.ok() && round->has_value());
    const std::vector<Part> answers = (*planner)->KnownAnswers();
    EXPECT_GE(answers.size(), n < 8 || n > 19 ? 0u : 1u) << n;
    const auto runner = MakeMitmRunner({.threads = 1, .dispatch = SupportedDispatches().front()});
    ASSERT_TRUE(runner->Open((*round)->payload).ok());
    for (const Part& answer : answers) {
      EXPECT_GT(DecodeCounts(answer.payload)->solutions, Count128());
      ASSERT_LE(answer.interval.end, (*round)->plan->Size());
      EXPECT_TRUE((*planner)->Check(answer.interval, answer.payload).ok());
      EXPECT_EQ(answer.payload, Encode(Sum(RunAll(*runner, answer.interval)))) << n << " " << ToString(answer.interval);
    }
  }
}

TEST(MitmKnownAnswersTest, WhatWouldTakeTooLongIsGivenUp) {
  EXPECT_EQ(CountPlainly(16, Rank(0b0101010101010101), 1000), std::nullopt);
  for (const int n : {22, 24, 25}) EXPECT_LE(KnownAnswers(n).size(), 4u);
}

}  // namespace
}  // namespace potluck::nqueens::mitm
