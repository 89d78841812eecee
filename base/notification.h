// Tells once, to whoever waits, that something has happened. Thread-safe. As Notification, but of base/mutex.h, so
// that ThreadSanitizer understands it.
#pragma once

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace potluck {

class Notification {
 public:
  // Once.
  void Notify() {
    MutexLock lock(&mutex_);
    notified_ = true;
    changed_.SignalAll();
  }
  bool HasBeenNotified() const {
    MutexLock lock(&mutex_);
    return notified_;
  }
  void WaitForNotification() const { WaitForNotificationWithTimeout(absl::InfiniteDuration()); }
  // Whether it has been notified.
  bool WaitForNotificationWithTimeout(absl::Duration timeout) const {
    const absl::Time deadline = MonotonicNow() + timeout;
    MutexLock lock(&mutex_);
    while (!notified_ && MonotonicNow() < deadline) changed_.WaitFor(&mutex_, deadline - MonotonicNow());
    return notified_;
  }

 private:
  mutable Mutex mutex_;
  mutable CondVar changed_;
  bool notified_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace potluck
