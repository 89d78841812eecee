#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/cnn/training_testing.h"

namespace potluck::cnn {
namespace {

TEST(TrainingTest, GivesTheBitsOfAPlainLoopHoweverItIsCut) {
  TestBlobs blobs;
  const Spec spec = TinySpec(blobs);
  const std::vector<float> expected = PlainLoop(spec, blobs);
  for (const int workers : {1, 2, 5}) {
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const Outcome outcome = RunByHand(spec, blobs, {.workers = workers, .threads = seed == 1 ? 2 : 1, .seed = seed});
      EXPECT_EQ(outcome.parameters, expected) << workers << " workers, seed " << seed;
      EXPECT_EQ(outcome.rounds, 8u);  // Three steps and an evaluation, twice.
    }
  }
}

TEST(TrainingTest, EveryOptimizerAndAugmentationGiveEqualBits) {
  TestBlobs blobs;
  Spec spec = TinySpec(blobs);
  spec.shift = 2;
  for (const OptimizerKind kind : {OptimizerKind::kSgd, OptimizerKind::kAdadelta, OptimizerKind::kAdamW}) {
    spec.optimizer = {.kind = kind, .learning_rate = 0.01};
    const Outcome one = RunByHand(spec, blobs, {.workers = 1});
    const Outcome three = RunByHand(spec, blobs, {.workers = 3, .threads = 2, .seed = 9, .restart_each_round = true});
    EXPECT_EQ(one.parameters, three.parameters) << ToString(kind);
    ASSERT_EQ(three.summary.epochs.size(), 2u);
    EXPECT_EQ(one.summary.epochs[1].test_loss, three.summary.epochs[1].test_loss);
    EXPECT_EQ(one.summary.epochs[1].train_loss, three.summary.epochs[1].train_loss);
  }
}

TEST(TrainingTest, GoesOnFromAStateSavedAtAnyRoundToTheSameBits) {
  TestBlobs blobs;
  const Spec spec = TinySpec(blobs);
  const Outcome whole = RunByHand(spec, blobs, {});
  for (uint64_t rounds = 1; rounds <= whole.rounds; ++rounds) {
    Spec rest = spec;
    rest.initial_state = blobs.Put(RunByHand(spec, blobs, {.stop_after_rounds = rounds}).state);
    const Outcome resumed = RunByHand(rest, blobs, {.workers = 2, .seed = rounds});
    EXPECT_EQ(resumed.parameters, whole.parameters) << rounds;
    EXPECT_EQ(resumed.summary.epochs.size(), 2u);
    EXPECT_EQ(resumed.rounds, whole.rounds - rounds);
  }
}

TEST(TrainingTest, LearnsWhatItSees) {
  TestBlobs blobs;
  Spec spec = TinySpec(blobs);
  spec.model.layers.erase(spec.model.layers.begin() + 2);  // Dropout.
  spec.train = PutData(TinyData(64, 5), 64, blobs);
  spec.batch = 16;
  spec.epochs = 60;
  const Outcome outcome = RunByHand(spec, blobs, {.workers = 2});
  EXPECT_LT(outcome.summary.loss, 0.05);
  EXPECT_EQ(outcome.summary.accuracy, 1.0);
  EXPECT_GT(outcome.summary.epochs.back().test_accuracy, 0.95);
}

Spec LocalSpec(TestBlobs& blobs, Compression upload, Compression broadcast) {
  Spec spec = TinySpec(blobs);
  spec.batch = 5;  // 14 batches an epoch: rounds of 9 and of 5.
  spec.local = {.replicas = 3, .inner_steps = 3, .upload = upload, .broadcast = broadcast};
  return spec;
}

TEST(TrainingTest, LocalStepsGiveEqualBitsWithEveryCompression) {
  using enum Compression;
  for (const Compression upload : {kNone, kHalf, kInt8, kInt4, kTernary}) {
    for (const Compression broadcast : {kNone, kInt8, kInt4}) {
      TestBlobs blobs;
      const Spec spec = LocalSpec(blobs, upload, broadcast);
      const Outcome one = RunByHand(spec, blobs, {.workers = 1});
      EXPECT_EQ(one.rounds, 6u);
      EXPECT_EQ(one.summary.step, 10u);
      for (const int workers : {2, 5}) {
        const Outcome several = RunByHand(spec, blobs,
                                          {.workers = workers,
                                           .threads = workers == 2 && broadcast == kNone ? 2 : 1,
                                           .seed = 3,
                                           .restart_each_round = workers == 5});
        EXPECT_EQ(one.parameters, several.parameters) << ToString(upload) << " " << ToString(broadcast);
        EXPECT_EQ(one.summary.epochs[1].test_loss, several.summary.epochs[1].test_loss);
      }
    }
  }
}

TEST(TrainingTest, LocalStepsLearnWithEveryCompression) {
  using enum Compression;
  for (const Compression compression : {kNone, kInt8, kTernary}) {
    TestBlobs blobs;
    Spec spec = LocalSpec(blobs, compression, compression == kTernary ? kInt4 : compression);
    spec.optimizer = {.kind = OptimizerKind::kSgd, .learning_rate = 0.05};
    spec.epochs = 40;
    const Outcome outcome = RunByHand(spec, blobs, {.workers = 2});
    EXPECT_GT(outcome.summary.epochs.back().test_accuracy, 0.9) << ToString(compression);
  }
}

TEST(TrainingTest, OneSumComesFromAWorkerThatDoesSeveralReplicas) {
  TestBlobs blobs;
  const Spec spec = LocalSpec(blobs, Compression::kNone, Compression::kNone);
  const Outcome outcome = RunByHand(spec, blobs, {.workers = 1});
  EXPECT_EQ(outcome.slices, outcome.rounds);
}

TEST(TrainingTest, AnEncodedUpdateIsTakenInPlaceOfTheParameters) {
  TestBlobs blobs;
  const Spec spec = LocalSpec(blobs, Compression::kInt4, Compression::kInt4);
  const uint64_t count = MakeModel(spec.model)->parameter_count;
  const uint64_t data = 70 * 66 + 300 * 66;
  const Outcome outcome = RunByHand(spec, blobs, {.workers = 1});
  EXPECT_EQ(outcome.rounds, 6u);
  // Whole once, then an update for each of the outer steps that something follows.
  EXPECT_EQ(blobs.fetched_bytes(), data + 4 * count + 4 * EncodedBytes(Compression::kInt4, count));
}

TEST(TrainingTest, StopsAtItsLimits) {
  TestBlobs blobs;
  Spec spec = TinySpec(blobs);
  spec.epochs = 50;
  EXPECT_EQ(RunByHand(TinySpec(blobs), blobs, {}).summary.stopped_by, "epochs");

  Spec steps = spec;
  steps.max_steps = 4;
  const Outcome four = RunByHand(steps, blobs, {});
  EXPECT_EQ(four.summary.stopped_by, "max-steps");
  EXPECT_EQ(four.summary.step, 4u);
  EXPECT_EQ(four.summary.total_steps, 4u);
  EXPECT_EQ(four.summary.total_samples, 70u + 24u);
  EXPECT_EQ(four.summary.samples_seen, 70u + 24u);
  EXPECT_EQ(four.summary.epochs.size(), 2u);

  Spec target = spec;
  target.target_accuracy = 0.9;
  const Outcome good = RunByHand(target, blobs, {});
  EXPECT_EQ(good.summary.stopped_by, "target-accuracy");
  EXPECT_GE(good.summary.epochs.back().test_accuracy, 0.9);
  EXPECT_LT(good.summary.epochs.size(), 50u);

  Spec time = spec;
  time.time_limit_seconds = 10;
  const Outcome late = RunByHand(time, blobs, {.seconds_a_round = 2.5});
  EXPECT_EQ(late.summary.stopped_by, "time-limit");
  EXPECT_EQ(late.rounds, 4u);
  EXPECT_EQ(late.summary.epochs.back().seconds, 10);
  // The seconds of the job that it goes on from count.
  time.initial_state = blobs.Put(late.state);
  time.time_limit_seconds = 15;
  const Outcome later = RunByHand(time, blobs, {.seconds_a_round = 2.5});
  EXPECT_EQ(later.summary.stopped_by, "time-limit");
  EXPECT_EQ(later.rounds, 3u);  // Two steps, and the evaluation of what they led to.
}

TEST(TrainingTest, NoEpochsEvaluateOnly) {
  TestBlobs blobs;
  Spec spec = TinySpec(blobs);
  spec.epochs = 0;
  const Outcome outcome = RunByHand(spec, blobs, {});
  EXPECT_EQ(outcome.rounds, 1u);
  EXPECT_EQ(outcome.summary.stopped_by, "epochs");
  EXPECT_EQ(outcome.parameters, InitialParameters(*MakeModel(spec.model), spec.seed));
  EXPECT_EQ(outcome.summary.epochs.size(), 1u);
}

TEST(TrainingTest, BeginsFromGivenParameters) {
  TestBlobs blobs;
  Spec spec = TinySpec(blobs);
  const Outcome trained = RunByHand(spec, blobs, {});
  const auto bytes_of = [](const std::vector<float>& floats) {
    return std::string(reinterpret_cast<const char*>(floats.data()), 4 * floats.size());
  };
  spec.epochs = 0;
  spec.initial_parameters = blobs.Put(bytes_of(trained.parameters));
  EXPECT_EQ(RunByHand(spec, blobs, {}).parameters, trained.parameters);

  spec.initial_parameters = blobs.Put("short");
  EXPECT_EQ(*RunByHand(spec, blobs, {}).failure, "The initial parameters have 5 bytes; allowed for this network: " +
                                                     std::to_string(4 * trained.parameters.size()) + ".");
  std::vector<float> wrong = trained.parameters;
  wrong[7] = std::numeric_limits<float>::infinity();
  spec.initial_parameters = blobs.Put(bytes_of(wrong));
  EXPECT_EQ(*RunByHand(spec, blobs, {}).failure,
            "The initial parameters hold a number that is not finite; allowed: finite ones.");
}

TEST(TrainingTest, ADivergedTrainingSaysSoAndStops) {
  TestBlobs blobs;
  Spec spec = TinySpec(blobs);
  spec.optimizer = {.kind = OptimizerKind::kSgd, .learning_rate = 1e6, .weight_decay = 1000};
  spec.epochs = 50;
  for (const bool local : {false, true}) {
    if (local) spec.local = {.replicas = 2, .inner_steps = 4, .upload = Compression::kInt4};
    const Outcome outcome = RunByHand(spec, blobs, {.workers = 2});
    ASSERT_TRUE(outcome.failure) << local;
    EXPECT_TRUE(outcome.failure->starts_with("Training diverged at step ")) << *outcome.failure;
    EXPECT_NE(outcome.failure->find("Lower the learning rate (it was 1e+06)"), std::string::npos) << *outcome.failure;
    EXPECT_TRUE(outcome.state.empty());  // What was saved before stays the last one.
  }
}

}  // namespace
}  // namespace potluck::cnn
