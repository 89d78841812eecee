#include "kernels/cnn/runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cnn/data/order.h"
#include "kernels/cnn/dyadic.h"
#include "kernels/cnn/results.h"
#include "kernels/cnn/training_testing.h"

namespace potluck::cnn {
namespace {

using ::testing::HasSubstr;

class CnnRunnerTest : public ::testing::Test {
 protected:
  CnnRunnerTest() { spec_ = TinySpec(blobs_); }

  const Round& NextRound() {
    if (!planner_) planner_ = std::move(MakePlanner(Encode(spec_), blobs_.reader())).value();
    round_ = **planner_->NextRound(0);
    bulk_.clear();
    for (const SharedBytes& bytes : round_.bulk) bulk_.push_back(blobs_.Put(bytes.view()));
    return round_;
  }
  Status Open() { return runner_->Open({round_.payload, bulk_, &blobs_}); }
  std::vector<TestSlice> Run(Interval unit, RunControl& control, double slice_seconds = 2) {
    std::vector<TestSlice> slices;
    const Status status = runner_->Run(
        unit, control, {.slice_seconds = slice_seconds}, [&](Interval interval, std::string_view payload, double busy) {
          EXPECT_GE(busy, 0);
          EXPECT_EQ(interval.begin, slices.empty() ? unit.begin : slices.back().interval.end);
          slices.push_back({interval, std::string(payload)});
          if (on_slice_) on_slice_(control);
        });
    EXPECT_TRUE(status.ok()) << status.message();
    return slices;
  }
  static std::vector<Interval> Intervals(const std::vector<TestSlice>& slices) {
    std::vector<Interval> intervals;
    for (const TestSlice& slice : slices) intervals.push_back(slice.interval);
    return intervals;
  }

  TestBlobs blobs_;
  Spec spec_;
  std::unique_ptr<Planner> planner_;
  Round round_;
  std::vector<std::string> bulk_;
  std::unique_ptr<Runner> runner_ = MakeCpuRunner(1, "");
  std::function<void(RunControl&)> on_slice_;
};

TEST_F(CnnRunnerTest, TheSelfTestPassesQuickly) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(runner_->SelfTest().ok()) << runner_->SelfTest().message();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST_F(CnnRunnerTest, SlicesAreTheLargestBlocksOfTheUnit) {
  spec_.batch = 70;
  spec_.micro_shard = 3;  // 24 micro-shards, the last of one sample.
  NextRound();
  ASSERT_TRUE(Open().ok());
  runner_ = MakeCpuRunner(8, "");
  ASSERT_TRUE(Open().ok());
  RunControl control({3, 24});
  EXPECT_EQ(Intervals(Run({3, 24}, control)), (std::vector<Interval>{{3, 4}, {4, 8}, {8, 16}, {16, 24}}));
}

TEST_F(CnnRunnerTest, WhatIsTakenBackIsNotComputed) {
  spec_.batch = 70;
  spec_.micro_shard = 1;
  NextRound();
  ASSERT_TRUE(Open().ok());
  RunControl control({0, 70});
  uint64_t end = 0;
  on_slice_ = [&](RunControl& running) { end = running.Shrink(6); };
  const std::vector<TestSlice> slices = Run({0, 70}, control, 1e-9);
  EXPECT_EQ(slices.back().interval.end, end);
  EXPECT_LT(end, 10u);

  RunControl cancelled({0, 70});
  on_slice_ = [](RunControl& running) { running.Cancel(); };
  EXPECT_EQ(Run({0, 70}, cancelled, 1e-9).size(), 1u);
}

TEST_F(CnnRunnerTest, ACancelledReplicaStopsWithoutAResult) {
  spec_.batch = 1;
  spec_.epochs = 1;
  spec_.local = {.replicas = 2, .inner_steps = 1000};
  NextRound();
  ASSERT_TRUE(Open().ok());
  RunControl control({0, 2});
  control.Cancel();
  EXPECT_TRUE(Run({0, 2}, control).empty());
  RunControl other({0, 2});
  std::thread canceller([&] { other.Cancel(); });
  Run({0, 2}, other);
  canceller.join();
}

TEST_F(CnnRunnerTest, ParametersAndDataAreFetchedOnce) {
  NextRound();
  ASSERT_TRUE(Open().ok());
  RunControl control({0, 6});
  Run({0, 6}, control);
  const uint64_t before = blobs_.fetched_bytes();
  EXPECT_GT(before, round_.bulk[0].size());
  ASSERT_TRUE(Open().ok());
  Run({0, 6}, control);
  EXPECT_EQ(blobs_.fetched_bytes(), before);
}

TEST_F(CnnRunnerTest, WhatCannotBeFetchedIsSaid) {
  NextRound();
  blobs_.missing = {bulk_[0]};
  EXPECT_EQ(Open().message(), "The blob cannot be fetched.");
  RunControl control({0, 6});
  EXPECT_EQ(runner_->Run({0, 6}, control, {}, [](Interval, std::string_view, double) {}).message(),
            "No round is open; Open must come before Run.");
  blobs_.missing = {spec_.train.shards[3]};
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(runner_->Run({0, 6}, control, {}, [](Interval, std::string_view, double) {}).message(),
            "The blob cannot be fetched.");
  blobs_.missing.clear();
  EXPECT_FALSE(Run({0, 6}, control).empty());
}

TEST_F(CnnRunnerTest, WrongRoundsAreRefused) {
  NextRound();
  EXPECT_FALSE(runner_->Open({"\xff", bulk_, &blobs_}).ok());
  EXPECT_THAT(runner_->Open({round_.payload, {}, &blobs_}).message(), HasSubstr("allowed: 1, the parameters."));
  EXPECT_FALSE(runner_->Open({round_.payload, bulk_, nullptr}).ok());
  RoundPayload payload = *DecodeRound(round_.payload);
  payload.samples = 0;
  EXPECT_FALSE(runner_->Open({Encode(payload), bulk_, &blobs_}).ok());
  payload.samples = 71;
  EXPECT_THAT(runner_->Open({Encode(payload), bulk_, &blobs_}).message(), HasSubstr("beyond its epoch's end"));
  payload.samples = 24;
  payload.kind = RoundKind::kLocal;
  EXPECT_THAT(runner_->Open({Encode(payload), bulk_, &blobs_}).message(), HasSubstr("learning rates"));
  const std::vector<std::string> short_one{blobs_.Put("short")};
  EXPECT_THAT(runner_->Open({round_.payload, short_one, &blobs_}).message(), HasSubstr("does not have"));
  ASSERT_TRUE(Open().ok());
  RunControl control({0, 7});
  EXPECT_EQ(runner_->Run({0, 7}, control, {}, [](Interval, std::string_view, double) {}).message(),
            "The interval is [0, 7); allowed: within [0, 6).");
}

TEST_F(CnnRunnerTest, BlocksWithNumbersThatAreNotFiniteAreMarked) {
  // Weights so large that logits overflow for every image but the black ones: biases are 0.
  DataSet data = TinyData(70, 1);
  std::fill_n(data.pixels.begin(), 64 * 24, uint8_t{0});
  spec_.train = PutData(data, 70, blobs_);
  spec_.batch = 70;
  spec_.micro_shard = 1;
  const Model model = *MakeModel(spec_.model);
  std::vector<float> parameters = InitialParameters(model, 1);
  for (float& parameter : parameters) parameter *= 1e20f;
  spec_.initial_parameters =
      blobs_.Put(std::string_view(reinterpret_cast<const char*>(parameters.data()), 4 * parameters.size()));
  NextRound();
  ASSERT_TRUE(Open().ok());
  RunControl control({0, 64});
  const std::vector<uint32_t> order = EpochOrder(spec_.seed, 0, 70);
  int marked = 0;
  for (const TestSlice& slice : Run({0, 64}, control, 1e-9)) {
    EXPECT_TRUE(planner_->Check(slice.interval, slice.payload).ok());
    bool all_black = true;
    for (uint64_t i = slice.interval.begin; i < slice.interval.end; ++i) all_black = all_black && order[i] < 24;
    EXPECT_EQ(IsDivergedMark(slice.payload), !all_black) << ToString(slice.interval);
    marked += all_black ? 0 : 1;
  }
  EXPECT_GT(marked, 30);
  // The same however it is cut: a mark stands for its block alone.
  RunControl whole({32, 64});
  EXPECT_EQ(Intervals(Run({32, 64}, whole, 10)), (std::vector<Interval>{{32, 64}}));
}

}  // namespace
}  // namespace potluck::cnn
