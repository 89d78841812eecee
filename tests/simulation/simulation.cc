#include "tests/simulation/simulation.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/core/core.h"
#include "coordinator/store/memory_store.h"
#include "base/sha256.h"
#include "tests/simulation/fake_workload.h"
#include "worker/lease_book.h"

namespace potluck::simulation {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(30);
constexpr absl::Duration kFaultsEnd = absl::Seconds(120);
constexpr absl::Duration kDeadline = absl::Minutes(60);
constexpr absl::Duration kLongestIdle = absl::Seconds(45);  // Of a healthy worker while there is free work.

struct Chances {
  double lose_message = 0;
  double double_request = 0;
  bool crashes = false;
  bool freezes = false;
  bool restarts = false;
  bool clock_jumps = false;
  bool retractions = false;
  bool pauses = false;
};

class Simulation {
 public:
  Simulation(uint64_t seed, SchedulerDefect defect) : random_(seed), defect_(defect) {
    Draw();
    StartCoordinator();
    for (size_t i = 0; i < workers_.size(); ++i) At(Milliseconds(0, 3000), [this, i] { Join(i); });
    PlanFaults();
  }

  Outcome Run() {
    while (!queue_.empty() && outcome_.failure.empty() && !AllDone()) {
      auto event = queue_.extract(queue_.begin());
      now_ = std::max(now_, event.key().first);
      if (now_ - start_ > kDeadline) {
        Fail(absl::StrCat("not finished after ", absl::FormatDuration(kDeadline), " ", DescribeRounds()));
        break;
      }
      event.mapped()();
      ++outcome_.events;
      CheckInvariants();
    }
    if (outcome_.failure.empty() && !AllDone()) Fail("nothing happens any more");
    if (outcome_.failure.empty()) CheckResults();
    return outcome_;
  }

 private:
  struct Worker {
    explicit Worker(uint32_t capacity) : book(1, capacity) {}
    LeaseBook book;
    double speed = 1;  // Indices per second.
    bool up = false;
    absl::Time frozen_until = absl::InfinitePast();
    bool joined = false;
    SessionId session{};
    uint64_t seq = 0;
    std::optional<ExchangeRequest> request;  // Sent and not answered.
    std::set<CallId> calls;                  // Its transports.
    uint64_t life = 0;                       // Raised by a crash: what was planned before is void.
    std::optional<LeaseId> running;
    uint64_t claimed = 0;
    uint64_t run = 0;  // Raised when a run is cancelled.
    std::optional<absl::Time> idle_since;
    bool pump_planned = false;
  };
  struct JobPlan {
    std::string request_id;
    uint32_t rounds = 1;
    uint64_t size = 1;
    double weight = 1;
    std::optional<JobId> id;
  };

  // ---- Randomness and time
  uint64_t Uniform(uint64_t low, uint64_t high) { return std::uniform_int_distribution<uint64_t>(low, high)(random_); }
  bool Chance(double p) { return std::uniform_real_distribution<double>(0, 1)(random_) < p; }
  absl::Duration Milliseconds(uint64_t low, uint64_t high) { return absl::Milliseconds(Uniform(low, high)); }
  void At(absl::Duration after, std::function<void()> event) {
    queue_.emplace(std::pair(now_ + after, order_++), std::move(event));
  }
  Instant Now() const { return {now_, now_ + wall_offset_}; }
  void Fail(std::string what) {
    if (outcome_.failure.empty()) outcome_.failure = std::move(what);
  }

  void Draw() {
    const size_t workers = Uniform(1, 8);
    for (size_t i = 0; i < workers; ++i) {
      workers_.push_back(std::make_unique<Worker>(static_cast<uint32_t>(Uniform(1, 2))));
      workers_.back()->speed = static_cast<double>(Uniform(1, 40)) / 2;
    }
    const size_t jobs = Uniform(1, 2);
    for (size_t i = 0; i < jobs; ++i) {
      JobPlan job;
      job.request_id = absl::StrCat("job-", i);
      job.rounds = static_cast<uint32_t>(Uniform(1, 3));
      job.size = Uniform(1, 300);
      job.weight = static_cast<double>(Uniform(1, 4));
      jobs_.push_back(job);
    }
    if (Chance(0.25)) return;  // A calm run: nothing goes wrong, so nothing may be refused either.
    calm_ = false;
    chances_.lose_message = Chance(0.6) ? 0.1 : 0;
    chances_.double_request = Chance(0.5) ? 0.1 : 0;
    chances_.crashes = Chance(0.6);
    chances_.freezes = Chance(0.6);
    chances_.restarts = Chance(0.5);
    chances_.clock_jumps = Chance(0.3);
    chances_.retractions = Chance(0.4);
    chances_.pauses = Chance(0.3);
  }

  void PlanFaults() {
    for (absl::Duration at; (at += Milliseconds(200, 6000)) < kFaultsEnd;) At(at, [this] { Fault(); });
    // Then everything is well again: what is left must get done.
    At(kFaultsEnd + absl::Seconds(1), [this] { Heal(); });
  }

  void Heal() {
    chances_ = {};
    faults_are_over_ = true;
    if (!core_) return At(absl::Seconds(1), [this] { Heal(); });
    for (size_t i = 0; i < workers_.size(); ++i) {
      if (!workers_[i]->up) Join(i);
    }
    for (const JobPlan& job : jobs_) {
      if (job.id) Handle(core_->Change(Now(), NewCall(), *job.id, {.paused = false}));
    }
  }

  void Fault() {
    const size_t i = Uniform(0, workers_.size() - 1);
    switch (Uniform(0, 5)) {
      case 0:
        if (chances_.crashes) Crash(i);
        break;
      case 1:
        if (chances_.freezes) Freeze(i);
        break;
      case 2:
        if (chances_.restarts) CrashCoordinator();
        break;
      case 3:
        if (chances_.clock_jumps) {
          now_ += Milliseconds(1000, 200000);  // The machine slept.
          wall_offset_ += absl::Seconds(1000) - Milliseconds(0, 2000000);
        }
        break;
      case 4:
        if (chances_.retractions) RetractSomething();
        break;
      case 5:
        if (chances_.pauses && core_) {
          const JobPlan& job = jobs_[Uniform(0, jobs_.size() - 1)];
          if (job.id) Handle(core_->Change(Now(), NewCall(), *job.id, {.paused = Chance(0.5)}));
        }
        break;
    }
  }

  // ---- The coordinator and its store
  void StartCoordinator() {
    CoreOptions options;
    options.scheduler.epoch = Epoch{++epoch_};
    options.scheduler.lease_time = absl::Seconds(10);
    options.scheduler.disconnect_grace = absl::Seconds(2);
    options.scheduler.target_unit = absl::Seconds(8);
    options.scheduler.defect = defect_;
    options.longest_hold = absl::Seconds(4);
    core_ = std::make_unique<Core>(options, [this](const std::string& workload, const std::string& spec) {
      const auto fields = FieldReader::Parse(spec);
      (void)workload;
      return Result<std::unique_ptr<Planner>>(
          std::make_unique<FakePlanner>(static_cast<uint32_t>(fields->Number(1)), fields->Number(2)));
    });
    ++core_life_;
    Handle(core_->Recover(Now(), facts_.Contents()));
    for (JobPlan& job : jobs_) Submit(job);
  }

  void Submit(JobPlan& job) {
    FieldWriter spec;
    spec.Uint(1, job.rounds);
    spec.Uint(2, job.size);
    JobSubmitted submitted;
    submitted.request_id = job.request_id;
    submitted.workload = "fake";
    submitted.spec = spec.Take();
    submitted.weight = job.weight;
    const CallId call = NewCall();
    submits_[call] = &job;
    Handle(core_->Submit(Now(), call, submitted));
  }

  void CrashCoordinator() {
    if (!core_) return;
    ++outcome_.restarts;
    core_.reset();
    ++core_life_;
    // Any beginning of what was on its way may have reached the disk; its acknowledgement is lost all the same.
    size_t survive = Uniform(0, appends_.size());
    for (; survive > 0; --survive, appends_.pop_front()) {
      for (const Fact& fact : appends_.front().facts) facts_.Write(fact);
    }
    appends_.clear();
    for (auto& worker : workers_) {
      for (const CallId call : worker->calls) CallFailed(*worker, call, absl::UnavailableError("connection lost"));
    }
    At(Milliseconds(100, 15000), [this] { StartCoordinator(); });
  }

  void StoreNext() {
    if (appends_.empty()) return;
    const Outbox::AppendFacts append = std::move(appends_.front());
    appends_.pop_front();
    std::vector<Verdict> verdicts;
    for (const Fact& fact : append.facts) verdicts.push_back(facts_.Write(fact));
    Handle(core_->Stored(Now(), append.id, absl::OkStatus(), verdicts));
  }

  void RetractSomething() {
    if (!core_) return;
    const JobPlan& job = jobs_[Uniform(0, jobs_.size() - 1)];
    if (!job.id) return;
    const std::optional<JobView> view = core_->Find(*job.id);
    std::vector<Interval> committed;
    const RoundKey key{*job.id, view ? view->round : 0};
    facts_.ForEachSlice(key, [&](const SliceCommitted& slice) { committed.push_back(slice.interval); });
    if (committed.empty()) return;
    ++outcome_.retractions;
    Handle(core_->Retract(Now(), NewCall(), key, committed[Uniform(0, committed.size() - 1)], "drawn"));
  }

  void Handle(Outbox outbox) {
    const uint64_t life = core_life_;
    for (Outbox::AppendFacts& append : outbox.appends) {
      appends_.push_back(std::move(append));
      At(Milliseconds(1, Chance(0.1) ? 2000 : 20), [this, life] {
        if (life == core_life_) StoreNext();
      });
    }
    for (Outbox::ExchangeAnswer& answer : outbox.exchanges) Respond(std::move(answer));
    for (const Outbox::RequestAnswer& answer : outbox.requests) {
      if (const auto it = submits_.find(answer.call); it != submits_.end() && answer.status.ok()) it->second->id = answer.job;
    }
    for (const RoundKey key : outbox.rebuilds) {
      std::vector<SliceCommitted> slices;
      facts_.ForEachSlice(key, [&](const SliceCommitted& slice) { slices.push_back(slice); });
      Handle(core_->Rebuild(Now(), key, slices));
    }
    if (!core_) return;
    const absl::Time deadline = core_->NextDeadline();
    if (deadline != absl::InfiniteFuture()) {
      At(std::max(deadline - now_, absl::ZeroDuration()), [this, life] {
        if (life == core_life_ && core_->NextDeadline() <= now_) Handle(core_->Tick(Now()));
      });
    }
  }

  // ---- Workers
  void Join(size_t i) {
    Worker& worker = *workers_[i];
    worker.up = true;
    worker.joined = false;
    worker.request.reset();
    worker.calls.clear();
    worker.seq = 0;
    const uint64_t life = worker.life;
    if (!core_ || Frozen(worker)) {
      At(Milliseconds(200, 3000), [this, i, life] {
        if (workers_[i]->life == life && !workers_[i]->joined) Join(i);
      });
      return;
    }
    JoinRequest request;
    request.session = worker.session = SessionId{++last_session_};
    request.installation = request.name = absl::StrCat("worker-", i);
    request.devices.resize(1);
    Outbox outbox;
    if (!core_->Join(Now(), request, outbox).ok()) return Fail("a worker was turned away");
    worker.joined = true;
    Handle(std::move(outbox));
    Pump(i);
  }

  bool Frozen(const Worker& worker) const { return worker.frozen_until > now_; }

  void Crash(size_t i) {
    Worker& worker = *workers_[i];
    if (!worker.up) return;
    ++worker.life;
    worker.up = worker.joined = false;
    const bool is_noticed = Chance(0.5);
    for (const CallId call : worker.calls) {
      call_owner_.erase(call);
      if (is_noticed && core_) Handle(core_->CallLost(Now(), call));
    }
    worker.calls.clear();
    worker.request.reset();
    worker.running.reset();
    ++worker.run;
    worker.idle_since.reset();
    if (Chance(0.7)) worker.book = LeaseBook(1, 2);  // Else only its network was gone, or it kept its book.
    for (const LeaseBook::Lease& lease : std::vector(worker.book.leases())) {
      if (lease.started) worker.book.RunOver(lease.id);
    }
    const uint64_t life = worker.life;
    if (Chance(0.8)) {
      At(Milliseconds(100, 40000), [this, i, life] {
        if (workers_[i]->life == life && !workers_[i]->up) Join(i);
      });
    }
  }

  void Freeze(size_t i) {
    Worker& worker = *workers_[i];
    worker.frozen_until = now_ + Milliseconds(500, 40000);
    worker.idle_since.reset();
    At(worker.frozen_until - now_, [this, i] { Pump(i); });
  }

  // Starts what can be started and says what is to be said.
  void Pump(size_t i) {
    Worker& worker = *workers_[i];
    if (!worker.up || !worker.joined || Frozen(worker)) return;
    if (!worker.running) {
      if (const auto lease = worker.book.NextToStart(0)) {
        worker.book.Started(lease->id);
        worker.running = lease->id;
        NextSlice(i, lease->next);
      }
    }
    const bool is_waiting = worker.request.has_value();
    if (is_waiting && !(worker.book.HasNews() && worker.request->slices.empty() && !worker.request->no_wait)) return;
    if (!is_waiting || worker.book.HasNews()) {
      for (const CallId call : worker.calls) call_owner_.erase(call);
      worker.calls.clear();
      worker.request = worker.book.BuildRequest(worker.session, ++worker.seq);
      Call(i);
    }
  }

  const LeaseBook::Lease* Running(const Worker& worker) const {
    for (const LeaseBook::Lease& lease : worker.book.leases()) {
      if (worker.running && lease.id == *worker.running) return &lease;
    }
    return nullptr;
  }

  void NextSlice(size_t i, uint64_t begin) {
    Worker& worker = *workers_[i];
    const LeaseBook::Lease* lease = Running(worker);
    if (lease == nullptr || begin >= lease->end) {
      worker.book.RunOver(*worker.running);
      worker.running.reset();
      return Pump(i);
    }
    worker.claimed = std::min(lease->end, begin + Uniform(1, 12));
    const Interval interval{begin, worker.claimed};
    const double seconds = static_cast<double>(interval.size()) / worker.speed;
    At(absl::Seconds(seconds), [this, i, interval, seconds, round = lease->round, id = lease->id, run = worker.run] {
      FinishSlice(i, run, round, id, interval, seconds);
    });
  }

  void FinishSlice(size_t i, uint64_t run, RoundKey round, LeaseId id, Interval interval, double seconds) {
    Worker& worker = *workers_[i];
    if (worker.run != run || !worker.up) return;
    if (Frozen(worker)) {
      At(worker.frozen_until - now_, [=, this] { FinishSlice(i, run, round, id, interval, seconds); });
      return;
    }
    ReportedSlice slice;
    slice.round = round;
    slice.interval = interval;
    slice.lease = id;
    slice.busy_seconds = seconds;
    slice.payload = PayloadOf(SumOf(round.round, interval));
    slice.digest = Sha256(slice.payload);
    worker.book.SliceDone(std::move(slice));
    NextSlice(i, interval.end);
    Pump(i);
  }

  // ---- The network between them
  CallId NewCall() { return CallId{++last_call_}; }

  void Call(size_t i) {
    Worker& worker = *workers_[i];
    const CallId call = NewCall();
    worker.calls.insert(call);
    call_owner_[call] = i;
    const int copies = Chance(chances_.double_request) ? 2 : 1;
    for (int copy = 0; copy < copies; ++copy) {
      if (Chance(chances_.lose_message)) continue;
      const CallId id = copy == 0 ? call : NewCall();
      At(Milliseconds(1, 60), [this, id, request = *worker.request, life = worker.life, i] {
        if (!core_) {
          if (workers_[i]->life == life) CallFailed(*workers_[i], id, absl::UnavailableError("no coordinator"));
          return;
        }
        Handle(core_->Exchange(Now(), id, request));
      });
    }
    At(kCallTimeout, [this, i, call] {
      if (workers_[i]->calls.contains(call)) CallFailed(*workers_[i], call, absl::DeadlineExceededError("timeout"));
    });
  }

  void Respond(Outbox::ExchangeAnswer answer) {
    if (Chance(chances_.lose_message)) return;
    At(Milliseconds(1, 60), [this, answer = std::move(answer)] {
      const auto it = call_owner_.find(answer.call);
      if (it == call_owner_.end()) return;
      const size_t i = it->second;
      Worker& worker = *workers_[i];
      if (Frozen(worker)) {
        At(worker.frozen_until - now_, [this, answer] { Respond(answer); });
        return;
      }
      if (!answer.status.ok()) return CallFailed(worker, answer.call, answer.status);
      Receive(i, answer.reply);
    });
  }

  void Receive(size_t i, const ExchangeReply& reply) {
    Worker& worker = *workers_[i];
    for (const CallId call : worker.calls) call_owner_.erase(call);
    worker.calls.clear();
    if (!worker.request || reply.seq != worker.request->seq) return Fail("a reply to another seq arrived");
    const ExchangeRequest sent = *std::move(worker.request);
    worker.request.reset();
    for (const SliceAnswer& answer : reply.answers) {
      outcome_.repeats += answer.verdict == SliceVerdict::kRepeat;
      outcome_.overlaps += answer.verdict == SliceVerdict::kOverlap;
      if (answer.verdict == SliceVerdict::kInvalid) Fail(absl::StrCat("refused as invalid: ", answer.message));
      if (answer.verdict == SliceVerdict::kDisagreement) Fail("honest workers are said to disagree");
      if (calm_ && answer.verdict != SliceVerdict::kCommitted) Fail("a slice was not counted although nothing went wrong");
    }
    const LeaseBook::Actions actions = worker.book.Apply(sent, reply);
    outcome_.shrinks += reply.orders.shrunk.size();
    for (const Shrink& shrink : actions.shrink) worker.book.Shrunk(shrink.lease, shrink.end, std::max(shrink.end, worker.claimed));
    for (const LeaseId lease : actions.cancel) {
      if (worker.running != lease) continue;
      ++worker.run;
      worker.running.reset();
    }
    Pump(i);
  }

  void CallFailed(Worker& worker, CallId call, const absl::Status& status) {
    const auto it = call_owner_.find(call);
    if (it == call_owner_.end()) return;
    const size_t i = it->second;
    call_owner_.erase(it);
    At(Milliseconds(50, 1000), [this, i, call, status, life = worker.life] {
      Worker& later = *workers_[i];
      if (later.life != life || later.calls.erase(call) == 0 || !later.request) return;
      if (absl::IsNotFound(status) || absl::IsAborted(status)) return Join(i);
      Call(i);  // The same seq again.
    });
  }

  // ---- What must hold
  void CheckInvariants() {
    if (!core_) return;
    for (const JobPlan& job : jobs_) {
      if (!job.id) continue;
      const std::optional<JobView> view = core_->Find(*job.id);
      if (!view) continue;
      CheckRound({*job.id, view->round});
    }
    CheckNobodyStarves();
  }

  void CheckRound(RoundKey key) {
    if (!core_->scheduler().IsOpen(key)) return;
    const RoundState state = core_->scheduler().Inspect(key);
    IntervalSet all;
    const auto place = [&](const IntervalSet& set, const char* where) {
      for (const Interval interval : set.Intervals()) {
        if (all.Overlaps(interval)) Fail(absl::StrCat(ToString(interval), " is in two places, one being ", where));
        all.Add(interval);
      }
    };
    place(state.free, "free");
    place(state.pending, "pending");
    place(state.committed, "committed");
    for (const RoundState::LeaseView& lease : state.leases) place(lease.rest, "leased");
    if (all != IntervalSet{{0, state.size}}) {
      Fail(absl::StrCat("lost: ", ToString(all.Complement({0, state.size})), " of [0, ", state.size, ")"));
    }
    IntervalSet stored;
    facts_.ForEachSlice(key, [&](const SliceCommitted& slice) { stored.Add(slice.interval); });
    IntervalSet not_stored = state.committed;
    not_stored.Remove(stored);
    if (!not_stored.empty()) Fail(absl::StrCat("counted but not stored: ", ToString(not_stored)));
  }

  bool HasFreeWork() const {
    for (const JobPlan& job : jobs_) {
      const std::optional<JobView> view = job.id ? core_->Find(*job.id) : std::nullopt;
      if (!view || view->state != JobState::kRunning) continue;
      if (!core_->scheduler().Inspect({*job.id, view->round}).free.empty()) return true;
    }
    return false;
  }

  void CheckNobodyStarves() {
    const bool has_work = faults_are_over_ && HasFreeWork();
    for (size_t i = 0; i < workers_.size(); ++i) {
      Worker& worker = *workers_[i];
      const bool is_idle = has_work && worker.joined && !Frozen(worker) && worker.book.leases().empty();
      if (!is_idle) {
        worker.idle_since.reset();
      } else if (!worker.idle_since) {
        worker.idle_since = now_;
      } else if (now_ - *worker.idle_since > kLongestIdle) {
        Fail(absl::StrCat("worker ", i, " starves while there is free work: ", worker.calls.size(), " calls, seq ", worker.seq,
                          worker.book.HasNews() ? ", with news" : "", DescribeRounds()));
      }
    }
  }

  bool AllDone() const {
    if (!core_) return false;
    for (const JobPlan& job : jobs_) {
      const std::optional<JobView> view = job.id ? core_->Find(*job.id) : std::nullopt;
      if (!view || view->state != JobState::kDone) return false;
    }
    return true;
  }

  void CheckResults() {
    for (const StoredJob& stored : facts_.Contents().jobs) {
      const JobPlan* plan = nullptr;
      for (const JobPlan& job : jobs_) plan = job.id == stored.submitted.job ? &job : plan;
      if (plan == nullptr) return Fail("a job was made twice");
      uint64_t expected = 0;
      for (uint32_t round = 0; round < plan->rounds; ++round) {
        expected += SumOf(round, {0, plan->size});
        IntervalSet stored_set;
        uint64_t count = 0;
        facts_.ForEachSlice({stored.submitted.job, round}, [&](const SliceCommitted& slice) {
          stored_set.Add(slice.interval);
          count += slice.interval.size();
        });
        if (count != plan->size || stored_set != IntervalSet{{0, plan->size}}) Fail("the ledger does not cover a round exactly once");
      }
      if (stored.ended.result != PayloadOf(expected)) Fail("the total is wrong");
    }
  }

  std::string DescribeRounds() const {
    std::string text;
    for (const JobPlan& job : jobs_) {
      const std::optional<JobView> view = job.id && core_ ? core_->Find(*job.id) : std::nullopt;
      if (!view) continue;
      const RoundState state = core_->scheduler().Inspect({*job.id, view->round});
      absl::StrAppend(&text, "; job ", ToString(*job.id), " round ", view->round, " free ", ToString(state.free), " pending ",
                      ToString(state.pending), " leases ", state.leases.size());
    }
    return text;
  }

  std::mt19937_64 random_;
  const SchedulerDefect defect_;
  Chances chances_;
  bool calm_ = true;
  bool faults_are_over_ = false;
  const absl::Time start_ = absl::FromUnixSeconds(1'000'000);
  absl::Time now_ = start_;
  absl::Duration wall_offset_ = absl::Hours(1000);
  std::map<std::pair<absl::Time, uint64_t>, std::function<void()>> queue_;
  uint64_t order_ = 0;

  MemoryFacts facts_;
  std::deque<Outbox::AppendFacts> appends_;
  std::unique_ptr<Core> core_;
  uint64_t core_life_ = 0;
  uint64_t epoch_ = 0;
  std::vector<JobPlan> jobs_;
  std::map<CallId, JobPlan*> submits_;

  std::vector<std::unique_ptr<Worker>> workers_;
  std::map<CallId, size_t> call_owner_;
  uint64_t last_call_ = 0;
  uint64_t last_session_ = 0;
  Outcome outcome_;
};

}  // namespace

Outcome Simulate(uint64_t seed, SchedulerDefect defect) { return Simulation(seed, defect).Run(); }

}  // namespace potluck::simulation
