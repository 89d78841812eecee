#include "worker/device_check.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "kernels/nqueens/known.h"
#include "kernels/nqueens/payload.h"
#include "kernels/workload/registry.h"
#include "worker/executor.h"

namespace potluck {
namespace {

constexpr int kSmallestBoard = 12, kLargestBoard = 18;
constexpr double kGrowth = 9;  // More than a board takes longer than the next smaller one.

absl::Status ToAbsl(const Status& status) { return absl::InternalError(status.message()); }

// Collects what the child says. Called on the executor's thread, asked from the caller's.
class Listener : public ExecutorEvents {
 public:
  void OnReady(const ExecutorReady& ready) override {
    MutexLock lock(&mutex_);
    ready_ = ready;
    changed_.SignalAll();
  }
  void OnSlice(LeaseId, Interval interval, std::string payload, double) override {
    MutexLock lock(&mutex_);
    if (planner_ != nullptr && merged_.ok()) merged_ = planner_->Merge(interval, std::move(payload));
  }
  void OnLargeSlice(LeaseId, Interval, std::shared_ptr<const ResultFile>, double) override {}
  void OnNeed(LeaseId, const std::string&) override {}
  void OnNeedSoon(LeaseId, std::vector<std::string>) override {}
  void OnRunOver(LeaseId, const absl::Status& status) override { Over(status); }
  void OnShrunk(LeaseId, uint64_t, uint64_t) override {}
  void OnDied(const absl::Status& status, absl::Duration) override {
    // Of another kind than a run's own failure: the device, or its driver, took the process down.
    Over(absl::AbortedError(status.message()));
  }

  absl::StatusOr<ExecutorReady> WaitUntilReady(absl::Time deadline) {
    MutexLock lock(&mutex_);
    while (!ready_ && !over_ && AwakeNow() < deadline) changed_.WaitFor(&mutex_, deadline - AwakeNow());
    if (ready_) return *ready_;
    return over_ ? *over_ : TooLate();
  }
  // Slices go to `planner` from now on.
  void Expect(Planner* planner) {
    MutexLock lock(&mutex_);
    planner_ = planner;
    over_.reset();
  }
  absl::Status WaitUntilOver(absl::Time deadline) {
    MutexLock lock(&mutex_);
    while (!over_ && AwakeNow() < deadline) changed_.WaitFor(&mutex_, deadline - AwakeNow());
    planner_ = nullptr;
    if (!over_) return TooLate();
    return over_->ok() && !merged_.ok() ? ToAbsl(merged_) : *over_;
  }

 private:
  static absl::Status TooLate() { return absl::DeadlineExceededError("it did not answer in time"); }
  void Over(const absl::Status& status) {
    MutexLock lock(&mutex_);
    if (!over_) over_ = status;
    changed_.SignalAll();
  }

  Mutex mutex_;
  CondVar changed_;
  std::optional<ExecutorReady> ready_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> over_ ABSL_GUARDED_BY(mutex_);
  Planner* planner_ ABSL_GUARDED_BY(mutex_) = nullptr;
  Status merged_ ABSL_GUARDED_BY(mutex_);
};

// Counts the board once; the seconds that it took go into `rate`.
absl::Status Count(Executor& executor, Listener& listener, int n, absl::Time deadline, DeviceRate& rate) {
  const nqueens::Spec spec{.n = static_cast<uint32_t>(n), .algorithm = nqueens::kBacktracking};
  const Result<std::unique_ptr<Planner>> planner = MakePlanner("nqueens", Encode(spec));
  if (!planner.ok()) return ToAbsl(planner.status());
  const Result<std::optional<Round>> round = (*planner)->NextRound(0);
  if (!round.ok()) return ToAbsl(round.status());
  const uint64_t id = static_cast<uint64_t>(n);
  const RoundInfo info{RoundKey{JobId{id}, 0}, "nqueens", (*round)->payload};
  listener.Expect(planner->get());
  const absl::Time start = AwakeNow();
  executor.Run(LeaseId{1, id}, info, {0, (*round)->plan->Size()});
  if (absl::Status status = listener.WaitUntilOver(deadline); !status.ok()) return status;
  rate.n = n;
  rate.seconds = absl::ToDoubleSeconds(AwakeNow() - start);
  const Result<nqueens::Counts> counts = nqueens::DecodeCounts((*planner)->Summary());
  if (!counts.ok()) return ToAbsl(counts.status());
  if (counts->solutions != *nqueens::KnownSolutions(n)) {
    return absl::InternalError(absl::StrCat("it counted ", counts->solutions.ToString(), " solutions of ", n,
                                            " queens; right is ", nqueens::KnownSolutions(n)->ToString()));
  }
  rate.nodes_per_second = counts->nodes.ToDouble() / rate.seconds;
  rate.solutions_per_second = counts->solutions.ToDouble() / rate.seconds;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DeviceRate> CheckDevice(const DeviceSpec& device, const DeviceCheckOptions& options) {
  const absl::Time deadline = AwakeNow() + options.limit;
  Listener listener;
  ExecutorOptions executor_options;
  executor_options.program = options.program;
  executor_options.device = device;
  executor_options.start_limit = options.limit;
  absl::StatusOr<std::unique_ptr<Executor>> executor = Executor::Create(std::move(executor_options), listener);
  if (!executor.ok()) return executor.status();
  const absl::StatusOr<ExecutorReady> ready = listener.WaitUntilReady(deadline);
  if (!ready.ok()) return ready.status();
  if (!ready->self_test.ok()) return absl::InternalError(ready->self_test.message());
  DeviceRate rate;
  rate.self_test = ready->self_test_time;
  rate.backend_class = ready->backend_class;
  for (int n = kSmallestBoard; n <= kLargestBoard; ++n) {
    if (absl::Status status = Count(**executor, listener, n, deadline, rate); !status.ok()) return status;
    if (rate.seconds * kGrowth > absl::ToDoubleSeconds(options.about)) break;
  }
  return rate;
}

}  // namespace potluck
