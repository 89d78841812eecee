#include "cli/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "base/notification.h"

namespace potluck {
namespace {

TEST(SignalsTest, SignalsAreCounted) {
  BlockSignals();
  Notification first, second;
  const SignalWatcher watcher([&](int count) { (count == 1 ? first : second).Notify(); });
  kill(getpid(), SIGINT);
  ASSERT_TRUE(first.WaitForNotificationWithTimeout(absl::Seconds(30)));
  kill(getpid(), SIGTERM);
  EXPECT_TRUE(second.WaitForNotificationWithTimeout(absl::Seconds(30)));
}

TEST(SignalsTest, ASignalThatCameBeforeTheWatcherIsNotLost) {
  BlockSignals();
  kill(getpid(), SIGINT);
  Notification seen;
  const SignalWatcher watcher([&](int /*count*/) { seen.Notify(); });
  EXPECT_TRUE(seen.WaitForNotificationWithTimeout(absl::Seconds(30)));
}

TEST(InterruptTest, TheFirstReasonStaysAndEndsWaiting) {
  Interrupt interrupt;
  EXPECT_TRUE(interrupt.reason().ok());
  EXPECT_FALSE(interrupt.WaitFor(absl::ZeroDuration()));
  interrupt.Raise(absl::CancelledError("interrupted"));
  interrupt.Raise(absl::InternalError("later"));
  EXPECT_TRUE(interrupt.WaitFor(absl::Hours(1)));
  EXPECT_EQ(interrupt.reason().message(), "interrupted");
}

TEST(InterruptTest, WhatRunsIsCancelledOnceRaised) {
  Interrupt interrupt;
  int cancelled = 0;
  {
    const Interrupt::Scope scope(&interrupt, [&] { ++cancelled; });
    EXPECT_EQ(cancelled, 0);
    interrupt.Raise(absl::CancelledError("interrupted"));
    EXPECT_EQ(cancelled, 1);
  }
  const Interrupt::Scope late(&interrupt, [&] { ++cancelled; });
  EXPECT_EQ(cancelled, 2);
  const Interrupt::Scope none(nullptr, [&] { ++cancelled; });
}

}  // namespace
}  // namespace potluck
