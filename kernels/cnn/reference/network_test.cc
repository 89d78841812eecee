#include "kernels/cnn/reference/network.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "kernels/cnn/random.h"
#include "kernels/cnn/reference/reference.h"

namespace potluck::cnn::reference {
namespace {

Model MakeNetwork(const Shape& input, std::vector<Layer> layers) {
  const auto model = MakeModel({"test", input, std::move(layers)});
  EXPECT_TRUE(model.ok()) << model.status().message();
  return *model;
}

// Small networks: each kind of layer, strides, paddings, odd sides, overlapping windows, dropout everywhere.
std::vector<std::pair<std::string, Model>> Networks() {
  return {
      {"dense", MakeNetwork({1, 3, 3}, {FlattenLayer(), DenseLayer(4)})},
      {"two dense", MakeNetwork({2, 2, 3}, {FlattenLayer(), DenseLayer(5, true), DenseLayer(3)})},
      {"conv", MakeNetwork({1, 5, 6}, {ConvLayer(3, 3), FlattenLayer(), DenseLayer(3)})},
      {"conv without relu", MakeNetwork({2, 5, 4}, {ConvLayer(2, 2, 1, 0, false), FlattenLayer(), DenseLayer(2)})},
      {"two convs", MakeNetwork({2, 7, 5}, {ConvLayer(3, 3, 1, 1), ConvLayer(4, 2), FlattenLayer(), DenseLayer(3)})},
      {"strides",
       MakeNetwork({1, 9, 8}, {ConvLayer(3, 3, 2, 1), ConvLayer(2, 3, 3, 2), FlattenLayer(), DenseLayer(3)})},
      {"one by one", MakeNetwork({3, 4, 4}, {ConvLayer(5, 1), ConvLayer(2, 1, 2), FlattenLayer(), DenseLayer(4)})},
      {"pool", MakeNetwork({1, 6, 6}, {ConvLayer(2, 3), PoolLayer(2), FlattenLayer(), DenseLayer(3)})},
      {"pool that does not divide",
       MakeNetwork({1, 8, 7}, {ConvLayer(2, 2), PoolLayer(3, 2), FlattenLayer(), DenseLayer(3)})},
      {"overlapping pools", MakeNetwork({2, 7, 7}, {ConvLayer(3, 2), PoolLayer(3, 1), ConvLayer(2, 2), PoolLayer(2, 1),
                                                    FlattenLayer(), DenseLayer(2)})},
      {"pool first", MakeNetwork({2, 6, 6}, {PoolLayer(2), ConvLayer(3, 2), FlattenLayer(), DenseLayer(3)})},
      {"dropout everywhere", MakeNetwork({1, 6, 6}, {DropoutLayer(0.2), ConvLayer(3, 3), DropoutLayer(0.5),
                                                     PoolLayer(2), DropoutLayer(0.3), FlattenLayer(), DropoutLayer(0.1),
                                                     DenseLayer(6, true), DropoutLayer(0.5), DenseLayer(3)})},
      {"the paper's in small",
       MakeNetwork({1, 10, 10}, {ConvLayer(3, 3), ConvLayer(4, 3), PoolLayer(2), DropoutLayer(0.5), FlattenLayer(),
                                 DenseLayer(7, true), DenseLayer(4)})},
  };
}

struct Samples {
  Samples(const Model& model, uint32_t count, uint32_t stream = 0)
      : pixels(count * model.spec.input.size()), labels(count), positions(count) {
    for (size_t i = 0; i < pixels.size(); ++i) {
      pixels[i] = static_cast<uint8_t>(Philox(21, static_cast<uint32_t>(i), stream, 1, 0).word[0]);
    }
    for (uint32_t i = 0; i < count; ++i) {
      labels[i] = static_cast<uint16_t>(Philox(21, i, stream, 2, 0).word[0] % model.classes);
      positions[i] = 1000 + i;
    }
    input = {count, pixels.data(), labels.data(), positions.data(), 99, 7};
  }
  std::vector<uint8_t> pixels;
  std::vector<uint16_t> labels;
  std::vector<uint32_t> positions;
  ShardInput input;
};

template <typename T>
std::vector<T> SomeParameters(const Model& model) {
  std::vector<T> values(model.parameter_count);
  for (const Parameter& parameter : model.parameters) {
    const double size = parameter.fan_in > 0 ? 2 / std::sqrt(static_cast<double>(parameter.fan_in)) : 0.5;
    for (uint64_t i = 0; i < parameter.size; ++i) {
      const uint32_t word = Philox(4, static_cast<uint32_t>(parameter.offset + i), 0, 0, 0).word[0];
      values[parameter.offset + i] = static_cast<T>((2 * UnitFloat(word) - 1) * size);
    }
  }
  return values;
}

struct Outcome {
  std::vector<double> gradient;
  ShardTally tally;
};

Outcome InDoubles(const Model& model, const std::vector<double>& parameters, const ShardInput& input) {
  Network<double> network(model, input.samples, GemmDouble);
  Outcome outcome{std::vector<double>(model.parameter_count), {}};
  const Prepared<double> prepared(model, parameters);
  const Status status = network.ForwardBackward(prepared, input, outcome.gradient, outcome.tally);
  EXPECT_TRUE(status.ok()) << status.message();
  return outcome;
}

TEST(NetworkTest, GradientsAreTheSlopesOfTheLoss) {
  constexpr double kStep = 1e-5;
  for (const auto& [name, model] : Networks()) {
    const Samples samples(model, 3);
    std::vector<double> parameters = SomeParameters<double>(model);
    const Outcome outcome = InDoubles(model, parameters, samples.input);
    double greatest = 0;
    for (const Parameter& parameter : model.parameters) {
      for (uint64_t i = parameter.offset; i < parameter.offset + parameter.size; ++i) {
        const double at = parameters[i];
        parameters[i] = at + kStep;
        const double above = InDoubles(model, parameters, samples.input).tally.loss_sum;
        parameters[i] = at - kStep;
        const double below = InDoubles(model, parameters, samples.input).tally.loss_sum;
        parameters[i] = at;
        const double slope = (above - below) / (2 * kStep), got = outcome.gradient[i];
        EXPECT_TRUE(std::fabs(slope - got) <= 1e-7 * (1 + std::fabs(slope)))
            << name << ", " << parameter.name << "[" << i - parameter.offset << "]: " << got << ", slope " << slope;
        greatest = std::max(greatest, std::fabs(got));
      }
    }
    EXPECT_GT(greatest, 0.01) << name;
  }
}

TEST(NetworkTest, FloatsAgreeWithDoublesOnEveryCodePath) {
  for (const auto& [name, model] : Networks()) {
    for (const uint32_t count : {1u, 2u, 5u, 9u}) {
      const Samples samples(model, count);
      const auto parameters = SomeParameters<float>(model);
      const Outcome wanted = InDoubles(model, std::vector<double>(parameters.begin(), parameters.end()), samples.input);
      std::vector<float> first;
      for (const Dispatch dispatch : SupportedDispatches()) {
        const auto backend = MakeBackend(model, dispatch);
        const auto prepared = backend->Prepare(parameters);
        ASSERT_TRUE(prepared.ok());
        const auto context = backend->NewContext(16);
        ASSERT_TRUE(context.ok());
        std::vector<float> gradient(model.parameter_count, std::nanf(""));
        ShardTally tally;
        const Status status = (*context)->ForwardBackward(**prepared, samples.input, gradient, tally);
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_NEAR(tally.loss_sum, wanted.tally.loss_sum, 1e-5 * (1 + wanted.tally.loss_sum)) << name;
        EXPECT_EQ(tally.hits, wanted.tally.hits) << name;
        for (size_t i = 0; i < gradient.size(); ++i) {
          EXPECT_TRUE(std::fabs(gradient[i] - wanted.gradient[i]) <= 1e-5 * (1 + std::fabs(wanted.gradient[i])))
              << name << " " << i;
        }
        if (first.empty()) first = gradient;
        EXPECT_EQ(gradient, first) << name << " " << ToString(dispatch);
      }
    }
  }
}

// conv 2x2 (one filter), flatten, dense with two units, on pixels 255, 0, 51, 102: worked by hand.
TEST(NetworkTest, AWorkedExampleComesOutRight) {
  const Model model = MakeNetwork({1, 2, 2}, {ConvLayer(1, 2), FlattenLayer(), DenseLayer(2)});
  const std::vector<double> parameters = {1, 2, 3, 4, 0.5, /* dense */ 1, 0.5, /* biases */ 0, 1};
  const std::vector<uint8_t> pixels = {255, 0, 51, 102};
  const std::vector<uint16_t> labels = {1};
  // 1 + 0 + 0.6 + 1.6 + 0.5 = 3.7; logits 3.7 and 2.85.
  const double p = 1 / (1 + std::exp(-0.85));
  const Outcome outcome = InDoubles(model, parameters, {1, pixels.data(), labels.data(), nullptr, 0, 0});
  EXPECT_NEAR(outcome.tally.loss_sum, -std::log(1 - p), 1e-14);
  EXPECT_EQ(outcome.tally.hits, 0u);
  const double to_conv = p * 1 - p * 0.5;
  const std::vector<double> wanted = {to_conv, 0, to_conv * 0.2, to_conv * 0.4, to_conv, p * 3.7, -p * 3.7, p, -p};
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(outcome.gradient[i], wanted[i], 1e-14) << i;
}

TEST(NetworkTest, AShardsGradientIsTheSumOfItsSamples) {
  const Model model = Networks().back().second;
  const auto parameters = SomeParameters<double>(model);
  const Samples samples(model, 5);
  const Outcome together = InDoubles(model, parameters, samples.input);
  std::vector<double> sum(model.parameter_count);
  double loss = 0;
  for (uint32_t i = 0; i < 5; ++i) {
    ShardInput one = samples.input;
    one.samples = 1;
    one.pixels += i * model.spec.input.size();
    one.labels += i;
    one.positions += i;
    const Outcome alone = InDoubles(model, parameters, one);
    for (size_t j = 0; j < sum.size(); ++j) sum[j] += alone.gradient[j];
    loss += alone.tally.loss_sum;
  }
  EXPECT_NEAR(together.tally.loss_sum, loss, 1e-12);
  for (size_t j = 0; j < sum.size(); ++j) EXPECT_NEAR(together.gradient[j], sum[j], 1e-12) << j;
}

TEST(NetworkTest, ForwardHasNoDropoutAndGivesLogits) {
  const Model with = MakeNetwork({1, 4, 4}, {ConvLayer(2, 3), DropoutLayer(0.5), FlattenLayer(), DenseLayer(3)});
  const Model without = MakeNetwork({1, 4, 4}, {ConvLayer(2, 3), FlattenLayer(), DenseLayer(3)});
  const auto parameters = SomeParameters<float>(with);
  const Samples samples(with, 4);
  std::vector<float> logits[2] = {std::vector<float>(12), std::vector<float>(12)};
  ShardTally tallies[2];
  for (int i = 0; i < 2; ++i) {
    const auto backend = MakeReferenceBackend(i == 0 ? with : without);
    ASSERT_TRUE(backend.ok());
    const auto prepared = (*backend)->Prepare(parameters);
    const auto context = (*backend)->NewContext(4);
    ASSERT_TRUE((*context)->Forward(**prepared, samples.input, logits[i], tallies[i]).ok());
    ShardInput unlabelled = samples.input;
    unlabelled.labels = nullptr;
    std::vector<float> again(12);
    ShardTally none{5, 5};
    ASSERT_TRUE((*context)->Forward(**prepared, unlabelled, again, none).ok());
    EXPECT_EQ(again, logits[i]);
    EXPECT_EQ(none.loss_sum, 0);
    EXPECT_EQ(none.hits, 0u);
  }
  EXPECT_EQ(logits[0], logits[1]);
  EXPECT_EQ(tallies[0].loss_sum, tallies[1].loss_sum);
  EXPECT_GT(tallies[0].loss_sum, 0);
}

TEST(NetworkTest, DropoutChangesWithStepPositionAndSeedOnly) {
  const Model model = Networks()[11].second;  // Dropout everywhere.
  const auto parameters = SomeParameters<double>(model);
  const Samples samples(model, 4);
  const auto loss = [&](const ShardInput& input) { return InDoubles(model, parameters, input).tally.loss_sum; };
  const double here = loss(samples.input);
  EXPECT_EQ(loss(samples.input), here);
  ShardInput other = samples.input;
  other.step = 8;
  EXPECT_NE(loss(other), here);
  other = samples.input;
  other.seed = 98;
  EXPECT_NE(loss(other), here);
  other = samples.input;
  const std::vector<uint32_t> positions = {1000, 1001, 1002, 2003};
  other.positions = positions.data();
  EXPECT_NE(loss(other), here);
}

// A context that computed something else before gives the same bits.
TEST(NetworkTest, NothingIsLeftOverFromTheLastShard) {
  const Model model = Networks()[11].second;  // Dropout everywhere.
  const auto backend = MakeReferenceBackend(model);
  const auto parameters = SomeParameters<float>(model);
  const auto prepared = (*backend)->Prepare(parameters);
  const Samples large(model, 9, 1), small(model, 3, 2);
  std::vector<float> fresh(model.parameter_count), used(model.parameter_count);
  ShardTally tally;
  ASSERT_TRUE((*(*backend)->NewContext(3))->ForwardBackward(**prepared, small.input, fresh, tally).ok());
  const auto context = (*backend)->NewContext(9);
  ASSERT_TRUE((*context)->ForwardBackward(**prepared, large.input, used, tally).ok());
  ASSERT_TRUE((*context)->ForwardBackward(**prepared, small.input, used, tally).ok());
  EXPECT_EQ(used, fresh);
}

TEST(ReferenceBackendTest, WhatIsNotFiniteFailsWithASentence) {
  const Model model = MakeNetwork({1, 4, 4}, {ConvLayer(2, 3), FlattenLayer(), DenseLayer(3)});
  const auto backend = MakeReferenceBackend(model);
  ASSERT_TRUE(backend.ok());
  EXPECT_EQ((*backend)->numerics_class(), "reference/1/fp32");
  auto parameters = SomeParameters<float>(model);
  const auto context = (*backend)->NewContext(4);
  const Samples samples(model, 2);
  std::vector<float> gradient(model.parameter_count);
  ShardTally tally;
  for (const float wrong : {std::nanf(""), -std::numeric_limits<float>::infinity()}) {
    auto damaged = parameters;
    damaged[21] = wrong;
    EXPECT_EQ((*backend)->Prepare(damaged).status().message(),
              "Value 1 of fc1.weight is not finite: training has diverged, or the parameters are damaged.");
  }
  // Finite parameters whose products are not.
  auto huge = parameters;
  for (float& value : huge) value = 3e38f;
  auto prepared = (*backend)->Prepare(huge);
  ASSERT_TRUE(prepared.ok());
  EXPECT_EQ((*context)->ForwardBackward(**prepared, samples.input, gradient, tally).message(),
            "Logit 0 of sample 0 is not a finite number: training has diverged, or the parameters are damaged.");
}

TEST(ReferenceBackendTest, AGradientThatIsNotFiniteFailsWithASentence) {
  // All activations are 0, so that the loss is finite; the weights behind them send huge errors back.
  const Model model = MakeNetwork({1, 4, 4}, {ConvLayer(2, 3, 1, 0, false), FlattenLayer(), DenseLayer(3)});
  std::vector<float> parameters(model.parameter_count, 0.0f);
  std::fill_n(parameters.begin() + 20, 8, 3e38f);
  std::fill_n(parameters.begin() + 28, 8, -3e38f);
  Samples samples(model, 2);
  samples.labels = {0, 0};
  const auto backend = MakeReferenceBackend(model);
  const auto prepared = (*backend)->Prepare(parameters);
  ASSERT_TRUE(prepared.ok());
  std::vector<float> gradient(model.parameter_count);
  ShardTally tally;
  EXPECT_EQ((*(*backend)->NewContext(2))->ForwardBackward(**prepared, samples.input, gradient, tally).message(),
            "The gradient of conv1.weight is not finite: training has diverged, or the parameters are damaged.");
}

TEST(ReferenceBackendTest, WrongSizesFailWithASentence) {
  const Model model = MakeNetwork({1, 4, 4}, {ConvLayer(2, 3), FlattenLayer(), DenseLayer(3)});
  const auto backend = MakeReferenceBackend(model);
  const auto parameters = SomeParameters<float>(model);
  EXPECT_EQ((*backend)->native_size(), model.parameter_count);
  EXPECT_EQ((*backend)->Prepare({parameters.data(), 5}).status().message(),
            "There are 5 parameters; allowed for this network: 47.");
  EXPECT_EQ((*backend)->NewContext(0).status().message(), "max_samples is 0; allowed: 1 or more.");
  const auto context = (*backend)->NewContext(4);
  const auto prepared = (*backend)->Prepare(parameters);
  const Samples samples(model, 5);
  std::vector<float> gradient(model.parameter_count);
  ShardTally tally;
  EXPECT_EQ((*context)->ForwardBackward(**prepared, samples.input, gradient, tally).message(),
            "A micro-shard has 5 samples; allowed: 1 to 4.");
  EXPECT_EQ((*context)->ForwardBackward(**prepared, samples.input, {gradient.data(), 3}, tally).message(),
            "The gradient has room for 3 numbers; allowed: 47.");
}

// Golden bits: all machines and versions of this class give these.
TEST(ReferenceBackendTest, BitsAreKnown) {
  const auto model = MakeModel(MnistCnn());
  const auto backend = MakeReferenceBackend(*model);
  const std::vector<float> parameters = InitialParameters(*model, 1);
  const auto prepared = (*backend)->Prepare(parameters);
  const Samples samples(*model, 2);
  std::vector<float> gradient(model->parameter_count);
  ShardTally tally;
  ASSERT_TRUE((*(*backend)->NewContext(2))->ForwardBackward(**prepared, samples.input, gradient, tally).ok());
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const float value : gradient) hash = (hash ^ std::bit_cast<uint32_t>(value)) * 0x100000001b3;
  EXPECT_EQ(hash, 565118586612221175u);
  EXPECT_EQ(tally.loss_sum, 4.5384058152473461);
}

}  // namespace
}  // namespace potluck::cnn::reference
