// The two clocks that are never set, as times whose zero means nothing. They differ when the machine sleeps.
#pragma once

#include <time.h>

#include "absl/time/time.h"

namespace potluck {

inline absl::Time ReadClock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return absl::TimeFromTimespec(now);
}

// Goes on while the machine sleeps: for leases and deadlines, which are about what others can rely on.
inline absl::Time MonotonicNow() { return ReadClock(CLOCK_BOOTTIME); }

// Stands still while the machine sleeps: for limits on what this machine itself does, which cannot do it asleep.
inline absl::Time AwakeNow() { return ReadClock(CLOCK_MONOTONIC); }

}  // namespace potluck
