#include "kernels/cnn/plan.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/cnn/dyadic.h"

namespace potluck::cnn {
namespace {

Spec SpecOf(uint64_t samples, uint32_t batch, uint32_t replicas = 0, uint32_t inner_steps = 0) {
  Spec spec;
  spec.model = MnistCnn();
  spec.train.samples = samples;
  spec.test.samples = 10000;
  spec.batch = batch;
  spec.epochs = 2;
  spec.local.replicas = replicas;
  spec.local.inner_steps = inner_steps;
  return spec;
}

TEST(CourseTest, SynchronousStepsAreBatches) {
  const Course course(SpecOf(60000, 128));
  EXPECT_EQ(course.steps_an_epoch(), 469u);
  EXPECT_EQ(course.total_steps(), 938u);
  EXPECT_EQ(course.total_samples(), 120000u);
  EXPECT_EQ(course.Next(0, 0).samples, 128u);
  EXPECT_EQ(course.Next(468, 468).samples, 96u);
  EXPECT_EQ(course.Next(468, 468).steps, 1u);
}

TEST(CourseTest, LocalRoundsDealBatchesInTurn) {
  const Course course(SpecOf(60000, 128, 8, 8));
  // Seven rounds of 64 batches, one of 21.
  EXPECT_EQ(course.steps_an_epoch(), 7 * 8 + 3u);
  const RoundShape last = course.Next(448, 56);
  EXPECT_EQ(last.batches, 21u);
  EXPECT_EQ(last.replicas, 8u);
  EXPECT_EQ(last.steps, 3u);
  EXPECT_EQ(last.StepsOf(4), 3u);
  EXPECT_EQ(last.StepsOf(5), 2u);
  EXPECT_EQ(last.BatchOf(4, 2), (Interval{20 * 128, 60000 - 448 * 128}));
  EXPECT_EQ(last.SamplesOf(4), 2 * 128u + 96);
}

TEST(CourseTest, EachSampleIsTrainedOnOnceAnEpoch) {
  for (const uint64_t samples : {1, 5, 63, 64, 65, 1000}) {
    for (const uint32_t replicas : {0, 1, 3, 8}) {
      const Spec spec = SpecOf(samples, 8, replicas, 4);
      const Course course(spec);
      std::vector<int> seen(samples);
      uint64_t steps = 0;
      for (uint64_t batches = 0; batches < course.batches_an_epoch();) {
        const RoundShape shape = course.Next(batches, steps);
        EXPECT_EQ(ShapeOf(spec, shape.samples).batches, shape.batches);
        uint64_t sum = 0;
        for (uint64_t replica = 0; replica < shape.replicas; ++replica) {
          sum += shape.SamplesOf(replica);
          EXPECT_GE(shape.StepsOf(replica), 1u);
          EXPECT_LE(shape.StepsOf(replica), shape.steps);
          for (uint64_t step = 0; step < shape.StepsOf(replica); ++step) {
            const Interval batch = shape.BatchOf(replica, step);
            EXPECT_FALSE(batch.empty());
            for (uint64_t i = batch.begin; i < batch.end; ++i) ++seen[batches * 8 + i];
          }
        }
        EXPECT_EQ(sum, shape.samples);
        batches += shape.batches;
        steps += shape.steps;
      }
      EXPECT_EQ(steps, course.steps_an_epoch());
      EXPECT_EQ(seen, std::vector<int>(samples, 1)) << samples << " samples, " << replicas << " replicas";
    }
  }
}

TEST(CourseTest, MaxStepsCutsARoundShort) {
  Spec spec = SpecOf(60000, 128, 8, 8);
  spec.max_steps = 61;
  const Course course(spec);
  EXPECT_EQ(course.total_steps(), 61u);
  EXPECT_EQ(course.total_samples(), 60000u + 16 * 128);
  EXPECT_EQ(course.Next(0, 59).batches, 16u);
  EXPECT_EQ(course.Next(0, 59).steps, 2u);
}

// What even shares of a round are cut into.
std::vector<uint64_t> EvenCuts(const RoundPlan& plan, int workers) {
  std::vector<uint64_t> ends;
  for (Interval rest{0, plan.Size()}; workers > 0; --workers) {
    rest.begin = plan.Cut(rest, plan.Cost(rest) / workers);
    ends.push_back(rest.begin);
    if (rest.empty()) break;
  }
  return ends;
}

TEST(CnnPlanTest, UnitsEndWhereBlocksAreFew) {
  const Model model = *MakeModel(MnistCnn());
  const auto plan = MakeGradientPlan(SpecOf(60000, 1024), model, 1024);
  EXPECT_EQ(plan->Size(), 16u);
  EXPECT_EQ(plan->sharing(), Sharing::kEven);
  EXPECT_EQ(EvenCuts(*plan, 1), (std::vector<uint64_t>{16}));
  EXPECT_EQ(EvenCuts(*plan, 2), (std::vector<uint64_t>{8, 16}));
  EXPECT_EQ(EvenCuts(*plan, 4), (std::vector<uint64_t>{4, 8, 12, 16}));
  EXPECT_EQ(EvenCuts(*plan, 3), (std::vector<uint64_t>{4, 10, 16}));
}

TEST(CnnPlanTest, CutsAdvanceAndCostAboutWhatIsAsked) {
  const Model model = *MakeModel(MnistCnn());
  for (const auto& plan :
       {MakeGradientPlan(SpecOf(60000, 60000), model, 60000), MakeLocalPlan(SpecOf(60000, 8, 777, 4), model, 24864),
        MakeEvaluationPlan(SpecOf(60000, 8), model)}) {
    const uint64_t size = plan->Size();
    for (uint64_t begin = 0; begin < size; begin += 1 + begin / 3) {
      for (double cost = plan->Cost({0, 1}) / 3; cost < 2 * plan->Cost({0, size}); cost *= 1.3) {
        const uint64_t end = plan->Cut({begin, size}, cost);
        ASSERT_GT(end, begin);
        ASSERT_LE(end, size);
        const double slack = plan->Cost({0, 1}) / 2;
        EXPECT_TRUE(end == begin + 1 || plan->Cost({begin, end}) <= 1.151 * cost + slack);
        EXPECT_TRUE(end == size || plan->Cost({begin, end + 1}) >= 0.749 * cost - slack);
      }
      EXPECT_EQ(plan->Cut({begin, begin + 1}, 0), begin + 1);
    }
  }
}

TEST(CnnPlanTest, AnEvaluatedSampleCostsItsShareOfTheOperations) {
  const Model model = *MakeModel(MnistCnn());
  const auto plan = MakeEvaluationPlan(SpecOf(60000, 128), model);
  EXPECT_EQ(plan->Size(), 40u);
  EXPECT_NEAR(plan->Cost({0, 40}), 10000 * 24.0 / 71.6, 20);
  EXPECT_NEAR(plan->ProbeCost(), 140, 5);
}

}  // namespace
}  // namespace potluck::cnn
