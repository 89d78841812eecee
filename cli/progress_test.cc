#include "cli/progress.h"

#include <gtest/gtest.h>

#include <string>

#include "cli/progress_display.h"

namespace potluck {
namespace {

ProgressSample At(double seconds, double done, double hint = 0) {
  return {.at = absl::Seconds(seconds),
          .done_cost = done,
          .total_cost = 1000,
          .rate_hint = hint,
          .nodes = done * 100,
          .solutions = done * 2};
}

TEST(ProgressTest, NothingIsKnownAtFirst) {
  Progress progress;
  EXPECT_EQ(progress.Estimate().fraction, 0);
  EXPECT_FALSE(progress.Estimate().left);
  progress.Add(At(0, 0));
  EXPECT_FALSE(progress.Estimate().left);
  EXPECT_FALSE(progress.Estimate().nodes_per_second);
}

TEST(ProgressTest, TheCoordinatorsRateServesUntilSomethingIsDone) {
  Progress progress;
  progress.Add(At(0, 0, 10));
  EXPECT_FALSE(progress.Estimate().left);
  progress.Add(At(2, 0, 10));
  EXPECT_EQ(progress.Estimate().left, absl::Seconds(100));
}

TEST(ProgressTest, AShortHistoryGivesNothingThenAWideRange) {
  Progress progress;
  for (int t = 0; t <= 8; ++t) {
    progress.Add(At(t, 10 * t));
    const ProgressEstimate estimate = progress.Estimate();
    EXPECT_EQ(estimate.left.has_value(), t >= 2);
    if (!estimate.left) continue;
    EXPECT_EQ(estimate.left, absl::Seconds(100 - t));
    EXPECT_EQ(estimate.left_low, absl::Seconds(100 - t) / 2);
    EXPECT_EQ(estimate.left_high, absl::Seconds(100 - t) * 2);
  }
}

TEST(ProgressTest, ASteadyRateGivesANarrowRange) {
  Progress progress;
  for (int t = 0; t <= 20; ++t) progress.Add(At(t, 10 * t));
  const ProgressEstimate estimate = progress.Estimate();
  EXPECT_DOUBLE_EQ(estimate.fraction, 0.2);
  EXPECT_DOUBLE_EQ(*estimate.nodes_per_second, 1000);
  EXPECT_DOUBLE_EQ(*estimate.solutions_per_second, 20);
  EXPECT_EQ(estimate.left, absl::Seconds(80));
  EXPECT_EQ(estimate.left_low, absl::Seconds(80));
  EXPECT_EQ(estimate.left_high, absl::Seconds(80));
}

TEST(ProgressTest, AnUnsteadyRateGivesARangeAroundTheEstimate) {
  Progress progress;
  double done = 0;
  for (int t = 0; t <= 40; ++t) {
    progress.Add(At(t, done));
    done += t % 20 < 10 ? 5 : 15;
  }
  const ProgressEstimate estimate = progress.Estimate();
  EXPECT_LT(*estimate.left_low, *estimate.left);
  EXPECT_GT(*estimate.left_high, *estimate.left);
  EXPECT_GE(*estimate.left_low, absl::Seconds((1000 - 400) / 15.0 - 1));
  EXPECT_LE(*estimate.left_high, absl::Seconds((1000 - 395) / 5.0 + 1));
}

TEST(ProgressTest, OnlyTheLastMinuteCounts) {
  Progress progress;
  double done = 0;
  for (int t = 0; t <= 200; ++t) {
    progress.Add(At(t, done));
    done += t < 100 ? 1 : 4;
  }
  EXPECT_NEAR(absl::ToDoubleSeconds(*progress.Estimate().left), (1000.0 - 500) / 4, 1e-6);
}

TEST(ProgressTest, ManySamplesASecondAreThinned) {
  Progress progress;
  for (int i = 0; i <= 1000; ++i) progress.Add(At(i * 0.01, i * 0.1));
  EXPECT_NEAR(absl::ToDoubleSeconds(*progress.Estimate().left), 90, 1e-6);
  EXPECT_NEAR(*progress.Estimate().nodes_per_second, 1000, 1e-6);
}

TEST(ProgressTest, RetractedWorkStartsTheHistoryAnew) {
  Progress progress;
  for (int t = 0; t <= 20; ++t) progress.Add(At(t, 10 * t));
  progress.Add(At(21, 100, 5));
  const ProgressEstimate estimate = progress.Estimate();
  EXPECT_FALSE(estimate.nodes_per_second);
  EXPECT_FALSE(estimate.left);
}

TEST(ProgressTest, AStandstillHasNoRange) {
  Progress progress;
  for (int t = 0; t <= 30; ++t) progress.Add(At(t, t < 5 ? 10 * t : 50));
  EXPECT_TRUE(progress.Estimate().left);
  EXPECT_FALSE(progress.Estimate().left_high);
}

TEST(ProgressTest, AFinishedRoundHasNothingLeft) {
  Progress progress;
  for (int t = 0; t <= 10; ++t) progress.Add(At(t, 100 * t));
  EXPECT_EQ(progress.Estimate().fraction, 1);
  EXPECT_EQ(progress.Estimate().left, absl::ZeroDuration());
}

constexpr size_t kNoLimit = std::string::npos;

TEST(ProgressLineTest, NamesTheTimeLeftFirstThenWorkersAndRates) {
  ProgressEstimate estimate;
  EXPECT_EQ(ProgressLine(estimate, 0, false, kNoLimit), "waiting for workers");
  estimate.fraction = 0.421;
  EXPECT_EQ(ProgressLine(estimate, 0, false, kNoLimit), "42.1 % done, ETA not known yet, 0 workers");
  estimate.nodes_per_second = 1.9e8;
  estimate.solutions_per_second = 2.4e6;
  estimate.left = absl::Seconds(11.2);
  EXPECT_EQ(ProgressLine(estimate, 1, false, kNoLimit),
            "42.1 % done, ETA 12 s, 1 worker, 190 M nodes/s, 2.40 M solutions/s");
  estimate.left_low = absl::Seconds(10);
  estimate.left_high = absl::Seconds(75);
  EXPECT_EQ(ProgressLine(estimate, 2, false, kNoLimit),
            "42.1 % done, ETA 12 s (10 s to 1 min 15 s), 2 workers, 190 M nodes/s, 2.40 M solutions/s");
  EXPECT_EQ(ProgressLine(estimate, 2, true, kNoLimit), "42.1 % done, paused");
}

TEST(ProgressLineTest, RatesAreLeftOutWhereTheyDoNotFit) {
  ProgressEstimate estimate;
  estimate.fraction = 0.421;
  estimate.nodes_per_second = 1.9e8;
  estimate.solutions_per_second = 2.4e6;
  estimate.left = absl::Seconds(11.2);
  estimate.left_low = absl::Seconds(10);
  estimate.left_high = absl::Seconds(75);
  EXPECT_EQ(ProgressLine(estimate, 2, false, 79),
            "42.1 % done, ETA 12 s (10 s to 1 min 15 s), 2 workers, 190 M nodes/s");
  EXPECT_EQ(ProgressLine(estimate, 2, false, 60), "42.1 % done, ETA 12 s (10 s to 1 min 15 s), 2 workers");
}

TEST(ProgressLineTest, ARangeWithEqualEndsIsNotShown) {
  ProgressEstimate estimate;
  estimate.fraction = 0.9;
  estimate.left = absl::Seconds(1.5);
  estimate.left_low = absl::Seconds(1.2);
  estimate.left_high = absl::Seconds(1.9);
  EXPECT_EQ(ProgressLine(estimate, 1, false, kNoLimit), "90.0 % done, ETA 2 s, 1 worker");
}

}  // namespace
}  // namespace potluck
