#include "kernels/cnn/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <limits>
#include <map>
#include <string>

#include "kernels/cnn/dyadic.h"

namespace potluck::cnn {
namespace {

ModelSpec SmallSpec() {
  ModelSpec spec{"small", {1, 8, 8}, {}};
  spec.layers.resize(5);
  spec.layers[0] = {.kind = LayerKind::kConv, .name = "", .units = 4, .kernel = 3, .stride = 1};
  spec.layers[0].relu = true;
  spec.layers[1].kind = LayerKind::kDropout;
  spec.layers[1].rate = 0.3;
  spec.layers[2].kind = LayerKind::kFlatten;
  spec.layers[3].kind = LayerKind::kDense;
  spec.layers[3].units = 6;
  spec.layers[4].kind = LayerKind::kDense;
  spec.layers[4].units = 3;
  return spec;
}

class DrawnSource : public SampleSource {
 public:
  Status Gather(uint64_t first, uint32_t count, uint8_t* pixels, uint16_t* labels, uint32_t* positions) override {
    if (first >= fails_from) return Status::Error("sample " + std::to_string(first) + " is lost.");
    for (uint32_t i = 0; i < count; ++i) {
      const uint64_t sample = first + i;
      for (uint64_t p = 0; p < 64; ++p)
        pixels[i * 64 + p] = static_cast<uint8_t>((sample * 131 + p * 17) * 2654435761u >> 20);
      labels[i] = static_cast<uint16_t>(sample % 3);
      positions[i] = static_cast<uint32_t>(1000 + sample);
    }
    return {};
  }
  uint64_t fails_from = std::numeric_limits<uint64_t>::max();
};

class EngineTest : public testing::Test {
 protected:
  EngineTest() : model_(*MakeModel(SmallSpec())), backend_(std::move(*MakeReferenceBackend(model_))) {
    native_.resize(backend_->native_size());
    backend_->ToNative(InitialParameters(model_, 1), native_);
    prepared_ = std::move(*backend_->Prepare(native_));
  }

  // By block: the gradient's bytes and the tally.
  using Sums = std::map<std::pair<uint64_t, uint64_t>, std::pair<std::string, Tally>>;

  Sums Compute(int threads, Interval shards, uint64_t samples = 101) {
    Engine engine(*backend_, model_, threads, 8);
    Sums sums;
    const Batch batch{samples, 5, 2};
    const Status status = engine.Gradient(*prepared_, source_, batch, shards, [&](const BlockSum& sum) -> Status {
      sums[{sum.shards.begin, sum.shards.end}] = {
          std::string(reinterpret_cast<const char*>(sum.gradient.data()), sum.gradient.size_bytes()), sum.tally};
      return {};
    });
    EXPECT_TRUE(status.ok()) << status.message();
    return sums;
  }

  const Model model_;
  const std::unique_ptr<Backend> backend_;
  std::vector<float> native_;
  std::unique_ptr<PreparedParameters> prepared_;
  DrawnSource source_;
};

TEST(DyadicBlocksTest, AreTheFewestThatMakeUpAnInterval) {
  const auto text = [](Interval interval, uint64_t size) {
    std::string blocks;
    for (const Interval block : DyadicBlocks(interval, size)) blocks += ToString(block);
    return blocks;
  };
  EXPECT_EQ(text({0, 13}, 13), "[0, 13)");
  EXPECT_EQ(text({0, 12}, 13), "[0, 8)[8, 12)");
  EXPECT_EQ(text({3, 13}, 13), "[3, 4)[4, 8)[8, 13)");
  EXPECT_EQ(text({12, 13}, 13), "[12, 13)");
  EXPECT_EQ(text({1, 7}, 8), "[1, 2)[2, 4)[4, 6)[6, 7)");
  EXPECT_EQ(text({0, 1}, 1), "[0, 1)");
  EXPECT_EQ(text({5, 5}, 8), "");
}

TEST_F(EngineTest, BitsDoNotDependOnThreads) {
  for (const Interval shards : {Interval{0, 13}, {0, 8}, {3, 11}, {5, 13}, {12, 13}}) {
    const Sums alone = Compute(1, shards);
    EXPECT_EQ(alone.size(), DyadicBlocks(shards, 13).size());
    for (const int threads : {2, 3, 5}) EXPECT_EQ(Compute(threads, shards), alone) << ToString(shards) << threads;
  }
}

TEST_F(EngineTest, BlocksAddUpToWhatOneCallGives) {
  const auto add = [](const Sums& a, const Sums& b) {
    std::string sum = a.begin()->second.first;
    const std::string& other = b.begin()->second.first;
    for (size_t i = 0; i < sum.size(); i += 4) {
      float x, y;
      std::memcpy(&x, sum.data() + i, 4);
      std::memcpy(&y, other.data() + i, 4);
      x += y;
      std::memcpy(sum.data() + i, &x, 4);
    }
    return sum;
  };
  EXPECT_EQ(add(Compute(2, {0, 8}), Compute(3, {8, 13})), Compute(2, {0, 13}).begin()->second.first);
  EXPECT_EQ(add(Compute(1, {8, 12}), Compute(1, {12, 13})), Compute(4, {8, 13}).begin()->second.first);
  EXPECT_EQ(Compute(2, {0, 13}).begin()->second.second.samples, 101u);
}

TEST_F(EngineTest, EvaluationCountsEverySampleOnce) {
  Engine engine(*backend_, model_, 3, 8);
  uint64_t samples = 0;
  double loss = 0;
  const Status status =
      engine.Evaluate(*prepared_, source_, {.samples = 101}, {0, 13}, [&](const BlockSum& sum) -> Status {
        EXPECT_TRUE(sum.gradient.empty());
        samples += sum.tally.samples;
        loss += sum.tally.loss_sum;
        return {};
      });
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(samples, 101u);
  EXPECT_GT(loss, 0);
}

TEST_F(EngineTest, ErrorsOfSourceAndSinkAreTold) {
  Engine engine(*backend_, model_, 2, 8);
  const auto sink = [](const BlockSum&) -> Status { return Status::Error("the sink is full."); };
  EXPECT_EQ(engine.Gradient(*prepared_, source_, {.samples = 20}, {0, 3}, sink).message(), "the sink is full.");
  source_.fails_from = 16;
  EXPECT_EQ(engine.Gradient(*prepared_, source_, {.samples = 20}, {0, 3}, sink).message(), "sample 16 is lost.");
  EXPECT_EQ(engine.Gradient(*prepared_, source_, {.samples = 20}, {0, 4}, sink).message(),
            "The micro-shards are [0, 4); allowed: some of [0, 3).");
}

TEST_F(EngineTest, StopsWhenCancelled) {
  Engine engine(*backend_, model_, 2, 1);
  std::atomic<int> asked{0};
  bool reported = false;
  const Status status = engine.Gradient(
      *prepared_, source_, {.samples = 1000}, {0, 1000},
      [&](const BlockSum&) -> Status {
        reported = true;
        return {};
      },
      [&] { return ++asked > 5; });
  EXPECT_FALSE(status.ok());
  EXPECT_FALSE(reported);
  EXPECT_LE(asked, 8);
}

TEST_F(EngineTest, GradientsThatAreNoNumbersAreNotReported) {
  // Finite parameters and logits, but products of gradients that overflow.
  for (float& value : native_) value *= 1e19f;
  const auto prepared = backend_->Prepare(native_);
  if (!prepared.ok()) return;
  Engine engine(*backend_, model_, 2, 8);
  const Status status =
      engine.Gradient(**prepared, source_, {.samples = 101}, {0, 13}, [](const BlockSum&) -> Status { return {}; });
  EXPECT_FALSE(status.ok());
}

}  // namespace
}  // namespace potluck::cnn
