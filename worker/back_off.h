// How long to wait before the next try: doubling, with full jitter, so that a thousand workers that lost the same
// coordinator do not come back at the same moment (Brooker, "Exponential Backoff and Jitter", 2015).
#pragma once

#include <algorithm>
#include <random>

#include "absl/time/time.h"

namespace potluck {

// Not thread-safe. The caller brings the randomness.
class BackOff {
 public:
  BackOff(absl::Duration first, absl::Duration longest) : first_(first), longest_(longest), next_(first) {}

  // Between half of the current step and all of it.
  template <typename Random>
  absl::Duration Next(Random& random) {
    const double share = std::uniform_real_distribution<double>(0.5, 1.0)(random);
    const absl::Duration wait = next_ * share;
    next_ = std::min(longest_, next_ * 2);
    return wait;
  }
  void Reset() { next_ = first_; }

 private:
  absl::Duration first_, longest_, next_;
};

}  // namespace potluck
