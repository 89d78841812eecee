#include "worker/session.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "base/sha256.h"
#include "proto/exchange_codec.h"
#include "worker/installation.h"

namespace potluck {
namespace {

// A lease that runs and one that waits: the way to the coordinator costs no time.
constexpr uint32_t kLeasesASlot = 2;
constexpr absl::Duration kFirstRetry = absl::Milliseconds(500);
constexpr absl::Duration kLongestRetry = absl::Seconds(30);
// An executor that died so often without a slice in between gives its leases back.
constexpr int kDeathsUntilGivenBack = 3;
constexpr absl::Duration kCpuSilenceLimit = absl::Hours(12);
// How an executor calls the kernels that need no library begins.
constexpr char kPortableClass[] = "reference";

std::string SystemName() {
  utsname name{};
  return uname(&name) == 0 ? absl::StrCat(name.sysname, " ", name.release, " ", name.machine) : "unknown";
}

}  // namespace

// ---- Events of the executors, handed to the loop

void Session::Slot::OnReady(const ExecutorReady& ready) {
  session_.Post([this, ready] {
    is_tested_ = true;
    self_test_ = std::string(ready.self_test.message());
    if (self_test_.empty()) {
      if (!backend_class_) backend_class_ = ready.backend_class;
      if (*backend_class_ != ready.backend_class) {
        // It has told the coordinator otherwise, and its results would be compared with those of others.
        self_test_ = absl::StrCat("it computes by ", ready.backend_class, " now, and by ", *backend_class_,
                                  " when this worker was started; restart the worker");
        session_.Say(absl::StrCat(device_.name, ": ", self_test_));
      }
    }
    session_.book_.SetUsable(index_, self_test_.empty());
  });
}

void Session::Slot::OnSlice(LeaseId lease, Interval interval, std::string payload, double busy_seconds) {
  ReportedSlice slice;
  slice.interval = interval;
  slice.lease = lease;
  slice.slot = index_;
  slice.busy_seconds = busy_seconds;
  slice.digest = Sha256(payload);
  slice.payload = std::move(payload);
  TakeSlice(std::move(slice), nullptr);
}

void Session::Slot::OnLargeSlice(LeaseId lease, Interval interval, std::shared_ptr<const ResultFile> payload,
                                 double busy_seconds) {
  ReportedSlice slice;
  slice.interval = interval;
  slice.lease = lease;
  slice.slot = index_;
  slice.busy_seconds = busy_seconds;
  // What fits goes along with the Exchange: one call less, and rounds whose results are stored take no others.
  if (payload->size() <= kMaxSliceBytes && payload->Read(0, payload->size(), slice.payload).ok()) {
    slice.digest = Sha256(slice.payload);
    payload = nullptr;
  }
  TakeSlice(std::move(slice), std::move(payload));
}

void Session::Slot::TakeSlice(ReportedSlice slice, std::shared_ptr<const ResultFile> result) {
  session_.Post([this, slice = std::move(slice), result = std::move(result)]() mutable {
    slice.round = round_;
    deaths_ = 0;
    leases_gone_ = 0;
    last_failure_.clear();
    failures_.Reset();
    session_.book_.SliceDone(std::move(slice), std::move(result));
  });
}

void Session::Slot::OnNeed(LeaseId lease, const std::string& digest) {
  session_.Post([this, lease, digest] {
    if (running_ != lease) return;
    const RoundInfo* const round = session_.book_.FindRound(round_);
    const bool is_bulk =
        round != nullptr && std::find(round->bulk.begin(), round->bulk.end(), digest) != round->bulk.end();
    session_.transfers_->Fetch(lease, digest, is_bulk);
  });
}

void Session::Slot::OnNeedSoon(LeaseId lease, std::vector<std::string> digests) {
  session_.Post([this, lease, digests = std::move(digests)] {
    if (running_ == lease && !session_.book_.draining()) session_.transfers_->Prefetch(digests);
  });
}

void Session::Slot::OnRunOver(LeaseId lease, const absl::Status& status) {
  session_.Post([this, lease, status] {
    running_.reset();
    session_.transfers_->ForgetFetches(lease);
    session_.book_.RunOver(lease);
    // It would fail with the next lease too: others shall have the work, and this device another try later.
    if (!status.ok() && !absl::IsCancelled(status) && !absl::IsAborted(status)) BackOffAfter(status);
  });
}

void Session::Slot::BackOffAfter(const absl::Status& failure) {
  session_.book_.SetUsable(index_, false);
  usable_at_ = MonotonicNow() + failures_.Next(session_.random_);
  if (last_failure_ == failure.message()) return;
  last_failure_ = std::string(failure.message());
  session_.Say(absl::StrCat(device_.name, ": ", last_failure_));
}

void Session::Slot::OnShrunk(LeaseId lease, uint64_t asked, uint64_t end) {
  session_.Post([this, lease, asked, end] { session_.book_.Shrunk(lease, asked, end); });
}

void Session::Slot::OnDied(const absl::Status& status, absl::Duration restart_in) {
  session_.Post([this, status, restart_in] {
    session_.Say(
        absl::StrCat(std::string(status.message()), "; starting it again in ", absl::FormatDuration(restart_in)));
    if (++deaths_ >= kDeathsUntilGivenBack) session_.book_.SetUsable(index_, false);  // Until it is ready again.
  });
}

// ---- The loop

Session::Session(const WorkerOptions& options, std::string installation, std::vector<DeviceSpec> devices)
    : options_(options),
      installation_(std::move(installation)),
      platform_(SystemName()),
      started_(MonotonicNow()),
      random_(std::random_device{}()),
      book_(devices.size(), kLeasesASlot),
      back_off_(kFirstRetry, kLongestRetry),
      busy_at_(started_),
      tell_at_(started_ + options.progress_interval) {
  for (DeviceSpec& device : devices) {
    slots_.push_back(std::make_unique<Slot>(*this, static_cast<uint32_t>(slots_.size()), std::move(device)));
  }
}

Session::~Session() {
  for (auto& slot : slots_) slot->executor_.reset();
}

void Session::Post(std::function<void()> event) {
  MutexLock lock(&mutex_);
  events_.push_back(std::move(event));
  has_events_.Signal();
}

void Session::WaitForEvents(absl::Time until) {
  std::deque<std::function<void()>> events;
  {
    MutexLock lock(&mutex_);
    while (events_.empty()) {
      const absl::Duration wait = until - MonotonicNow();
      if (wait <= absl::ZeroDuration() || !has_events_.WaitFor(&mutex_, wait)) break;
    }
    events.swap(events_);
  }
  for (const auto& event : events) event();
}

void Session::End(WorkerEnd end, std::string message) {
  if (end_) return;
  end_ = end;
  end_message_ = std::move(message);
}

WorkerEnd Session::Run(std::string& message) {
  OpenFolders();
  link_ = std::make_unique<Link>(options_.join);
  transfers_ = std::make_unique<Transfers>(TransferOptions{absl::StrCat(cache_, "/blobs"), options_.cache_bytes,
                                                           scratch_.path(), options_.shared, shared_scratch_.path()},
                                           *this);
  if (StartExecutors()) {
    while (!end_) {
      KeepBusy();
      SteerTransfers();
      Converse();
      if (IsFinished()) End(WorkerEnd::kDrained, "left the table; all that was computed is handed in");
      if (!end_) WaitForEvents(NextDeadline());
    }
  }
  transfers_.reset();
  link_.reset();
  for (auto& slot : slots_) slot->executor_.reset();
  message = end_message_;
  return *end_;
}

void Session::OpenFolders() {
  cache_ = options_.cache.empty() ? CacheDirectory() : options_.cache;
  // Without a home, as service accounts are: what is kept lasts as long as that folder does.
  if (cache_.empty()) cache_ = absl::StrCat("/tmp/potluck-", getuid());
  absl::StatusOr<Scratch> scratch = MakeScratch();
  if (scratch.ok()) {
    scratch_ = *std::move(scratch);
  } else {
    Say(absl::StrCat("jobs with large data cannot be worked on: ", std::string(scratch.status().message())));
  }
  if (options_.shared.empty()) return;
  absl::StatusOr<Scratch> shared = Scratch::Create(options_.shared);
  if (shared.ok()) shared_scratch_ = *std::move(shared);
}

// What changes with every round does not belong on a mounted Drive or bucket: that is slow, and a process that was
// killed leaves behind what nobody can tell from what is in use.
absl::StatusOr<Scratch> Session::MakeScratch() {
  std::error_code ignored;
  std::filesystem::create_directories(cache_, ignored);
  std::string why = absl::StrCat(cache_, " is on a network or FUSE file system");
  if (IsLocalFileSystem(cache_)) {
    absl::StatusOr<Scratch> scratch = Scratch::Create(absl::StrCat(cache_, "/scratch"));
    if (!absl::IsUnimplemented(scratch.status())) return scratch;
    why = std::string(absl::StripSuffix(scratch.status().message(), "."));
  }
  const std::string local = absl::StrCat("/tmp/potluck-", getuid(), "/scratch");
  absl::StatusOr<Scratch> scratch = Scratch::Create(local);
  if (scratch.ok()) Say(absl::StrCat(why, ": data sets are kept there, what changes with every round in ", local));
  return scratch;
}

bool Session::StartExecutors() {
  for (auto& slot : slots_) {
    ExecutorOptions options;
    if (!options_.program.empty()) options.program = options_.program;
    options.device = slot->device_;
    options.scratch = scratch_.path();
    options.shared_scratch = shared_scratch_.path();
    options.slice_seconds = options_.slice_seconds;
    options.when_idle = options_.when_idle;
    // A CPU does not hang as a driver does, and one index of a large board may take it hours.
    if (slot->device_.kind == "cpu") options.silence_limit = kCpuSilenceLimit;
    absl::StatusOr<std::unique_ptr<Executor>> executor = Executor::Create(std::move(options), *slot);
    if (!executor.ok()) {
      End(WorkerEnd::kNoDevice, std::string(executor.status().message()));
      return false;
    }
    slot->executor_ = *std::move(executor);
  }
  const auto is_tested = [](const std::unique_ptr<Slot>& slot) { return slot->is_tested_; };
  while (!end_ && !std::all_of(slots_.begin(), slots_.end(), is_tested)) WaitForEvents(absl::InfiniteFuture());
  if (end_) return false;
  bool has_device = false;
  for (const auto& slot : slots_) {
    has_device = has_device || slot->self_test_.empty();
    if (!slot->self_test_.empty()) Say(absl::StrCat(slot->device_.name, " failed its self-test: ", slot->self_test_));
    if (absl::StartsWith(slot->backend_class_.value_or(""), kPortableClass)) {
      Say(absl::StrCat("networks are trained by the portable kernels, which are slow: ", slot->device_.onednn_plugin,
                       " cannot be used"));
    }
  }
  if (!has_device)
    End(WorkerEnd::kNoDevice, "no device of this machine passed its self-test, so there is nothing to compute on");
  return has_device;
}

void Session::KeepBusy() {
  for (auto& slot : slots_) {
    if (slot->usable_at_ <= MonotonicNow()) {
      slot->usable_at_ = absl::InfiniteFuture();
      book_.SetUsable(slot->index_, slot->self_test_.empty());
    }
    if (!slot->running_ && slot->self_test_.empty()) StartRun(*slot);
  }
  if (!book_.leases().empty()) busy_at_ = MonotonicNow();
  if (book_.draining()) return;
  if (MonotonicNow() - busy_at_ > options_.exit_when_idle) StartDraining("there was no work for a while");
  if (MonotonicNow() >= LeavesAt()) StartDraining("this session is about to end");
  TellProgress();
}

void Session::StartRun(Slot& slot) {
  const std::optional<LeaseBook::Lease> lease = book_.NextToStart(slot.index_);
  if (!lease) return;
  const RoundInfo* round = book_.FindRound(lease->round);
  if (round == nullptr) {
    book_.RunOver(lease->id);  // Cannot be computed without its payload: handed back.
    return;
  }
  book_.Started(lease->id);
  slot.running_ = lease->id;
  slot.round_ = lease->round;
  slot.executor_->Run(lease->id, *round, {lease->next, lease->end}, lease->implementation);
  transfers_->LeaseBegins();
}

Session::Slot* Session::SlotThatRuns(LeaseId lease) {
  for (auto& slot : slots_) {
    if (slot->running_ == lease) return slot.get();
  }
  return nullptr;
}

bool Session::IsFinished() const { return book_.draining() && book_.IsSettled() && !book_.HasNews() && !request_; }

void Session::StartDraining(const std::string& why) {
  if (book_.draining()) return;
  Say(absl::StrCat("leaving (", why, "): finishing what is being computed"));
  book_.StartDraining();
  rounds_known_.clear();  // Nothing is wanted soon any more.
  if (is_lost_) drain_deadline_ = MonotonicNow() + kDrainPatience;
  for (auto& slot : slots_) {
    if (slot->running_) slot->executor_->Shrink(*slot->running_, 0);
  }
  // A call that is held while nobody has anything to say would only delay the leaving.
  if (talk_ == Talk::kCalling && request_ && request_->slices.empty()) link_->Cancel();
}

void Session::TellProgress() {
  const absl::Time now = MonotonicNow();
  if (now < tell_at_ || !was_joined_ || book_.draining()) return;
  constexpr int kOften = 10;
  tell_at_ = now + options_.progress_interval * (++times_told_ < kOften ? 1 : 10);
  if (results_ == results_told_) {
    if (!is_idle_told_ && book_.leases().empty() && !is_lost_) Say("at the table, without work at the moment");
    is_idle_told_ = book_.leases().empty();
    return;
  }
  results_told_ = results_;
  is_idle_told_ = false;
  std::string left;
  if (options_.ends_in != absl::InfiniteDuration()) {
    left = absl::StrCat("; leaves in ", absl::FormatDuration(absl::Trunc(LeavesAt() - now, absl::Minutes(1))));
  }
  Say(absl::StrCat("handed in so far: ", results_, results_ == 1 ? " result, " : " results, ",
                   absl::FormatDuration(absl::Trunc(absl::Seconds(busy_seconds_), absl::Seconds(1))), " of computing",
                   left));
}

absl::Time Session::LeavesAt() const {
  return started_ + options_.ends_in - std::min(kLeaveBefore, options_.ends_in / 2);
}

void Session::Drain() {
  Post([this] {
    if (!was_joined_) return End(WorkerEnd::kDrained, "left before it joined");
    StartDraining("asked to");
  });
}

void Session::StopNow() {
  Post([this] { End(WorkerEnd::kStopped, "stopped; what was being computed is dropped and will be done again"); });
}

absl::Time Session::NextDeadline() const {
  const absl::Time now = MonotonicNow();
  absl::Time deadline = now + absl::Minutes(1);
  if (talk_ == Talk::kWaiting) deadline = std::min(deadline, next_try_);
  if (talk_ == Talk::kTalking) deadline = std::min(deadline, NextCall());
  for (const auto& slot : slots_) deadline = std::min(deadline, slot->usable_at_);
  if (!book_.draining()) {
    deadline = std::min({deadline, LeavesAt(), busy_at_ + options_.exit_when_idle});
  } else if (is_lost_) {
    deadline = std::min(deadline, drain_deadline_);
  }
  return std::max(deadline, now + absl::Milliseconds(1));
}

}  // namespace potluck
