#include "kernels/workload/interval_set.h"

#include <gtest/gtest.h>

#include <bitset>
#include <random>

namespace potluck {
namespace {

constexpr uint64_t kSpace = 64;
using Bits = std::bitset<kSpace>;

Bits BitsOf(const IntervalSet& set) {
  Bits bits;
  for (const Interval interval : set.Intervals()) {
    for (uint64_t i = interval.begin; i < interval.end; ++i) bits.set(i);
  }
  return bits;
}

Bits BitsOf(Interval interval) { return BitsOf(IntervalSet{interval}); }

TEST(IntervalSetTest, TouchingIntervalsBecomeOne) {
  const IntervalSet set{{5, 9}, {0, 3}, {3, 5}, {20, 20}};
  EXPECT_EQ(ToString(set), "[0, 9)");
  EXPECT_EQ(set.size(), 9u);
  EXPECT_EQ(set.front(), (Interval{0, 9}));
}

TEST(IntervalSetTest, RemovingTheMiddleLeavesBothSides) {
  IntervalSet set{{0, 10}};
  set.Remove({3, 7});
  EXPECT_EQ(ToString(set), "[0, 3) [7, 10)");
  EXPECT_EQ(ToString(set.Complement({0, 12})), "[3, 7) [10, 12)");
}

TEST(IntervalSetTest, AgreesWithABitsetOverRandomOperations) {
  std::mt19937_64 random(1);
  IntervalSet set;
  Bits bits;
  for (int step = 0; step < 20000; ++step) {
    const uint64_t a = random() % (kSpace + 1), b = random() % (kSpace + 1);
    const Interval interval{std::min(a, b), std::max(a, b)};
    const Bits mask = BitsOf(interval);
    if (random() % 2 == 0) {
      set.Add(interval);
      bits |= mask;
    } else {
      set.Remove(interval);
      bits &= ~mask;
    }
    ASSERT_EQ(BitsOf(set), bits);
    ASSERT_EQ(set.size(), bits.count());
    const uint64_t c = random() % (kSpace + 1), d = random() % (kSpace + 1);
    const Interval probe{std::min(c, d), std::max(c, d)};
    const Bits probed = BitsOf(probe);
    ASSERT_EQ(set.Contains(probe), (probed & ~bits).none());
    ASSERT_EQ(set.Overlaps(probe), (probed & bits).any());
    ASSERT_EQ(BitsOf(set.Intersect(probe)), probed & bits);
    ASSERT_EQ(BitsOf(set.Complement(probe)), probed & ~bits);
    const auto intervals = set.Intervals();
    for (size_t i = 1; i < intervals.size(); ++i) ASSERT_LT(intervals[i - 1].end, intervals[i].begin);
  }
}

}  // namespace
}  // namespace potluck
