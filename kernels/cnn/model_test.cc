#include "kernels/cnn/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "kernels/cnn/philox_row.h"
#include "kernels/cnn/random.h"
#include "kernels/cpu/dispatch.h"

namespace potluck::cnn {
namespace {

TEST(ModelTest, ThePapersNetworkHasItsParametersAndOperations) {
  const auto model = MakeModel(MnistCnn());
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->parameter_count, 1'199'882u);
  EXPECT_EQ(model->classes, 10u);
  EXPECT_EQ(model->forward_flop, 23'984'896u);
  EXPECT_EQ(model->training_flop, 71'565'312u);
  ASSERT_EQ(model->parameters.size(), 8u);
  std::string names;
  for (const Parameter& parameter : model->parameters) {
    names += parameter.name + " " + std::to_string(parameter.offset) + "+" + std::to_string(parameter.size) + "\n";
  }
  EXPECT_EQ(names,
            "conv1.weight 0+288\nconv1.bias 288+32\nconv2.weight 320+18432\nconv2.bias 18752+64\n"
            "fc1.weight 18816+1179648\nfc1.bias 1198464+128\nfc2.weight 1198592+1280\nfc2.bias 1199872+10\n");
  EXPECT_EQ(model->parameters[2].dims, (std::vector<uint64_t>{64, 32, 3, 3}));
  EXPECT_EQ(model->outputs[2], (Shape{64, 12, 12}));
  EXPECT_EQ(model->outputs[4], (Shape{9216, 1, 1}));
  EXPECT_EQ(model->first_parameter, (std::vector<int>{0, 2, -1, -1, -1, 4, 6}));
}

TEST(ModelTest, StridesPaddingAndNamesAreFilledIn) {
  ModelSpec spec;
  spec.input = {3, 9, 7};
  spec.layers = {{.kind = LayerKind::kConv, .name = "", .units = 4, .kernel = 3, .stride = 2, .padding = 1},
                 {.kind = LayerKind::kMaxPool, .name = "", .kernel = 2},
                 {.kind = LayerKind::kConv, .name = "top", .units = 2, .kernel = 2},
                 {.kind = LayerKind::kFlatten, .name = ""},
                 {.kind = LayerKind::kDense, .name = "", .units = 5}};
  const auto model = MakeModel(spec);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->outputs[0], (Shape{4, 5, 4}));
  EXPECT_EQ(model->outputs[1], (Shape{4, 2, 2}));
  EXPECT_EQ(model->outputs[2], (Shape{2, 1, 1}));
  EXPECT_EQ(model->spec.layers[1].stride, 2u);
  EXPECT_EQ(model->spec.layers[2].stride, 1u);
  EXPECT_EQ(model->parameters[0].name, "conv1.weight");
  EXPECT_EQ(model->parameters[2].name, "top.weight");
  EXPECT_EQ(model->parameters[4].name, "fc1.weight");
  EXPECT_EQ(model->parameters[0].fan_in, 27u);
  EXPECT_EQ(model->parameters[0].fan_out, 36u);
  // Checking what was checked changes nothing.
  EXPECT_EQ(MakeModel(model->spec)->spec, model->spec);
}

// The sentence about the paper's network after a change.
std::string Complaint(const std::function<void(ModelSpec&)>& change) {
  ModelSpec spec = MnistCnn();
  change(spec);
  return MakeModel(spec).status().message();
}

TEST(ModelTest, EveryWrongLayerGetsASentence) {
  const auto layer = [](size_t i, const std::function<void(Layer&)>& change) {
    return Complaint([&](ModelSpec& spec) { change(spec.layers[i]); });
  };
  EXPECT_EQ(Complaint([](ModelSpec& s) { s.input.height = 0; }),
            "The network's input is 1 x 0 x 28 (channels x height x width); allowed: 1 to 4096 each.");
  EXPECT_EQ(Complaint([](ModelSpec& s) {
              s.input = {4096, 4096, 4096};
            }),
            "The network's input is 4096 x 4096 x 4096; allowed: at most 268435456 values an image.");
  EXPECT_EQ(Complaint([](ModelSpec& s) { s.layers.clear(); }), "The network has 0 layers; allowed: 1 to 64.");
  EXPECT_EQ(Complaint([](ModelSpec& s) { s.name = "a\nb"; }),
            "The network's name may only have printable ASCII characters.");
  EXPECT_EQ(layer(0, [](Layer& l) { l.kernel = 29; }),
            "Layer 1 (conv): kernel is 29; allowed: 1 to 28, as its input is 1 x 28 x 28.");
  EXPECT_EQ(layer(0, [](Layer& l) { l.kernel = 0; }),
            "Layer 1 (conv): kernel is 0; allowed: 1 to 28, as its input is 1 x 28 x 28.");
  EXPECT_EQ(layer(0, [](Layer& l) { l.padding = 3; }), "Layer 1 (conv): padding is 3; allowed: 0 to 2.");
  EXPECT_EQ(layer(0, [](Layer& l) { l.stride = 5000; }), "Layer 1 (conv): stride is 5000; allowed: 1 to 4096.");
  EXPECT_EQ(layer(1, [](Layer& l) { l.units = 0; }), "Layer 2 (conv): filters is 0; allowed: 1 to 4096.");
  EXPECT_EQ(layer(1, [](Layer& l) { l.name = "conv1"; }),
            "Layer 2 (conv): name is \"conv1\", which another layer has; allowed: each name once.");
  EXPECT_EQ(layer(1, [](Layer& l) { l.name = "a b"; }),
            "Layer 2 (conv): name is \"a b\"; allowed: 1 to 64 letters, digits, '.', '_' and '-'.");
  EXPECT_EQ(layer(2, [](Layer& l) { l.kernel = 25; }),
            "Layer 3 (max_pool): size is 25; allowed: 1 to 24, as its input is 64 x 24 x 24.");
  EXPECT_EQ(layer(2, [](Layer& l) { l.padding = 1; }), "Layer 3 (max_pool): padding is 1; allowed: 0.");
  EXPECT_EQ(layer(3, [](Layer& l) { l.rate = 1.5; }), "Layer 4 (dropout): rate is 1.5; allowed: 0 to less than 1.");
  EXPECT_EQ(layer(3, [](Layer& l) { l.rate = std::nan(""); }),
            "Layer 4 (dropout): rate is nan; allowed: 0 to less than 1.");
  EXPECT_EQ(layer(3, [](Layer& l) { l.rate = -1; }), "Layer 4 (dropout): rate is -1; allowed: 0 to less than 1.");
  EXPECT_EQ(layer(4, [](Layer& l) { l.name = "x"; }),
            "Layer 5 (flatten): it has a name (\"x\") but no parameters; allowed: none.");
  EXPECT_EQ(layer(5, [](Layer& l) { l.kernel = 3; }), "Layer 6 (dense): kernel is 3; allowed: 0.");
  EXPECT_EQ(layer(6, [](Layer& l) { l.units = 1; }), "Layer 7 (dense): units is 1; allowed: 2 to 65535.");
  EXPECT_EQ(layer(6, [](Layer& l) { l.relu = true; }),
            "Layer 7 (dense): it is the last one and has an activation; allowed there: none.");
  EXPECT_EQ(layer(6, [](Layer& l) { l.kind = static_cast<LayerKind>(9); }),
            "Layer 7 (of an unknown kind): units is 10; allowed: 0.");
  EXPECT_EQ(Complaint([](ModelSpec& s) { s.layers.pop_back(), s.layers.pop_back(); }),
            "Layer 5 (flatten): it is the last one; allowed there: dense.");
  EXPECT_EQ(Complaint([](ModelSpec& s) { s.layers.erase(s.layers.begin() + 4); }),
            "Layer 5 (dense): its input is 64 x 12 x 12; put a flatten layer before it.");
  EXPECT_EQ(Complaint([](ModelSpec& s) { s.layers.insert(s.layers.begin() + 5, s.layers[2]); }),
            "Layer 6 (max_pool): its input is flat; put it before the flatten layer.");
  EXPECT_EQ(Complaint([](ModelSpec& s) { s.layers.insert(s.layers.begin() + 5, s.layers[4]); }),
            "Layer 6 (flatten): its input is flat already; allowed: one flatten layer.");
  EXPECT_EQ(Complaint([](ModelSpec& s) { s.layers.resize(65, s.layers[3]); }),
            "The network has 65 layers; allowed: 1 to 64.");
}

TEST(ModelTest, WhatIsTooLargeIsRefusedWithoutOverflow) {
  EXPECT_EQ(Complaint([](ModelSpec& s) {
              s.input = {4, 4096, 4096};
              s.layers[0].units = 4096;
            }),
            "Layer 1 (conv): its output is 4096 x 4094 x 4094; allowed: at most 268435456 values an image.");
  EXPECT_EQ(Complaint([](ModelSpec& s) { s.layers[5].units = 1 << 20; }),
            "Layer 6 (dense): with it the network has 9664743808 parameters; allowed: 2147483648 at most.");
}

TEST(ModelTest, InitialParametersAreGlorotsAndComeFromTheSeed) {
  const auto model = MakeModel(MnistCnn());
  ASSERT_TRUE(model.ok());
  const std::vector<float> values = InitialParameters(*model, 5);
  ASSERT_EQ(values.size(), model->parameter_count);
  EXPECT_EQ(InitialParameters(*model, 5), values);
  EXPECT_NE(InitialParameters(*model, 6), values);
  for (const Parameter& parameter : model->parameters) {
    const auto from = values.begin() + static_cast<int64_t>(parameter.offset);
    const auto [least, most] = std::minmax_element(from, from + static_cast<int64_t>(parameter.size));
    if (parameter.fan_in == 0) {
      EXPECT_EQ(*least, 0) << parameter.name;
      EXPECT_EQ(*most, 0) << parameter.name;
      continue;
    }
    const double bound = std::sqrt(6.0 / static_cast<double>(parameter.fan_in + parameter.fan_out));
    EXPECT_NEAR(*least, -bound, 0.02 * bound) << parameter.name;
    EXPECT_NEAR(*most, bound, 0.02 * bound) << parameter.name;
    EXPECT_GE(*least, -bound);
    EXPECT_LT(*most, bound);
    double mean = 0;
    for (uint64_t i = 0; i < parameter.size; ++i) mean += from[static_cast<int64_t>(i)] / parameter.size;
    EXPECT_NEAR(mean, 0, 4 * bound / std::sqrt(3.0 * parameter.size)) << parameter.name;
  }
}

// The known answers of Random123's kat_vectors for philox4x32, 10 rounds.
TEST(RandomTest, PhiloxGivesItsKnownAnswers) {
  const auto words = [](uint64_t key, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    const Philox4 random = Philox(key, a, b, c, d);
    return std::vector<uint32_t>(random.word, random.word + 4);
  };
  EXPECT_EQ(words(0, 0, 0, 0, 0), (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(words(~uint64_t{0}, kOnes, kOnes, kOnes, kOnes),
            (std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(words(0x299f31d0a4093822, 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344),
            (std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomTest, EveryCodePathFillsTheSameRow) {
  constexpr uint64_t kCounters = 16 * 37;
  std::vector<uint32_t> wanted(4 * kCounters), words(4 * kCounters);
  EXPECT_EQ(PhiloxGroupsScalar(77, 5, kCounters + 3, 1, 2, 3, wanted.data()), kCounters);
#if defined(__x86_64__)
  for (const Dispatch dispatch : SupportedDispatches()) {
    PhiloxGroups* const groups = dispatch == Dispatch::kAvx512 ? PhiloxGroupsAvx512
                                 : dispatch == Dispatch::kAvx2 ? PhiloxGroupsAvx2
                                                               : PhiloxGroupsScalar;
    words.assign(words.size(), 0);
    EXPECT_EQ(groups(77, 5, kCounters + 3, 1, 2, 3, words.data()), kCounters);
    EXPECT_EQ(words, wanted) << ToString(dispatch);
  }
#endif
}

TEST(RandomTest, ARowIsTheSameAsItsCountersOneByOne) {
  for (const uint64_t counters : {0, 1, 15, 16, 17, 100}) {
    std::vector<uint32_t> words(4 * counters + 1, 77);
    PhiloxRow(0x123456789abcdef0, 0xfffffff0, counters, 1, 2, 3, words.data());
    for (uint64_t i = 0; i < counters; ++i) {
      const Philox4 random = Philox(0x123456789abcdef0, static_cast<uint32_t>(0xfffffff0 + i), 1, 2, 3);
      EXPECT_EQ(std::memcmp(random.word, &words[4 * i], 16), 0) << i;
    }
    EXPECT_EQ(words.back(), 77u);
  }
}

}  // namespace
}  // namespace potluck::cnn
