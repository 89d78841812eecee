#include "kernels/cnn/data/synthesis.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>

namespace potluck::cnn {
namespace {

TEST(SynthesisTest, EqualSeedsDrawEqualDigitsWhateverTheNumber) {
  const DataPair some = DrawDigits({.train = 50, .test = 20, .seed = 9});
  const DataPair more = DrawDigits({.train = 60, .test = 20, .seed = 9});
  EXPECT_EQ(some.train.samples(), 50u);
  EXPECT_TRUE(std::equal(some.train.pixels.begin(), some.train.pixels.end(), more.train.pixels.begin()));
  EXPECT_EQ(some.test, more.test);
  EXPECT_NE(some.test.pixels, DrawDigits({.train = 1, .test = 20, .seed = 10}).test.pixels);
  EXPECT_FALSE(std::equal(some.test.pixels.begin(), some.test.pixels.end(), some.train.pixels.begin()));
}

TEST(SynthesisTest, PixelsAreTheSameOnEveryMachine) {
  const DataPair pair = DrawDigits({.train = 200, .test = 1, .seed = 1});
  uint64_t sum = 0;
  for (const uint8_t pixel : pair.train.pixels) sum = sum * 1099511628211u + pixel;
  EXPECT_EQ(sum, 347276085063547621u);
}

TEST(SynthesisTest, ClassesAreOfAboutEqualSizeAndCanBeToldApart) {
  const DataPair pair = DrawDigits({.train = 4000, .test = 1000, .seed = 2});
  EXPECT_EQ(pair.train.shape, (Shape{1, 28, 28}));
  std::array<uint32_t, 10> sizes{};
  std::array<std::array<double, 784>, 10> means{};
  for (uint64_t i = 0; i < pair.train.samples(); ++i) {
    const uint16_t label = pair.train.labels[i];
    ++sizes[label];
    for (size_t pixel = 0; pixel < 784; ++pixel) means[label][pixel] += pair.train.image(i)[pixel];
  }
  for (size_t digit = 0; digit < 10; ++digit) {
    EXPECT_NEAR(sizes[digit], 400, 80);
    for (double& mean : means[digit]) mean /= sizes[digit];
  }
  // The nearest mean image, which is the simplest of classifiers, is right far more often than one in ten, and often
  // wrong: there is something to learn.
  int hits = 0;
  for (uint64_t i = 0; i < pair.test.samples(); ++i) {
    std::array<double, 10> distances{};
    for (size_t digit = 0; digit < 10; ++digit) {
      for (size_t pixel = 0; pixel < 784; ++pixel) {
        const double difference = pair.test.image(i)[pixel] - means[digit][pixel];
        distances[digit] += difference * difference;
      }
    }
    hits += std::min_element(distances.begin(), distances.end()) - distances.begin() == pair.test.labels[i];
  }
  EXPECT_GT(hits, 600);
  EXPECT_LT(hits, 930);
}

}  // namespace
}  // namespace potluck::cnn
