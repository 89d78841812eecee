#include "kernels/cnn/reference/layers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cnn/random.h"
#include "kernels/cpu/dispatch.h"

namespace potluck::cnn::reference {
namespace {

template <typename T>
std::vector<T> SomeValues(size_t count, uint32_t stream) {
  std::vector<T> values(count);
  for (size_t i = 0; i < count; ++i) {
    values[i] = static_cast<T>(UnitFloat(Philox(3, static_cast<uint32_t>(i), stream, 0, 0).word[0]) - 0.5);
  }
  return values;
}

TEST(GemmTest, EveryCodePathAddsInOneOrderAtEverySize) {
  const size_t sizes[][3] = {{1, 1, 1},   {2, 3, 4},    {5, 17, 9},    {6, 32, 256}, {7, 33, 257},
                             {13, 8, 70}, {12, 64, 31}, {3, 100, 600}, {20, 1, 5},   {8, 31, 0}};
  for (const auto& [m, n, k] : sizes) {
    const auto a = SomeValues<float>(m * k, 1), b = SomeValues<float>(k * n, 2), start = SomeValues<float>(m * n, 3);
    std::vector<float> wanted = start;
    for (size_t i = 0; i < m; ++i) {
      for (size_t j = 0; j < n; ++j) {
        for (size_t p = 0; p < k; ++p) wanted[i * n + j] += a[i * k + p] * b[p * n + j];
      }
    }
    std::vector<float> a_transposed(m * k);
    Transpose(m, k, a.data(), a_transposed.data());
    for (const Dispatch dispatch : SupportedDispatches()) {
      std::vector<float> c = start;
      GemmFor(dispatch)(m, n, k, {a.data(), k}, {b.data(), n}, {c.data(), n});
      EXPECT_EQ(c, wanted) << ToString(dispatch) << " " << m << " " << n << " " << k;
      c = start;
      GemmFor(dispatch)(m, n, k, {a_transposed.data(), 1, m}, {b.data(), n}, {c.data(), n});
      EXPECT_EQ(c, wanted) << "transposed, " << ToString(dispatch) << " " << m << " " << n << " " << k;
    }
  }
}

// Against the definition, pixel by pixel.
TEST(LayersTest, ColumnsAreWhatEachOutputSees) {
  const Window windows[] = {{{2, 7, 5}, {}, 3, 1, 0}, {{1, 6, 6}, {}, 3, 2, 1}, {{3, 4, 9}, {}, 1, 3, 0},
                            {{1, 5, 5}, {}, 5, 1, 4}, {{2, 3, 3}, {}, 2, 2, 1}, {{1, 2, 8}, {}, 4, 3, 2}};
  for (Window window : windows) {
    const auto side = [&](uint32_t in) { return (in + 2 * window.padding - window.kernel) / window.stride + 1; };
    window.out = {1, side(window.in.height), side(window.in.width)};
    const auto image = SomeValues<double>(window.in.size(), 1);
    std::vector<double> columns(window.taps() * window.pixels(), 99), wanted;
    const auto at = [&](int64_t channel, int64_t y, int64_t x) -> int64_t {
      const bool is_inside = y >= 0 && x >= 0 && y < window.in.height && x < window.in.width;
      return is_inside ? (channel * window.in.height + y) * window.in.width + x : -1;
    };
    std::vector<double> back(window.in.size());
    for (uint32_t channel = 0; channel < window.in.channels; ++channel) {
      for (uint32_t tap = 0; tap < window.kernel * window.kernel; ++tap) {
        for (uint32_t pixel = 0; pixel < window.pixels(); ++pixel) {
          const int64_t y = int64_t{pixel / window.out.width} * window.stride + tap / window.kernel - window.padding;
          const int64_t x = int64_t{pixel % window.out.width} * window.stride + tap % window.kernel - window.padding;
          const int64_t place = at(channel, y, x);
          wanted.push_back(place < 0 ? 0 : image[place]);
          if (place >= 0) back[place] += 1;
        }
      }
    }
    ImageToColumns(window, image.data(), columns.data());
    EXPECT_EQ(columns, wanted);
    std::vector<double> sums(window.in.size(), 99);
    const std::vector<double> ones(columns.size(), 1);
    ColumnsToImage(window, ones.data(), sums.data());
    EXPECT_EQ(sums, back);
  }
}

TEST(LayersTest, NothingThatIsNotANumberIsLost) {
  const float nan = std::nanf("");
  for (int place = 0; place < 4; ++place) {
    std::vector<float> values = {1, 2, 3, 4};
    values[place] = nan;
    float out = 0;
    uint32_t chosen = 0;
    MaxPoolForward<float>({{1, 2, 2}, {1, 1, 1}, 2, 2, 0}, values.data(), &out, &chosen);
    EXPECT_TRUE(std::isnan(out)) << place;
    Relu(std::span<float>(values));
    EXPECT_TRUE(std::isnan(values[place]));
  }
}

TEST(LayersTest, PoolingTakesTheFirstOfEqualOnesAndGivesItTheGradient) {
  const std::vector<float> in = {1, 5, 5, 2, 5, 0, 3, 3, 3};
  std::vector<float> out(4), gradient(9, 7);
  std::vector<uint32_t> places(4);
  const Window window{{1, 3, 3}, {1, 2, 2}, 2, 1, 0};
  MaxPoolForward(window, in.data(), out.data(), places.data());
  EXPECT_EQ(out, (std::vector<float>{5, 5, 5, 5}));
  EXPECT_EQ(places, (std::vector<uint32_t>{1, 1, 4, 4}));
  MaxPoolBackward(window, std::vector<float>{1, 2, 4, 8}.data(), places.data(), gradient.data());
  EXPECT_EQ(gradient, (std::vector<float>{0, 3, 0, 0, 12, 0, 0, 0, 0}));
}

TEST(LayersTest, DropoutKeepsByTheDocumentedNumbers) {
  std::vector<uint32_t> words(12);
  std::vector<uint8_t> kept(10);
  DropoutMask(0.25, 77, 5, 6, 3, words, kept);
  for (uint32_t e = 0; e < 10; ++e) {
    const uint32_t word = Philox(77, e / 4, 5, 6, Word3(Purpose::kDropout, 3)).word[e % 4];
    EXPECT_EQ(kept[e] != 0, word < 0xc0000000u) << e;
  }
  const std::vector<float> in(10, 3.0f);
  std::vector<float> out(10);
  Dropout(0.25, std::span<const uint8_t>(kept), in.data(), out.data());
  for (uint32_t e = 0; e < 10; ++e) EXPECT_EQ(out[e], kept[e] ? 3.0f * (1.0f / 0.75f) : 0.0f);
}

TEST(LayersTest, DropoutKeepsItsShare) {
  constexpr uint32_t kSize = 100'000;
  std::vector<uint32_t> words(kSize);
  std::vector<uint8_t> kept(kSize);
  for (const double rate : {0.0, 0.1, 0.5, 0.9}) {
    double count = 0;
    DropoutMask(rate, 1, 2, 3, 4, words, kept);
    for (const uint8_t one : kept) count += one;
    EXPECT_NEAR(count / kSize, 1 - rate, 4 * std::sqrt(rate * (1 - rate) / kSize)) << rate;
  }
}

TEST(LayersTest, ExponentialAndLogarithmAreAccurate) {
  for (double x = 0; x > -750; x -= 0.173) EXPECT_NEAR(Exp(x), std::exp(x), 4e-16 * std::exp(x) + 1e-323) << x;
  EXPECT_EQ(Exp(0), 1.0);
  EXPECT_EQ(Exp(-1e300), 0.0);
  for (double x = 1; x < 70000; x *= 1.0137) EXPECT_NEAR(Log(x), std::log(x), 4e-16 * (1 + std::log(x))) << x;
  EXPECT_EQ(Log(1), 0.0);
}

TEST(LayersTest, LossIsCrossEntropyAndItsGradient) {
  std::vector<double> logits = {3.7, 2.85, 0, 0};
  const std::vector<uint16_t> labels = {1, 0};
  ShardTally tally;
  ASSERT_TRUE(Loss(2, 2, labels.data(), true, logits.data(), tally).ok());
  const double p = 1 / (1 + std::exp(-0.85));
  EXPECT_NEAR(tally.loss_sum, -std::log(1 - p) + std::log(2.0), 1e-15);
  EXPECT_EQ(tally.hits, 1u);  // Of equal logits the first.
  EXPECT_NEAR(logits[0], p, 1e-15);
  EXPECT_NEAR(logits[1], -p, 1e-15);
  EXPECT_EQ(logits[2], -0.5);
  EXPECT_EQ(logits[3], 0.5);
}

TEST(LayersTest, HugeLogitsDoNotOverflow) {
  std::vector<float> logits = {3e38f, -3e38f, 0};
  const uint16_t label = 0;
  ShardTally tally;
  ASSERT_TRUE(Loss(1, 3, &label, true, logits.data(), tally).ok());
  EXPECT_EQ(tally.loss_sum, 0.0);
  EXPECT_EQ(logits, (std::vector<float>{0, 0, 0}));
}

TEST(LayersTest, WrongLabelsAndLogitsAreRefused) {
  std::vector<float> logits = {0, 0};
  const uint16_t label = 2;
  ShardTally tally;
  EXPECT_EQ(Loss(1, 2, &label, false, logits.data(), tally).message(), "The label of sample 0 is 2; allowed: 0 to 1.");
  const uint16_t fine = 0;
  for (const float wrong : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    logits = {0, wrong};
    EXPECT_EQ(Loss(1, 2, &fine, false, logits.data(), tally).message(),
              "Logit 1 of sample 0 is not a finite number: training has diverged, or the parameters are damaged.");
  }
}

}  // namespace
}  // namespace potluck::cnn::reference
