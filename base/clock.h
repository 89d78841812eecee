// The monotonic clock, as a time whose zero means nothing. It goes on while the machine sleeps: leases and deadlines
// are about what others can rely on.
#pragma once

#include <time.h>

#include "absl/time/time.h"

namespace potluck {

inline absl::Time MonotonicNow() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return absl::TimeFromTimespec(now);
}

}  // namespace potluck
