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
    const Outcome outcome = Simulate(seed, SchedulerDefect::kNone);
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

TEST(SimulationTest, TheSameSeedGivesTheSameRun) {
  EXPECT_EQ(Simulate(7, SchedulerDefect::kNone).events, Simulate(7, SchedulerDefect::kNone).events);
}

class DefectTest : public testing::TestWithParam<SchedulerDefect> {};

TEST_P(DefectTest, IsFoundByTheSimulation) {
  for (uint64_t seed = 1; seed <= kSeedsUntilFound; ++seed) {
    if (!Simulate(seed, GetParam()).failure.empty()) return;
  }
  FAIL() << "no seed up to " << kSeedsUntilFound << " notices the defect";
}

INSTANTIATE_TEST_SUITE_P(All, DefectTest,
                         testing::Values(SchedulerDefect::kGrantStaysFree, SchedulerDefect::kExpiredLeaseIsForgotten,
                                         SchedulerDefect::kTailIsFreedUnconfirmed,
                                         SchedulerDefect::kHandedBackIsForgotten,
                                         SchedulerDefect::kRetractedIsForgotten,
                                         SchedulerDefect::kCommitKeepsOtherLeases));

}  // namespace
}  // namespace potluck::simulation
