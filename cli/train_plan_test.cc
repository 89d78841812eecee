#include "cli/train_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace potluck {
namespace {

using testing::HasSubstr;

PlanInput Input(size_t workers, double link) {
  PlanInput input;
  for (size_t i = 0; i < workers; ++i) input.workers.push_back({"w", 1000, 900, link, link});
  input.parameters = 1'000'000;
  for (cnn::Spec* spec : {&input.synchronous, &input.local}) {
    spec->train.samples = 60'000;
    spec->train.shape = spec->test.shape = {1, 28, 28};
    spec->test.samples = 10'000;
    spec->batch = 128;
    spec->micro_shard = 32;
    spec->epochs = 2;
  }
  input.local.batch = 32;
  input.local.local = {
      .replicas = 8, .inner_steps = 16, .upload = cnn::Compression::kTernary, .broadcast = cnn::Compression::kInt4};
  input.evaluation_images_per_second = 4000;
  return input;
}

TEST(TrainPlanTest, OneWorkerWithAFreeLinkTakesWhatItsSpeedSays) {
  const std::vector<PlanRow> rows = Predict(Input(1, 1e15));
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_NEAR(rows[0].epoch_seconds, 60 + 2.5, 0.01);
  EXPECT_NEAR(rows[0].total_seconds, 125, 0.01);
  EXPECT_NEAR(rows[1].epoch_seconds, 60'000.0 / 900 + 2.5, 0.01);
}

TEST(TrainPlanTest, TheLinkAddsItsTimeToEachStep) {
  // 4 MB down and 4 MB up at 4 MB/s: two seconds a step.
  const std::vector<PlanRow> rows = Predict(Input(1, 4e6));
  EXPECT_NEAR(rows[0].epoch_seconds, 60 + 60'000.0 / 128 * 2 + 1 + 2.5, 0.1);
  EXPECT_DOUBLE_EQ(rows[0].bytes_up, 60'000.0 / 128 * 4e6);
}

TEST(TrainPlanTest, MicroShardsAreNotDivided) {
  // Four of them on three equal workers: as slow as two.
  const std::vector<PlanRow> rows = Predict(Input(3, 1e15));
  EXPECT_NEAR(rows[2].epoch_seconds - 10'000.0 / 12'000, rows[1].epoch_seconds - 10'000.0 / 8'000, 0.01);
}

TEST(TrainPlanTest, AdvisesOneWorkerWhereLinksAreSlow) {
  PlanInput input = Input(4, 2e5);
  input.local.local.upload = input.local.local.broadcast = cnn::Compression::kNone;
  input.local.local.inner_steps = 1;
  EXPECT_THAT(Advice(input, Predict(input)), HasSubstr("One worker is the best choice"));
}

TEST(TrainPlanTest, AdvisesLocalStepsWhereOnlyTheyScale) {
  const PlanInput input = Input(4, 2e6);
  EXPECT_THAT(Advice(input, Predict(input)), testing::AllOf(HasSubstr("Use 4 workers"), HasSubstr("local steps")));
}

TEST(TrainPlanTest, AdvisesSynchronousStepsWhereLinksAreFast) {
  const PlanInput input = Input(4, 1e12);
  EXPECT_THAT(Advice(input, Predict(input)), testing::AllOf(HasSubstr("Use 4 workers"), HasSubstr("synchronously")));
}

TEST(TrainPlanTest, TheFastestWorkersCountFirst) {
  PlanInput input = Input(2, 1e15);
  input.workers[1].images_per_second = 3000;
  EXPECT_NEAR(Predict(input)[0].epoch_seconds, 20 + 2.5, 0.01);
}

}  // namespace
}  // namespace potluck
