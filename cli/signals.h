// Ctrl-C without signal handlers: the signals are blocked in every thread and one thread of its own waits for them.
//
// Call BlockSignals first thing, before any other thread exists (threads inherit the mask). Child processes would
// inherit it too: whoever spawns one gives it an empty mask.
#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace potluck {

// Blocks SIGINT and SIGTERM in this thread and those that it starts from now on.
void BlockSignals();

// Calls `handle` for each SIGINT and SIGTERM, with 1 for the first, 2 for the second and so on; also for those that
// came between BlockSignals and its making. `handle` runs in a thread of the watcher's.
class SignalWatcher {
 public:
  explicit SignalWatcher(std::function<void(int count)> handle);
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

 private:
  void Run();

  const std::function<void(int)> handle_;
  int signals_ = -1;  // File descriptors.
  int stop_ = -1;
  std::thread thread_;
};

// Something that ends what a command is waiting for: Ctrl-C, or workers that cannot be started. Thread-safe.
class Interrupt {
 public:
  // The first reason stays; must not be Ok.
  void Raise(absl::Status reason) ABSL_LOCKS_EXCLUDED(mutex_);
  // Ok until raised.
  absl::Status reason() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Sleeps; true, at once, when raised.
  bool WaitFor(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);

  // While it lives, `cancel` is called when the interrupt is raised, at once if it has been. `cancel` must not touch
  // the Interrupt. One at a time.
  class Scope {
   public:
    Scope(Interrupt* interrupt, std::function<void()> cancel);  // Null: nothing happens.
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Interrupt* const interrupt_;
  };

 private:
  mutable Mutex mutex_;
  CondVar raised_;
  absl::Status reason_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> cancel_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace potluck
