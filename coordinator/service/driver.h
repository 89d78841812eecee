// Runs the core in the world: one mutex around it, the clocks, the store, and a thread that keeps its deadlines.
//
// Events enter from any thread. What the core wants done is done in the order in which it was wanted, by one thread at
// a time and with no lock held, so that answers may lead to new events. Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <thread>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "coordinator/core/core.h"
#include "coordinator/store/store.h"

namespace potluck {

class Driver {
 public:
  using Log = std::function<void(const std::string&)>;
  using ExchangeDone = std::function<void(const absl::Status&, const ExchangeReply&)>;
  using RequestDone = std::function<void(const absl::Status&, JobId)>;
  using Event = std::function<Outbox(Core&, Instant)>;

  // Writes a state as a durable blob and calls `done`, once, with its digest; the blob stays until `done` has returned.
  // Called on a thread of its own.
  using StateWriter = std::function<void(const std::vector<SharedBytes>& parts,
                                         const std::function<void(const absl::StatusOr<std::string>&)>& done)>;

  // `blobs` reads a whole blob; `write_state` is called once started.
  Driver(CoreOptions options, PlannerFactory planners, BlobReader blobs, StateWriter write_state, Store& store,
         Log log);
  ~Driver();  // Stops.

  // Takes over what the store holds; before Start.
  void Recover(const StoreContents& contents);
  void Start();
  // No event has an effect any more; waiting calls are answered as unavailable.
  void Stop();

  void Do(const Event& event);
  // Reads the core.
  template <typename Reader>
  auto Read(Reader reader) const {
    MutexLock lock(&mutex_);
    return reader(static_cast<const Core&>(core_), Now());
  }

  // Names a call whose answer `done` receives, once, on any thread. Forget it if the answer is not wanted any more:
  // true if `done` will then not be called.
  CallId Await(ExchangeDone done);
  CallId Await(RequestDone done);
  bool Forget(CallId call);

  // Not an outbox event, but stored like everything: tokens.
  void Append(std::vector<Fact> facts, std::function<void(const absl::Status&)> done);

  // Called when a job has ended, on any thread.
  void OnJobEnded(std::function<void(JobId)> observer);
  // Called when blobs may have lost their last job, on any thread, before the client hears that the job is deleted.
  void OnBlobsReleased(std::function<void()> observer);

  // Returns when it cannot go on (the reason) or was stopped (Ok).
  absl::Status Wait();
  // Returns when so many sessions are live, or after `limit`.
  void WaitForSessions(size_t count, absl::Duration limit);

 private:
  static Instant Now();
  void Perform() ABSL_LOCKS_EXCLUDED(mutex_);
  void PerformOne(Outbox& outbox) ABSL_LOCKS_EXCLUDED(mutex_);
  void Answer(const Outbox::ExchangeAnswer& answer) ABSL_LOCKS_EXCLUDED(calls_mutex_);
  void Answer(const Outbox::RequestAnswer& answer) ABSL_LOCKS_EXCLUDED(calls_mutex_);
  void RetractAllOf(const Outbox::Distrust& distrust) ABSL_LOCKS_EXCLUDED(mutex_);
  void ReadForRebuild(RoundKey key) ABSL_LOCKS_EXCLUDED(mutex_);
  void AnswerAll(const absl::Status& status) ABSL_LOCKS_EXCLUDED(calls_mutex_);
  void KeepDeadlines() ABSL_LOCKS_EXCLUDED(mutex_);
  void Fail(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  void WriteStates() ABSL_LOCKS_EXCLUDED(saves_mutex_);

  Store& store_;
  const StateWriter write_state_;
  const Log log_;

  mutable Mutex mutex_;
  Core core_ ABSL_GUARDED_BY(mutex_);
  std::deque<Outbox> outgoing_ ABSL_GUARDED_BY(mutex_);
  bool performing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time deadline_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::function<void(JobId)> on_job_ended_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_blobs_released_ ABSL_GUARDED_BY(mutex_);
  CondVar changed_;

  Mutex calls_mutex_;
  uint64_t last_call_ ABSL_GUARDED_BY(calls_mutex_) = 0;
  std::map<CallId, ExchangeDone> exchanges_ ABSL_GUARDED_BY(calls_mutex_);
  std::map<CallId, RequestDone> requests_ ABSL_GUARDED_BY(calls_mutex_);

  Mutex saves_mutex_;
  std::deque<Outbox::SaveState> saves_ ABSL_GUARDED_BY(saves_mutex_);
  bool saves_stopped_ ABSL_GUARDED_BY(saves_mutex_) = false;
  CondVar saves_changed_;

  std::thread timer_;
  std::thread saver_;
};

}  // namespace potluck
