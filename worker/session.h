// The worker's loop: keeps the conversation going and the executors busy.
//
// One thread runs Run and owns everything; executors, gRPC and the outside only post events to it. Thread-safe for
// Post, Drain and StopNow. So do transfers.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "worker/back_off.h"
#include "worker/executor.h"
#include "worker/lease_book.h"
#include "worker/link.h"
#include "worker/scratch.h"
#include "worker/transfers.h"
#include "worker/worker.h"

namespace potluck {

// Between calls that say nothing new; what was asked for meanwhile is being done.
inline constexpr absl::Duration kQuietInterval = absl::Milliseconds(50);
// The same of a worker that drains: its calls are not held.
inline constexpr absl::Duration kDrainingInterval = absl::Seconds(1);
// How long before its session's known end a worker begins to leave, at most half of what it has: what a unit's result
// that cannot be cut takes (20 s, and its way to the coordinator), where it is not known to the second when a host
// ends.
inline constexpr absl::Duration kLeaveBefore = absl::Minutes(1);
// A draining worker gives up a coordinator that it cannot reach after this.
inline constexpr absl::Duration kDrainPatience = absl::Seconds(20);

class Session : public TransferEvents {
 public:
  // `devices` are those to use; `installation` names this worker.
  Session(const WorkerOptions& options, std::string installation, std::vector<DeviceSpec> devices);
  ~Session() override;

  WorkerEnd Run(std::string& message);
  void Drain();
  void StopNow();

 private:
  // One device: its executor's events, posted to the loop.
  class Slot final : public ExecutorEvents {
   public:
    Slot(Session& session, uint32_t index, DeviceSpec device)
        : session_(session), index_(index), device_(std::move(device)) {}
    void OnReady(const ExecutorReady& ready) override;
    void OnSlice(LeaseId lease, Interval interval, std::string payload, double busy_seconds) override;
    void OnLargeSlice(LeaseId lease, Interval interval, std::shared_ptr<const ResultFile> payload,
                      double busy_seconds) override;
    void OnNeed(LeaseId lease, const std::string& digest) override;
    void OnNeedSoon(LeaseId lease, std::vector<std::string> digests) override;
    void OnRunOver(LeaseId lease, const absl::Status& status) override;
    void OnShrunk(LeaseId lease, uint64_t asked, uint64_t end) override;
    void OnDied(const absl::Status& status, absl::Duration restart_in) override;
    void TakeSlice(ReportedSlice slice, std::shared_ptr<const ResultFile> result);
    // The loop's: leaves the device alone for a while.
    void BackOffAfter(const absl::Status& failure);

    Session& session_;
    const uint32_t index_;
    const DeviceSpec device_;
    std::unique_ptr<Executor> executor_;
    // The loop's:
    bool is_tested_ = false;
    std::string self_test_;                     // The sentence, when it failed.
    std::optional<std::string> backend_class_;  // What the executor adds to the numerics class.
    std::optional<LeaseId> running_;
    RoundKey round_;            // Of what runs.
    int deaths_ = 0;            // Since the last slice.
    int leases_gone_ = 0;       // Since the last slice: found out while a blob was fetched.
    std::string last_failure_;  // Said already.
    BackOff failures_{absl::Seconds(1), absl::Minutes(1)};
    absl::Time usable_at_ = absl::InfiniteFuture();  // After a failure: when it is tried again.
  };
  enum class Talk { kWaiting, kJoining, kTalking, kCalling };  // kWaiting: until next_try_.

  void Post(std::function<void()> event) ABSL_LOCKS_EXCLUDED(mutex_);
  // Runs the events that wait, or waits for one until the time is up.
  void WaitForEvents(absl::Time until) ABSL_LOCKS_EXCLUDED(mutex_);
  void End(WorkerEnd end, std::string message);
  void Say(const std::string& sentence) const {
    if (options_.say) options_.say(sentence);
  }

  void OpenFolders();
  absl::StatusOr<Scratch> MakeScratch();
  bool StartExecutors();
  void KeepBusy();
  void StartRun(Slot& slot);
  Slot* SlotThatRuns(LeaseId lease);
  // Bulk data: of which rounds they are in use, and what is owed next.
  void SteerTransfers();
  void OnFetched(LeaseId lease, const std::string& digest, const absl::StatusOr<std::string>& path) override;
  void OnHandedOver(LeaseId lease, Interval interval, const absl::StatusOr<std::string>& digest) override;
  void StopTransfers();
  void Converse();
  // When the next call is due, news or not.
  absl::Time NextCall() const;
  bool WantsToCall() const;
  void Join();
  void Call(bool repeat);
  void OnJoined(const absl::Status& status, const Welcome& welcome);
  void OnExchanged(uint64_t call, const absl::Status& status, const ExchangeReply& reply);
  void OnCallFailed(const absl::Status& status);
  void ConnectionLost(const absl::Status& status);
  void StartDraining(const std::string& why);
  // Says now and then what was handed in, or once that there is no work.
  void TellProgress();
  // When a worker whose session's end is known begins to leave.
  absl::Time LeavesAt() const;
  bool IsFinished() const;
  absl::Time NextDeadline() const;

  const WorkerOptions options_;
  const std::string installation_;
  const std::string platform_;
  const absl::Time started_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Slot>> slots_;

  // The loop's own.
  LeaseBook book_;
  std::unique_ptr<Link> link_;
  std::string cache_;  // The folder.
  Scratch scratch_, shared_scratch_;
  std::unique_ptr<Transfers> transfers_;
  bool is_transferring_ = false;  // The coordinator knows this session's leases.
  std::set<RoundKey> rounds_in_use_, rounds_known_;
  std::string last_refusal_;  // Of a result that was handed over, said already.
  Talk talk_ = Talk::kWaiting;
  absl::Time next_try_ = absl::InfinitePast();
  BackOff back_off_;
  size_t refusals_ = 0;   // In a row: final when every address has refused.
  bool is_lost_ = false;  // It was said that the coordinator cannot be reached.
  bool was_joined_ = false;
  SessionId session_{};
  bool has_session_ = false;
  absl::Duration longest_hold_ = absl::Seconds(20);
  uint64_t seq_ = 0;
  uint64_t call_ = 0;                       // Counts calls; answers of earlier ones are void.
  std::optional<ExchangeRequest> request_;  // Sent, not answered.
  absl::Time last_call_ = absl::InfinitePast();
  absl::Time call_due_ = absl::InfinitePast();  // On a metered link: no sooner, unless a slot has nothing to do.
  absl::Time busy_at_;
  // What was handed in, and what of it was told.
  uint64_t results_ = 0, results_told_ = 0;
  double busy_seconds_ = 0;
  int times_told_ = 0;
  bool is_idle_told_ = false;
  absl::Time tell_at_;
  absl::Time drain_deadline_ = absl::InfiniteFuture();
  std::optional<WorkerEnd> end_;
  std::string end_message_;

  Mutex mutex_;
  CondVar has_events_;
  std::deque<std::function<void()>> events_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace potluck
