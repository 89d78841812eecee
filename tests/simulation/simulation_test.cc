// Runs the simulation for many seeds. A failing seed is printed; POTLUCK_SEED=<seed> runs that one alone.
#include "tests/simulation/simulation.h"

#include <cstdlib>

#include "gtest/gtest.h"

namespace potluck::simulation {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kSeeds = 300;  // Instrumented code is an order of magnitude slower.
#else
constexpr uint64_t kSeeds = 3000;
#endif
constexpr uint64_t kSeedsUntilFound = 400;

TEST(SimulationTest, EveryIndexCountsExactlyOnceWhateverHappens) {
  uint64_t first = 1, last = kSeeds;
  if (const char* seed = std::getenv("POTLUCK_SEED")) first = last = std::strtoull(seed, nullptr, 10);
  Outcome sum;
  for (uint64_t seed = first; seed <= last; ++seed) {
    const Outcome outcome = Simulate(seed, Rules());
    ASSERT_EQ(outcome.failure, "") << "replay with POTLUCK_SEED=" << seed;
    sum.events += outcome.events;
    sum.restarts += outcome.restarts;
    sum.retractions += outcome.retractions;
    sum.repeats += outcome.repeats;
    sum.overlaps += outcome.overlaps;
    sum.shrinks += outcome.shrinks;
  }
  if (first == last) return;
  // The seeds really reach what they are meant to reach.
  EXPECT_GT(sum.restarts, last / 10);
  EXPECT_GT(sum.retractions, last / 10);
  EXPECT_GT(sum.repeats, last / 10);
  EXPECT_GT(sum.overlaps, last / 100);
  EXPECT_GT(sum.shrinks, last / 10);
  RecordProperty("events", std::to_string(sum.events));
}

TEST(TrainingTest, VolatileRoundsEndWithTheSameBitsWhateverHappens) {
  uint64_t first = 1, last = kSeeds / 3;
  if (const char* seed = std::getenv("POTLUCK_SEED")) first = last = std::strtoull(seed, nullptr, 10);
  Outcome sum;
  for (uint64_t seed = first; seed <= last; ++seed) {
    const Outcome outcome = Simulate(seed, {.training = true});
    ASSERT_EQ(outcome.failure, "") << "replay with POTLUCK_SEED=" << seed;
    sum.restarts += outcome.restarts;
    sum.retractions += outcome.retractions;
    sum.saves += outcome.saves;
    sum.failed_saves += outcome.failed_saves;
    sum.lost_states += outcome.lost_states;
    sum.handed_over += outcome.handed_over;
    sum.not_here += outcome.not_here;
  }
  if (first == last) return;
  EXPECT_GT(sum.restarts, last / 10);
  EXPECT_GT(sum.retractions, last / 10);
  EXPECT_GT(sum.saves, last);
  EXPECT_GT(sum.failed_saves, last / 10);
  EXPECT_GT(sum.lost_states, last / 100);
  EXPECT_GT(sum.handed_over, last);
  EXPECT_GT(sum.not_here, last / 100);
}

TEST(TrainingTest, LiarsAreFoundBeforeTheirRoundCloses) {
  Outcome sum;
  for (uint64_t seed = 1; seed <= kSeeds / 10; ++seed) {
    const Outcome outcome = Simulate(seed, {.verify = 1, .liars = true, .lie_chance = 0.05, .training = true});
    ASSERT_EQ(outcome.failure, "") << "seed " << seed;
    sum.lies += outcome.lies;
    sum.quarantined += outcome.quarantined;
    sum.wrong_totals += outcome.wrong_totals;
  }
  EXPECT_GT(sum.quarantined, kSeeds / 100);
  EXPECT_EQ(sum.wrong_totals, 0u);
}

TEST(TrainingTest, ARoundThatKeepsALiarsSlicesIsNoticed) {
  const Rules rules{SchedulerDefect::kWrongSlicesAreKept, 1, true, 0.05, true};
  for (uint64_t seed = 1; seed <= kSeedsUntilFound; ++seed) {
    if (!Simulate(seed, rules).failure.empty()) return;
  }
  FAIL() << "no seed up to " << kSeedsUntilFound << " notices the defect";
}

TEST(SimulationTest, TheSameSeedGivesTheSameRun) {
  EXPECT_EQ(Simulate(7, Rules()).events, Simulate(7, Rules()).events);
}

class VerificationTest : public testing::TestWithParam<double> {};

TEST_P(VerificationTest, EveryLieThatIsDrawnIsFoundAndNoHonestWorkerIsBlamed) {
  uint64_t first = 1, last = GetParam() < 1 ? kSeeds / 3 : kSeeds / 6;
  if (const char* seed = std::getenv("POTLUCK_SEED")) first = last = std::strtoull(seed, nullptr, 10);
  Outcome sum;
  for (uint64_t seed = first; seed <= last; ++seed) {
    const Outcome outcome = Simulate(seed, {.verify = GetParam(), .liars = true});
    ASSERT_EQ(outcome.failure, "") << "replay with POTLUCK_SEED=" << seed;
    sum.restarts += outcome.restarts;
    sum.lies += outcome.lies;
    sum.verified += outcome.verified;
    sum.quarantined += outcome.quarantined;
    sum.all_differed += outcome.all_differed;
    sum.wrong_totals += outcome.wrong_totals;
  }
  if (first == last) return;
  RecordProperty("lies", std::to_string(sum.lies));
  RecordProperty("verified", std::to_string(sum.verified));
  RecordProperty("quarantined", std::to_string(sum.quarantined));
  RecordProperty("all_differed", std::to_string(sum.all_differed));
  RecordProperty("wrong_totals", std::to_string(sum.wrong_totals));
  EXPECT_GT(sum.restarts, last / 10);
  EXPECT_GT(sum.lies, last / 10);
  EXPECT_GT(sum.quarantined, last / 200);
  EXPECT_TRUE(GetParam() < 1 || sum.wrong_totals == 0);
}

INSTANTIATE_TEST_SUITE_P(Shares, VerificationTest, testing::Values(0.1, 1.0));

TEST(LiarsTest, WhereThreeDifferNobodyIsBelievedAndTheTotalIsRight) {
  uint64_t all_differed = 0;
  // It is rare: more of them until it was seen.
  for (uint64_t seed = 1; seed <= kSeeds / 20 || (all_differed == 0 && seed <= kSeeds); ++seed) {
    const Outcome outcome = Simulate(seed, {.verify = 1, .liars = true, .lie_chance = 0.4});
    ASSERT_EQ(outcome.failure, "") << "seed " << seed;
    all_differed += outcome.all_differed;
  }
  EXPECT_GT(all_differed, 0u);
}

TEST(HonestTest, HonestWorkersAgreeWhateverHappens) {
  for (uint64_t seed = 1; seed <= kSeeds / 10; ++seed) {
    const Outcome outcome = Simulate(seed, {.verify = 0.5});
    ASSERT_EQ(outcome.failure, "") << "seed " << seed;
    ASSERT_EQ(outcome.quarantined, 0u) << "seed " << seed;
  }
}

// Defects of the verification show only where something is verified.
double VerifyFor(SchedulerDefect defect) { return defect < SchedulerDefect::kCheckGoesToTheSameWorker ? 0 : 1; }

class DefectTest : public testing::TestWithParam<SchedulerDefect> {};

TEST_P(DefectTest, IsFoundByTheSimulation) {
  for (uint64_t seed = 1; seed <= kSeedsUntilFound; ++seed) {
    if (!Simulate(seed, {GetParam(), VerifyFor(GetParam()), VerifyFor(GetParam()) > 0}).failure.empty()) return;
  }
  FAIL() << "no seed up to " << kSeedsUntilFound << " notices the defect";
}

INSTANTIATE_TEST_SUITE_P(
    All, DefectTest,
    testing::Values(SchedulerDefect::kGrantStaysFree, SchedulerDefect::kExpiredLeaseIsForgotten,
                    SchedulerDefect::kTailIsFreedUnconfirmed, SchedulerDefect::kHandedBackIsForgotten,
                    SchedulerDefect::kRetractedIsForgotten, SchedulerDefect::kCommitKeepsOtherLeases,
                    SchedulerDefect::kCheckGoesToTheSameWorker, SchedulerDefect::kThirdRunGoesToOneOfTheTwo,
                    SchedulerDefect::kLostCheckCountsAsDone, SchedulerDefect::kWrongSlicesAreKept));

}  // namespace
}  // namespace potluck::simulation
