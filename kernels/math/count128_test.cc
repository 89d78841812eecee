#include "kernels/math/count128.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/math/mix64.h"

namespace potluck {
namespace {

constexpr uint64_t kMax64 = std::numeric_limits<uint64_t>::max();
constexpr const char* kMaxDigits = "340282366920938463463374607431768211455";

TEST(Count128Test, WordsComeBackAsTheyWereGiven) {
  const Count128 count = Count128::FromWords(0x0123456789abcdef, 0xfedcba9876543210);
  EXPECT_EQ(count.high(), 0x0123456789abcdefu);
  EXPECT_EQ(count.low(), 0xfedcba9876543210u);
}

TEST(Count128Test, SumCarriesIntoTheHighWord) {
  Count128 count(kMax64);
  ASSERT_TRUE(count.Add(1));
  EXPECT_EQ(count, Count128::FromWords(1, 0));
  EXPECT_EQ(count.ToString(), "18446744073709551616");
}

TEST(Count128Test, OverflowingSumIsRefusedAndChangesNothing) {
  Count128 count = Count128::Max();
  EXPECT_TRUE(count.Add(0));
  EXPECT_FALSE(count.Add(1));
  EXPECT_EQ(count, Count128::Max());
}

TEST(Count128Test, OverflowingProductIsRefusedAndChangesNothing) {
  Count128 count = Count128::FromWords(uint64_t{1} << 63, 7);
  EXPECT_FALSE(count.Multiply(2));
  EXPECT_EQ(count, Count128::FromWords(uint64_t{1} << 63, 7));
  Count128 fits(kMax64);
  ASSERT_TRUE(fits.Multiply(kMax64));
  EXPECT_EQ(fits.ToString(), "340282366920938463426481119284349108225");
}

TEST(Count128Test, DecimalTextGoesBothWays) {
  for (const char* digits : {"0", "7", "234907967154122528", kMaxDigits}) {
    const auto count = Count128::Parse(digits);
    ASSERT_TRUE(count.has_value()) << digits;
    EXPECT_EQ(count->ToString(), digits);
  }
  EXPECT_EQ(Count128::Parse(kMaxDigits), Count128::Max());
}

TEST(Count128Test, TextThatIsNoNumberOrTooLargeIsRefused) {
  for (const char* text : {"", "-1", "+1", " 1", "1 ", "1e3", "0x10", "340282366920938463463374607431768211456"}) {
    EXPECT_FALSE(Count128::Parse(text).has_value()) << text;
  }
}

TEST(Count128Test, OrderLooksAtTheHighWordFirst) {
  EXPECT_LT(Count128::FromWords(0, kMax64), Count128::FromWords(1, 0));
  EXPECT_GT(Count128(3), Count128(2));
}

TEST(Mix64Test, ReproducesSplitMix64FromSeedZero) {
  // The first outputs of the reference SplitMix64 with seed 0.
  EXPECT_EQ(Mix64(uint64_t{0x9e3779b97f4a7c15}), 0xe220a8397b1dcdafu);
  EXPECT_EQ(Mix64(2 * uint64_t{0x9e3779b97f4a7c15}), 0x6e789e6aa1b965f4u);
}

TEST(Mix64Test, EveryArgumentOfAChecksumTermMatters) {
  const uint64_t term = Mix64(1, 2, 3);
  EXPECT_NE(term, Mix64(2, 2, 3));
  EXPECT_NE(term, Mix64(1, 3, 3));
  EXPECT_NE(term, Mix64(1, 3, 2));
  EXPECT_NE(Mix64(0, 0, 0), 0u);
}

}  // namespace
}  // namespace potluck
