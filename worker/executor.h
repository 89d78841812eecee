// One device of a worker, in a child process of its own.
//
// A hung kernel, a sticky device error or a crash ends that child, not the worker: the interval it was at is given back
// and the child is started anew. The Executor owns the child and one thread, on which all events are delivered, never
// two at a time and with no lock held: they may call Run, Shrink and Cancel, but must return soon, since meanwhile
// nobody reads from the child. All methods but Stop are thread-safe and return at once.
//
// A run may name one of the device's implementations (CPU code paths); the child keeps a runner for each that it was
// asked for. Runs are computed one at a time, in the order asked for. Each gets exactly one OnRunOver, whatever
// happens, after its last OnSlice. Its slices are consecutive, disjoint and inside what the run then was; an executor
// that reports anything else is killed like one that crashed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "kernels/workload/interval.h"
#include "proto/exchange.h"
#include "worker/devices.h"
#include "worker/result_file.h"

namespace potluck {

struct ExecutorOptions {
  std::string program = "/proc/self/exe";  // Called as `program executor ...`; see executor_main.h.
  DeviceSpec device;
  std::string scratch;  // A folder for large results; empty: there are none.
  // Tried before it, for results that others read by their name, which they keep; empty: there are none.
  std::string shared_scratch;
  double slice_seconds = 2.0;
  bool when_idle = false;  // Lowest priority.

  // The child is killed and started anew when it needs longer than this to be ready (self-test included), to obey a
  // cancel, or to report anything at all of a run that does not wait for a blob.
  absl::Duration start_limit = absl::Seconds(60);
  absl::Duration cancel_limit = absl::Seconds(5);
  absl::Duration silence_limit = absl::Minutes(15);
  // How long Stop waits for it to end by itself.
  absl::Duration stop_limit = absl::Seconds(2);
  // The pause after the n-th death (n >= 1) without a slice in between. Many workers with one cause of death are spread
  // by a random share, which only the caller has. Empty: DefaultBackOff.
  std::function<absl::Duration(int deaths)> back_off;
};

// 0.1 s, doubled with each death, at most 1 minute.
absl::Duration DefaultBackOff(int deaths);

struct ExecutorReady {
  absl::Status self_test;         // When it failed, every run fails with the same sentence.
  absl::Duration self_test_time;  // How long the device took for its self-test.
  std::string backend_class;      // What the executor adds to its device's numerics class; may be empty.
  pid_t pid = 0;
};

class ExecutorEvents {
 public:
  virtual ~ExecutorEvents() = default;
  // A child, the first or one after a death, is up.
  virtual void OnReady(const ExecutorReady& ready) = 0;
  virtual void OnSlice(LeaseId lease, Interval interval, std::string payload, double busy_seconds) = 0;
  // A slice whose payload is too large to be passed on in one piece.
  virtual void OnLargeSlice(LeaseId lease, Interval interval, std::shared_ptr<const ResultFile> payload,
                            double busy_seconds) = 0;
  // The run waits for this blob, until AnswerBlob or its end.
  virtual void OnNeed(LeaseId lease, const std::string& digest) = 0;
  // It will want these soon, in this order.
  virtual void OnNeedSoon(LeaseId lease, std::vector<std::string> digests) = 0;
  // Ok: it reached its end, which shrinking may have moved. kCancelled: Cancel or Stop ended it before. kAborted: the
  // child died. Anything else: the runner failed, with its sentence.
  virtual void OnRunOver(LeaseId lease, const absl::Status& status) = 0;
  // The answer to a Shrink: `end` is what holds, at least what is being computed. A run that is over by then has none.
  virtual void OnShrunk(LeaseId lease, uint64_t asked, uint64_t end) = 0;
  // The child died or could not be started; the run it was at is over already. So are waiting ones if it died before it
  // was ready. Another one is started after `restart_in`.
  virtual void OnDied(const absl::Status& status, absl::Duration restart_in) = 0;
};

class Executor {
 public:
  // Starts the child in the background. `events` must outlive the executor.
  static absl::StatusOr<std::unique_ptr<Executor>> Create(ExecutorOptions options, ExecutorEvents& events);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // `lease` is of no run that is not over. The round is opened if it is another one than the open one. Until the child
  // is ready the run waits. After Stop: ignored. `implementation` is one of the device's; empty: the default.
  void Run(LeaseId lease, const RoundInfo& round, Interval interval, std::string implementation = "");
  // The answer to an OnNeed: a file with the blob, which stays until another round is opened, or why there is none.
  // Ignored when the run is over.
  void AnswerBlob(LeaseId lease, std::string digest, absl::StatusOr<std::string> path);
  // Both are ignored when the run is over. Of a run that waits, anything can be taken back.
  void Shrink(LeaseId lease, uint64_t end);
  void Cancel(LeaseId lease);

  // Ends what runs (kCancelled) and the child: gently, then with SIGKILL. No event follows its return. Not from an
  // event, and not from two threads at once; the destructor does the same.
  void Stop();

 private:
  class Loop;
  using Order = std::function<void(Loop&)>;

  Executor(ExecutorOptions options, ExecutorEvents& events, int wake_fd)
      : options_(std::move(options)), events_(events), wake_fd_(wake_fd) {}
  void Post(Order order);
  void Wake() const;
  // The orders given since the last call; false once Stop was called, and then nothing is accepted any more.
  bool Take(std::vector<Order>& orders);

  const ExecutorOptions options_;
  ExecutorEvents& events_;
  const int wake_fd_;  // An eventfd; readable when there are orders.
  Mutex mutex_;
  std::vector<Order> orders_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace potluck
