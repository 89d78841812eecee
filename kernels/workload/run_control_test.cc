#include "kernels/workload/run_control.h"

#include <gtest/gtest.h>

#include <thread>

namespace potluck {
namespace {

TEST(RunControlTest, ClaimStopsAtTheEnd) {
  RunControl control({10, 20});
  EXPECT_EQ(control.Claim(10, 15), 15u);
  EXPECT_EQ(control.Claim(15, 99), 20u);
  EXPECT_EQ(control.Claim(20, 30), 20u);
}

TEST(RunControlTest, ShrinkTakesBackOnlyWhatIsNotClaimed) {
  RunControl control({0, 100});
  EXPECT_EQ(control.Claim(0, 40), 40u);
  EXPECT_EQ(control.Shrink(10), 40u);
  EXPECT_EQ(control.End(), 40u);
  EXPECT_EQ(control.Claim(40, 50), 40u);
}

TEST(RunControlTest, ShrinkNeverExtends) {
  RunControl control({0, 100});
  EXPECT_EQ(control.Shrink(60), 60u);
  EXPECT_EQ(control.Shrink(80), 60u);
}

TEST(RunControlTest, NothingIsClaimedAfterACancel) {
  RunControl control({0, 100});
  control.Cancel();
  EXPECT_TRUE(control.cancelled());
  EXPECT_EQ(control.Claim(0, 10), 0u);
}

TEST(RunControlTest, WhatAShrinkGivesAwayIsNeverClaimed) {
  for (int trial = 0; trial < 200; ++trial) {
    RunControl control({0, 1000});
    uint64_t confirmed = 0;
    std::thread shrinker([&] {
      for (uint64_t end = 900; end >= 100; end -= 100) confirmed = control.Shrink(end);
    });
    uint64_t position = 0;
    while (true) {
      const uint64_t end = control.Claim(position, position + 7);
      if (end == position) break;
      position = end;
    }
    shrinker.join();
    EXPECT_LE(position, std::max(confirmed, control.End()));
    EXPECT_EQ(confirmed, control.End());
  }
}

}  // namespace
}  // namespace potluck
