#include "coordinator/service/driver.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"

namespace potluck {

Driver::Driver(CoreOptions options, PlannerFactory planners, BlobReader blobs, StateWriter write_state, Store& store,
               Log log)
    : store_(store),
      write_state_(std::move(write_state)),
      log_(std::move(log)),
      core_(std::move(options), std::move(planners), std::move(blobs)) {}

Driver::~Driver() { Stop(); }

Instant Driver::Now() { return {MonotonicNow(), absl::Now()}; }

void Driver::Recover(const StoreContents& contents) {
  Do([&contents](Core& core, Instant now) { return core.Recover(now, contents); });
}

void Driver::Start() {
  timer_ = std::thread([this] { KeepDeadlines(); });
  saver_ = std::thread([this] { WriteStates(); });
}

void Driver::Stop() {
  Do([](Core& core, Instant now) { return core.Stop(now); });  // Has no effect the second time.
  {
    MutexLock lock(&mutex_);
    stopped_ = true;
    changed_.SignalAll();
  }
  {
    MutexLock lock(&saves_mutex_);
    saves_stopped_ = true;
    saves_changed_.SignalAll();
  }
  if (timer_.joinable()) timer_.join();
  if (saver_.joinable()) saver_.join();
  {
    // What is being performed may call observers, who may be gone soon.
    MutexLock lock(&mutex_);
    while (performing_) changed_.Wait(&mutex_);
  }
  AnswerAll(absl::UnavailableError("the coordinator is stopping"));
}

void Driver::AnswerAll(const absl::Status& status) {
  std::map<CallId, ExchangeDone> exchanges;
  std::map<CallId, RequestDone> requests;
  {
    MutexLock lock(&calls_mutex_);
    exchanges.swap(exchanges_);
    requests.swap(requests_);
  }
  for (auto& [call, done] : exchanges) done(status, {});
  for (auto& [call, done] : requests) done(status, {});
}

void Driver::Do(const Event& event) {
  bool is_stopped = false;
  {
    MutexLock lock(&mutex_);
    is_stopped = stopped_;
    if (!is_stopped) {
      outgoing_.push_back(event(core_, Now()));
      const absl::Time deadline = core_.NextDeadline();
      if (deadline < deadline_) changed_.SignalAll();
      deadline_ = deadline;
      if (performing_) return;  // Whoever performs comes to it.
      performing_ = true;
    }
  }
  if (is_stopped) return AnswerAll(absl::UnavailableError("the coordinator is stopping"));
  Perform();
}

void Driver::Perform() {
  for (;;) {
    Outbox outbox;
    {
      MutexLock lock(&mutex_);
      if (outgoing_.empty()) {
        performing_ = false;
        changed_.SignalAll();
        return;
      }
      outbox = std::move(outgoing_.front());
      outgoing_.pop_front();
    }
    PerformOne(outbox);
  }
}

void Driver::PerformOne(Outbox& outbox) {
  for (const std::string& sentence : outbox.log) log_(sentence);
  if (!outbox.fatal.ok()) Fail(outbox.fatal);
  for (Outbox::AppendFacts& append : outbox.appends) {
    store_.Append(store_.epoch(), std::move(append.facts),
                  [this, id = append.id](const absl::Status& status, const std::vector<Verdict>& verdicts) {
                    Do([&](Core& core, Instant now) { return core.Stored(now, id, status, verdicts); });
                  });
  }
  if (!outbox.saves.empty()) {
    MutexLock lock(&saves_mutex_);
    for (Outbox::SaveState& save : outbox.saves) saves_.push_back(std::move(save));
    saves_changed_.SignalAll();
  }
  for (const RoundKey key : outbox.rebuilds) ReadForRebuild(key);
  for (const Outbox::Distrust& distrust : outbox.distrusted) RetractAllOf(distrust);
  for (const Outbox::ExchangeAnswer& answer : outbox.exchanges) Answer(answer);
  std::function<void(JobId)> on_job_ended;
  std::function<void()> on_blobs_released;
  if (outbox.collect_blobs || !outbox.ended_jobs.empty()) {
    MutexLock lock(&mutex_);
    on_job_ended = on_job_ended_;
    on_blobs_released = on_blobs_released_;
  }
  if (outbox.collect_blobs && on_blobs_released) on_blobs_released();
  for (const Outbox::RequestAnswer& answer : outbox.requests) Answer(answer);
  for (const JobId job : outbox.ended_jobs) {
    if (on_job_ended) on_job_ended(job);
  }
}

void Driver::WriteStates() {
  for (;;) {
    Outbox::SaveState save;
    {
      MutexLock lock(&saves_mutex_);
      while (saves_.empty() && !saves_stopped_) saves_changed_.Wait(&saves_mutex_);
      if (saves_stopped_) return;
      save = std::move(saves_.front());
      saves_.pop_front();
    }
    write_state_(save.parts, [this, &save](const absl::StatusOr<std::string>& digest) {
      save.parts.clear();  // The planner may use their memory again.
      Do([&](Core& core, Instant now) { return core.StateWritten(now, save.id, digest); });
    });
  }
}

void Driver::ReadForRebuild(RoundKey key) {
  std::vector<SliceCommitted> slices;
  const absl::Status read = store_.ForEachSlice(key, [&](const SliceCommitted& slice) { slices.push_back(slice); });
  if (!read.ok()) return Fail(read);
  std::vector<SliceVerified> verifications;
  const absl::Status verified =
      store_.ForEachVerification(key, [&](const SliceVerified& one) { verifications.push_back(one); });
  if (!verified.ok()) return Fail(verified);
  Do([&](Core& core, Instant now) { return core.Rebuild(now, key, slices, verifications); });
}

void Driver::RetractAllOf(const Outbox::Distrust& distrust) {
  std::vector<Interval> intervals;
  const absl::Status read = store_.ForEachSlice(distrust.round, [&](const SliceCommitted& slice) {
    if (slice.worker == distrust.worker) intervals.push_back(slice.interval);
  });
  if (!read.ok()) return Fail(read);
  Do([&](Core& core, Instant now) { return core.RetractDistrusted(now, distrust, intervals); });
}

void Driver::WaitForSessions(size_t count, absl::Duration limit) {
  const absl::Time end = AwakeNow() + limit;
  MutexLock lock(&mutex_);
  while (!stopped_ && core_.SessionCount() < count) {
    const absl::Duration wait = end - AwakeNow();
    if (wait <= absl::ZeroDuration()) return;
    changed_.WaitFor(&mutex_, wait);  // Signalled whenever an event has been dealt with.
  }
}

void Driver::KeepDeadlines() {
  for (;;) {
    {
      MutexLock lock(&mutex_);
      for (;;) {
        if (stopped_) return;
        const absl::Duration wait = deadline_ - Now().monotonic;
        if (wait <= absl::ZeroDuration()) break;
        changed_.WaitFor(&mutex_, wait);
      }
    }
    Do([](Core& core, Instant now) { return core.Tick(now); });
  }
}

CallId Driver::Await(ExchangeDone done) {
  MutexLock lock(&calls_mutex_);
  const CallId call{++last_call_};
  exchanges_.emplace(call, std::move(done));
  return call;
}

CallId Driver::Await(RequestDone done) {
  MutexLock lock(&calls_mutex_);
  const CallId call{++last_call_};
  requests_.emplace(call, std::move(done));
  return call;
}

bool Driver::Forget(CallId call) {
  MutexLock lock(&calls_mutex_);
  return exchanges_.erase(call) + requests_.erase(call) > 0;
}

void Driver::Answer(const Outbox::ExchangeAnswer& answer) {
  ExchangeDone done;
  {
    MutexLock lock(&calls_mutex_);
    const auto it = exchanges_.find(answer.call);
    if (it == exchanges_.end()) return;
    done = std::move(it->second);
    exchanges_.erase(it);
  }
  done(answer.status, answer.reply);
}

void Driver::Answer(const Outbox::RequestAnswer& answer) {
  RequestDone done;
  {
    MutexLock lock(&calls_mutex_);
    const auto it = requests_.find(answer.call);
    if (it == requests_.end()) return;
    done = std::move(it->second);
    requests_.erase(it);
  }
  done(answer.status, answer.job);
}

void Driver::Append(std::vector<Fact> facts, std::function<void(const absl::Status&)> done) {
  store_.Append(store_.epoch(), std::move(facts),
                [this, done = std::move(done)](const absl::Status& status, const std::vector<Verdict>&) {
                  if (absl::IsAborted(status) || absl::IsDataLoss(status)) Fail(status);
                  done(status);
                });
}

void Driver::OnJobEnded(std::function<void(JobId)> observer) {
  MutexLock lock(&mutex_);
  on_job_ended_ = std::move(observer);
}

void Driver::OnBlobsReleased(std::function<void()> observer) {
  MutexLock lock(&mutex_);
  on_blobs_released_ = std::move(observer);
}

void Driver::Fail(const absl::Status& status) {
  MutexLock lock(&mutex_);
  if (failure_.ok()) failure_ = status;
  changed_.SignalAll();
}

absl::Status Driver::Wait() {
  MutexLock lock(&mutex_);
  while (!stopped_ && failure_.ok()) changed_.Wait(&mutex_);
  return failure_;
}

}  // namespace potluck
