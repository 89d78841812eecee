// Runs the simulation for many seeds. A failing seed is printed; POTLUCK_SEED=<seed> runs that one alone.
#include "tests/simulation/simulation.h"

#include <cstdlib>
#include <optional>

#include "gtest/gtest.h"

namespace potluck::simulation {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kSeeds = 300;  // Instrumented code is an order of magnitude slower.
#else
constexpr uint64_t kSeeds = 3000;
#endif
constexpr uint64_t kSeedsUntilFound = 400;

// Over seeds from 1 to `last`, or POTLUCK_SEED alone: none may fail. Null then, and when one has failed.
std::optional<Outcome> SimulateAll(uint64_t last, const Rules& rules) {
  if (const char* seed = std::getenv("POTLUCK_SEED")) {
    EXPECT_EQ(Simulate(std::strtoull(seed, nullptr, 10), rules).failure, "");
    return std::nullopt;
  }
  Outcome sum;
  for (uint64_t seed = 1; seed <= last; ++seed) {
    const Outcome outcome = Simulate(seed, rules);
    EXPECT_EQ(outcome.failure, "") << "replay with POTLUCK_SEED=" << seed;
    if (!outcome.failure.empty()) return std::nullopt;
    sum += outcome;
  }
  return sum;
}

TEST(SimulationTest, EveryIndexCountsExactlyOnceWhateverHappens) {
  const uint64_t last = kSeeds;
  const std::optional<Outcome> sum = SimulateAll(last, Rules());
  if (!sum) return;
  // The seeds really reach what they are meant to reach.
  EXPECT_GT(sum->restarts, last / 10);
  EXPECT_GT(sum->retractions, last / 10);
  EXPECT_GT(sum->repeats, last / 10);
  EXPECT_GT(sum->overlaps, last / 100);
  EXPECT_GT(sum->shrinks, last / 10);
  RecordProperty("events", std::to_string(sum->events));
}

TEST(TrainingTest, VolatileRoundsEndWithTheSameBitsWhateverHappens) {
  const uint64_t last = kSeeds / 3;
  const std::optional<Outcome> sum = SimulateAll(last, {.training = true});
  if (!sum) return;
  EXPECT_GT(sum->restarts, last / 10);
  EXPECT_GT(sum->retractions, last / 10);
  EXPECT_GT(sum->saves, last);
  EXPECT_GT(sum->failed_saves, last / 10);
  EXPECT_GT(sum->lost_states, last / 100);
  EXPECT_GT(sum->handed_over, last);
  EXPECT_GT(sum->not_here, last / 100);
}

TEST(TrainingTest, LiarsAreFoundBeforeTheirRoundCloses) {
  const std::optional<Outcome> sum =
      SimulateAll(kSeeds / 10, {.verify = 1, .liars = true, .lie_chance = 0.05, .training = true});
  if (!sum) return;
  EXPECT_GT(sum->quarantined, kSeeds / 100);
  EXPECT_EQ(sum->wrong_totals, 0u);
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
  const uint64_t last = GetParam() < 1 ? kSeeds / 3 : kSeeds / 6;
  const std::optional<Outcome> sum = SimulateAll(last, {.verify = GetParam(), .liars = true});
  if (!sum) return;
  RecordProperty("lies", std::to_string(sum->lies));
  RecordProperty("verified", std::to_string(sum->verified));
  RecordProperty("quarantined", std::to_string(sum->quarantined));
  RecordProperty("all_differed", std::to_string(sum->all_differed));
  RecordProperty("wrong_totals", std::to_string(sum->wrong_totals));
  EXPECT_GT(sum->restarts, last / 10);
  EXPECT_GT(sum->lies, last / 10);
  EXPECT_GT(sum->quarantined, last / 200);
  EXPECT_TRUE(GetParam() < 1 || sum->wrong_totals == 0);
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
  const std::optional<Outcome> sum = SimulateAll(kSeeds / 10, {.verify = 0.5});
  if (sum) EXPECT_EQ(sum->quarantined, 0u);
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
