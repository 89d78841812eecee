#include "kernels/cnn/data/order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>

namespace potluck::cnn {
namespace {

TEST(OrderTest, AnEpochHasEverySampleOnceAndFollowsFromSeedAndEpoch) {
  for (const uint32_t samples : {0u, 1u, 5u, 4096u, 60000u}) {
    std::vector<uint32_t> order = EpochOrder(7, 3, samples);
    EXPECT_EQ(order, EpochOrder(7, 3, samples));
    if (samples > 5) {
      EXPECT_NE(order, EpochOrder(7, 4, samples));
      EXPECT_NE(order, EpochOrder(8, 3, samples));
    }
    std::sort(order.begin(), order.end());
    std::vector<uint32_t> all(samples);
    std::iota(all.begin(), all.end(), 0u);
    EXPECT_EQ(order, all);
  }
}

TEST(OrderTest, TheOrderIsTheOneThatWasWrittenDown) {
  // Jobs that are resumed with a newer version rely on it.
  EXPECT_EQ(EpochOrder(1, 0, 10), (std::vector<uint32_t>{8, 3, 4, 0, 7, 5, 2, 9, 6, 1}));
  EXPECT_EQ(EpochOrder((uint64_t{1} << 40) + 5, 2, 10), (std::vector<uint32_t>{1, 8, 2, 3, 0, 4, 9, 7, 6, 5}));
}

TEST(OrderTest, PlacesAreSpreadEvenly) {
  // Where sample 17 of 64 comes to stand over many epochs: 64 places, 100 times each on average.
  std::array<int, 64> counts{};
  for (uint32_t epoch = 0; epoch < 6400; ++epoch) {
    const std::vector<uint32_t> order = EpochOrder(5, epoch, 64);
    ++counts[static_cast<size_t>(std::find(order.begin(), order.end(), 17u) - order.begin())];
  }
  double chi_squared = 0;
  for (const int count : counts) chi_squared += (count - 100.0) * (count - 100.0) / 100.0;
  EXPECT_LT(chi_squared, 104);  // 63 degrees of freedom: exceeded by chance once in a thousand seeds.
}

TEST(OrderTest, ShiftsCoverTheirRangeEvenly) {
  std::array<int, 25> counts{};
  for (uint32_t position = 0; position < 25000; ++position) {
    const Shift shift = ShiftOf(3, position, 2);
    ASSERT_LE(std::abs(shift.dx), 2);
    ASSERT_LE(std::abs(shift.dy), 2);
    ++counts[static_cast<size_t>((shift.dx + 2) * 5 + shift.dy + 2)];
  }
  for (const int count : counts) EXPECT_NEAR(count, 1000, 130);
  EXPECT_EQ(ShiftOf(3, 1, 0).dx, 0);
  EXPECT_EQ(ShiftOf(3, 1, 0).dy, 0);
}

TEST(OrderTest, AMovedImageHasZerosWhereNothingCameFrom) {
  const Shape shape{2, 3, 4};
  std::array<uint8_t, 24> from{}, to{};
  std::iota(from.begin(), from.end(), uint8_t{1});
  for (int dx = -5; dx <= 5; ++dx) {
    for (int dy = -4; dy <= 4; ++dy) {
      to.fill(99);
      ShiftImage(shape, from.data(), {dx, dy}, to.data());
      for (int i = 0; i < 24; ++i) {
        const int channel = i / 12, y = i % 12 / 4 - dy, x = i % 4 - dx;
        const bool inside = y >= 0 && y < 3 && x >= 0 && x < 4;
        EXPECT_EQ(to[static_cast<size_t>(i)], inside ? channel * 12 + y * 4 + x + 1 : 0) << dx << " " << dy;
      }
    }
  }
}

}  // namespace
}  // namespace potluck::cnn
