// How whoever asked for an interval steers its computation while it runs: take back its tail, or cancel it.
//
// Thread-safe. A runner claims each slice before it starts computing it; a shrink takes back only what is not claimed,
// so that what was confirmed as given away is never reported.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "kernels/workload/interval.h"

namespace potluck {

class RunControl {
 public:
  explicit RunControl(Interval interval) : claimed_(interval.begin), end_(interval.end) {}

  // Claims [current position, min(wanted_end, end)) for the next slice and returns that end. Equal to `begin` when
  // nothing is left: then the run is over.
  uint64_t Claim(uint64_t begin, uint64_t wanted_end) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (cancelled_.load(std::memory_order_relaxed)) return begin;
    claimed_ = std::max(claimed_, std::min(wanted_end, end_));
    return std::max(begin, claimed_);
  }
  // Takes back all from `new_end` on that is not claimed yet; returns the end that now holds.
  uint64_t Shrink(uint64_t new_end) {
    std::lock_guard<std::mutex> lock(mutex_);
    end_ = std::min(end_, std::max(new_end, claimed_));
    return end_;
  }
  // The end of the interval as it now stands.
  uint64_t End() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return end_;
  }
  // Asks the runner to stop soon (within 2 s) without reporting what it is at. Lock-free to read: kernels poll it.
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  const std::atomic<bool>& cancel_flag() const { return cancelled_; }

 private:
  mutable std::mutex mutex_;
  uint64_t claimed_;
  uint64_t end_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace potluck
