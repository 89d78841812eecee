#include "kernels/cnn/dyadic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/cnn/payload.h"
#include "kernels/cnn/results.h"

namespace potluck::cnn {
namespace {

std::string ResultOf(std::vector<float> floats, const Tally& tally) {
  std::string result(reinterpret_cast<const char*>(floats.data()), 4 * floats.size());
  AppendTally(tally, result);
  return result;
}

// The blocks of [0, size) by their definition.
bool IsBlockByDefinition(Interval interval, uint64_t size) {
  for (uint64_t length = 1; length < 2 * size; length *= 2) {
    for (uint64_t begin = 0; begin < size; begin += length) {
      if (interval == Interval{begin, std::min(begin + length, size)}) return true;
    }
  }
  return false;
}

TEST(DyadicTest, BlocksAreThoseOfTheDefinition) {
  for (uint64_t size = 1; size <= 40; ++size) {
    for (uint64_t begin = 0; begin < size; ++begin) {
      for (uint64_t end = begin; end <= size + 1; ++end) {
        const Interval interval{begin, end};
        EXPECT_EQ(IsDyadicBlock(interval, size), !interval.empty() && IsBlockByDefinition(interval, size))
            << ToString(interval) << " of " << size;
      }
    }
  }
}

TEST(DyadicTest, AnIntervalIsTheFewestBlocks) {
  EXPECT_EQ(DyadicBlocks({3, 13}, 13), (std::vector<Interval>{{3, 4}, {4, 8}, {8, 13}}));
  EXPECT_EQ(DyadicBlocks({3, 12}, 13), (std::vector<Interval>{{3, 4}, {4, 8}, {8, 12}}));
  EXPECT_EQ(DyadicBlocks({0, 13}, 13), (std::vector<Interval>{{0, 13}}));
  EXPECT_TRUE(DyadicBlocks({5, 5}, 13).empty());
  for (uint64_t size = 1; size <= 24; ++size) {
    // The fewest by trying: least[b] blocks from b on.
    for (uint64_t end = 1; end <= size; ++end) {
      std::vector<uint64_t> least(end + 1, 0);
      for (uint64_t begin = end; begin-- > 0;) {
        least[begin] = end;
        for (uint64_t next = begin + 1; next <= end; ++next) {
          if (IsDyadicBlock({begin, next}, size)) least[begin] = std::min(least[begin], 1 + least[next]);
        }
        const std::vector<Interval> blocks = DyadicBlocks({begin, end}, size);
        EXPECT_EQ(blocks.size(), least[begin]) << begin << " " << end << " " << size;
        for (const Interval block : blocks) EXPECT_TRUE(IsDyadicBlock(block, size));
        EXPECT_EQ(blocks.front().begin, begin);
        EXPECT_EQ(blocks.back().end, end);
      }
    }
  }
}

TEST(DyadicTest, SiblingsMakeABlockTogether) {
  for (uint64_t size = 2; size <= 40; ++size) {
    for (uint64_t begin = 0; begin < size; ++begin) {
      for (const Interval block : DyadicBlocks({begin, size}, size)) {
        if (block.size() == size) continue;
        const Interval sibling = DyadicSibling(block, size);
        EXPECT_EQ(DyadicSibling(sibling, size), block);
        const Interval parent{std::min(block.begin, sibling.begin), std::max(block.end, sibling.end)};
        EXPECT_EQ(parent.size(), block.size() + sibling.size());
        EXPECT_TRUE(IsDyadicBlock(parent, size)) << ToString(parent) << " of " << size;
      }
    }
  }
}

// Numbers whose sum depends on the order.
std::string LeafResult(uint64_t index) {
  const float value = std::ldexp(static_cast<float>(index * 2654435761u % 1000 + 1), static_cast<int>(index % 40) - 20);
  return ResultOf({value, -value * 3}, {.loss_sum = value / 7.0, .samples = 1, .hits = index % 2, .steps = 1});
}

std::string TreeSum(Interval block, uint64_t size) {
  if (block.size() == 1) return LeafResult(block.begin);
  uint64_t half = 1;
  while (2 * half < block.size()) half *= 2;
  std::string sum = TreeSum({block.begin, block.begin + half}, size);
  AddResult(sum, TreeSum({block.begin + half, block.end}, size), 2);
  return sum;
}

TEST(DyadicTest, SumsHaveTheSameBitsInAnyOrderAndCutting) {
  std::mt19937_64 random(1);
  for (const uint64_t size : {1, 2, 3, 7, 8, 13, 32, 57}) {
    const std::string expected = TreeSum({0, size}, size);
    for (int trial = 0; trial < 50; ++trial) {
      std::vector<Interval> blocks;
      for (Interval rest{0, size}; !rest.empty();) {
        const Interval unit{rest.begin, rest.begin + 1 + random() % rest.size()};
        for (const Interval block : DyadicBlocks(unit, size)) blocks.push_back(block);
        rest.begin = unit.end;
      }
      std::shuffle(blocks.begin(), blocks.end(), random);
      DyadicSum sum(size, 2);
      uint64_t added = 0;
      for (const Interval block : blocks) {
        EXPECT_FALSE(sum.complete());
        sum.Add(block, TreeSum(block, size));
        EXPECT_EQ(sum.added(), added += block.size());
      }
      ASSERT_TRUE(sum.complete());
      EXPECT_EQ(sum.TakeTotal(), expected);
    }
  }
}

TEST(DyadicTest, IncompleteSumsAreTheLargestBlocks) {
  DyadicSum sum(13, 2);
  for (const uint64_t index : {12, 9, 4, 8, 7, 6, 5, 2}) sum.Add({index, index + 1}, LeafResult(index));
  std::vector<Interval> intervals;
  for (const Part& part : sum.TakeBlocks()) {
    intervals.push_back(part.interval);
    EXPECT_EQ(part.payload, TreeSum(part.interval, 13));
  }
  EXPECT_EQ(intervals, (std::vector<Interval>{{2, 3}, {4, 8}, {8, 10}, {12, 13}}));
}

TEST(ResultsTest, AMarkAndAnythingIsAMark) {
  std::string a = DivergedMark(5);
  EXPECT_TRUE(IsDivergedMark(a));
  EXPECT_EQ(a.size(), kTallyBytes);
  AddResult(a, LeafResult(1), 2);
  EXPECT_EQ(a, DivergedMark(6));
  std::string b = LeafResult(2);
  AddResult(b, DivergedMark(3), 2);
  EXPECT_EQ(b, DivergedMark(4));
  EXPECT_FALSE(IsDivergedMark(LeafResult(0)));
  EXPECT_FALSE(IsDivergedMark(""));
}

TEST(ResultsTest, FindsWhatIsNotFinite) {
  std::vector<float> values(50000, 1.5f);
  EXPECT_TRUE(AllFinite(values));
  EXPECT_TRUE(AllFinite(std::vector<float>{}));
  for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    for (const size_t place : {size_t{0}, size_t{16383}, size_t{16384}, values.size() - 1}) {
      std::vector<float> others = values;
      others[place] = wrong;
      EXPECT_FALSE(AllFinite(others));
    }
  }
}

}  // namespace
}  // namespace potluck::cnn
