#include "tests/simulation/simulation.h"

#include "absl/strings/str_cat.h"
#include "tests/simulation/fake_workload.h"
#include "tests/simulation/world.h"

namespace potluck::simulation {
namespace {

constexpr absl::Duration kFaultsEnd = absl::Seconds(120);
constexpr absl::Duration kDeadline = absl::Minutes(60);

}  // namespace

Simulation::Simulation(uint64_t seed, const Rules& rules) : random_(seed), rules_(rules) {
  Draw();
  StartCoordinator();
  for (size_t i = 0; i < workers_.size(); ++i) At(Milliseconds(0, 3000), [this, i] { Join(i); });
  PlanFaults();
}

Outcome Simulation::Run() {
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

void Simulation::Draw() {
  const size_t liars = rules_.liars ? Uniform(1, 2) : 0;
  const size_t workers = rules_.verify > 0 ? Uniform(2, 5) + liars : Uniform(1, 8);
  for (size_t i = 0; i < workers; ++i) {
    workers_.push_back(std::make_unique<Worker>(static_cast<uint32_t>(Uniform(1, 2))));
    workers_.back()->speed = static_cast<double>(Uniform(1, 40)) / 2;
    if (i >= liars) continue;
    if (Chance(0.5)) {
      workers_.back()->lie_chance = rules_.lie_chance;
    } else {
      workers_.back()->broken_one_in = 600;  // A slice has six indices, about.
    }
  }
  const size_t jobs = Uniform(1, 2);
  for (size_t i = 0; i < jobs; ++i) {
    JobPlan job;
    job.request_id = absl::StrCat("job-", i);
    job.rounds = static_cast<uint32_t>(Uniform(1, 3));
    job.size = Uniform(1, 300);
    job.weight = static_cast<double>(Uniform(1, 4));
    if (rules_.verify > 0 && Chance(0.7)) job.known_answers = Uniform(1, 4);
    if (rules_.training && Chance(0.9)) {
      job.is_training = true;
      job.rounds = static_cast<uint32_t>(Uniform(1, 8));
      job.size = Uniform(1, 70);
      if (rules_.verify == 0 && Chance(0.3)) job.numerics_class = ClassOf(Uniform(0, workers_.size() - 1));
    }
    jobs_.push_back(job);
  }
  if (rules_.liars) calm_ = false;
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

void Simulation::PlanFaults() {
  for (absl::Duration at; (at += Milliseconds(200, 6000)) < kFaultsEnd;) At(at, [this] { Fault(); });
  // Then everything is well again: what is left must get done.
  At(kFaultsEnd + absl::Seconds(1), [this] { Heal(); });
}

void Simulation::Heal() {
  chances_ = {};
  faults_are_over_ = true;
  if (!core_) return At(absl::Seconds(1), [this] { Heal(); });
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (!workers_[i]->up && !workers_[i]->banned) Join(i);
  }
  for (const JobPlan& job : jobs_) {
    if (job.id) Handle(core_->Change(Now(), NewCall(), *job.id, {.paused = false}));
  }
}

void Simulation::Fault() {
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

void Simulation::StartCoordinator() {
  CoreOptions options;
  options.scheduler.epoch = Epoch{++epoch_};
  options.scheduler.lease_time = absl::Seconds(10);
  options.scheduler.disconnect_grace = absl::Seconds(2);
  options.scheduler.target_unit = absl::Seconds(8);
  options.scheduler.defect = rules_.defect;
  options.longest_hold = absl::Seconds(4);
  options.save_interval = Chance(0.3) ? absl::ZeroDuration() : Milliseconds(1000, 60000);
  const auto make_planner = [](const std::string& workload, const std::string& spec,
                               const BlobReader&) -> Result<std::unique_ptr<Planner>> {
    const auto fields = FieldReader::Parse(spec);
    const uint32_t rounds = static_cast<uint32_t>(fields->Number(1));
    if (workload == "train") {
      return std::unique_ptr<Planner>(
          std::make_unique<FakeTrainingPlanner>(rounds, fields->Number(2), std::string(fields->Bytes(4))));
    }
    return std::unique_ptr<Planner>(std::make_unique<FakePlanner>(rounds, fields->Number(2), fields->Number(3)));
  };
  const auto read_blob = [this](std::string_view digest) -> Result<std::string> {
    const auto it = blobs_.find(std::string(digest));
    if (it == blobs_.end()) return Status::Error("the blob is damaged");
    return it->second;
  };
  if (chances_.restarts && Chance(0.1)) DamageAState();
  core_ = std::make_unique<Core>(options, make_planner, read_blob);
  ++core_life_;
  Handle(core_->Recover(Now(), facts_.Contents()));
  for (JobPlan& job : jobs_) Submit(job);
}

void Simulation::Submit(JobPlan& job) {
  FieldWriter spec;
  spec.Uint(1, job.rounds);
  spec.Uint(2, job.size);
  spec.Uint(3, job.known_answers);
  spec.Bytes(4, job.numerics_class);
  JobSubmitted submitted;
  submitted.request_id = job.request_id;
  submitted.workload = job.is_training ? "train" : "fake";
  submitted.spec = spec.Take();
  submitted.weight = job.weight;
  submitted.verify = rules_.verify;
  const CallId call = NewCall();
  submits_[call] = &job;
  Handle(core_->Submit(Now(), call, submitted));
}

void Simulation::CrashCoordinator() {
  if (!core_) return;
  ++outcome_.restarts;
  core_.reset();
  ++core_life_;
  // Any beginning of what was on its way may have reached the disk; its acknowledgement is lost all the same.
  size_t survive = Uniform(0, appends_.size());
  for (; survive > 0; --survive, appends_.pop_front()) {
    for (const Fact& fact : appends_.front().facts) {
      CheckFact(fact);
      facts_.Write(fact);
    }
  }
  appends_.clear();
  for (auto& worker : workers_) {
    for (const CallId call : worker->calls) CallFailed(*worker, call, absl::UnavailableError("connection lost"));
  }
  At(Milliseconds(100, 15000), [this] { StartCoordinator(); });
}

void Simulation::StoreNext() {
  if (appends_.empty()) return;
  const Outbox::AppendFacts append = std::move(appends_.front());
  appends_.pop_front();
  std::vector<Verdict> verdicts;
  for (const Fact& fact : append.facts) {
    CheckFact(fact);
    verdicts.push_back(facts_.Write(fact));
  }
  Handle(core_->Stored(Now(), append.id, absl::OkStatus(), verdicts));
}

void Simulation::RetractSomething() {
  if (!core_) return;
  const JobPlan& job = jobs_[Uniform(0, jobs_.size() - 1)];
  if (!job.id) return;
  const std::optional<JobView> view = core_->Find(*job.id);
  std::vector<Interval> committed;
  const RoundKey key{*job.id, view ? view->round : 0};
  facts_.ForEachSlice(key, [&](const SliceCommitted& slice) { committed.push_back(slice.interval); });
  if (job.is_training) committed = core_->scheduler().Inspect(key).committed.Intervals();
  if (committed.empty()) return;
  ++outcome_.retractions;
  Handle(core_->Retract(Now(), NewCall(), key, {committed[Uniform(0, committed.size() - 1)]}, "drawn"));
}

std::string Simulation::ClassOf(size_t worker) const {
  // Where results are no others' to check, there must be enough workers of one class.
  return absl::StrCat("class-", rules_.training && rules_.verify > 0 ? 0 : worker % 2);
}

void Simulation::SaveState(const Outbox::SaveState& save) {
  const std::string bytes = Concatenate(save.parts);
  const std::string digest = BlobDigest(DescribeBlob(bytes));
  const bool fails = !calm_ && !faults_are_over_ && Chance(0.1);
  if (!fails && Chance(0.3))
    blobs_[digest] = bytes;  // On the disk although a crash may come before anybody hears of it.
  At(Milliseconds(1, 500), [this, fails, digest, bytes, id = save.id, life = core_life_] {
    if (!core_ || life != core_life_) return;
    ++(fails ? outcome_.failed_saves : outcome_.saves);
    if (!fails) blobs_[digest] = bytes;
    Handle(core_->StateWritten(
        Now(), id, fails ? absl::StatusOr<std::string>(absl::ResourceExhaustedError("the disk is full")) : digest));
  });
}

void Simulation::DamageAState() {
  if (blobs_.empty()) return;
  ++outcome_.lost_states;
  blobs_.erase(std::next(blobs_.begin(), static_cast<ptrdiff_t>(Uniform(0, blobs_.size() - 1))));
}

void Simulation::Handle(Outbox outbox) {
  const uint64_t life = core_life_;
  for (Outbox::AppendFacts& append : outbox.appends) {
    for (const Fact& fact : append.facts) {
      if (const auto* seen = std::get_if<WorkerSeen>(&fact)) CheckFact(*seen);
    }
    appends_.push_back(std::move(append));
    At(Milliseconds(1, Chance(0.1) ? 2000 : 20), [this, life] {
      if (life == core_life_) StoreNext();
    });
  }
  for (const Outbox::SaveState& save : outbox.saves) SaveState(save);
  if (outbox.collect_blobs) {
    const std::vector<std::string> named = core_->NamedBlobs();
    std::erase_if(blobs_,
                  [&](const auto& blob) { return std::find(named.begin(), named.end(), blob.first) == named.end(); });
  }
  for (Outbox::ExchangeAnswer& answer : outbox.exchanges) Respond(std::move(answer));
  for (const Outbox::RequestAnswer& answer : outbox.requests) {
    if (const auto it = submits_.find(answer.call); it != submits_.end() && answer.status.ok())
      it->second->id = answer.job;
  }
  // What is read may be old when it is handed in; but at the start nothing else is let in before.
  for (const RoundKey key : outbox.rebuilds) {
    std::vector<SliceCommitted> slices;
    facts_.ForEachSlice(key, [&](const SliceCommitted& slice) { slices.push_back(slice); });
    std::vector<SliceVerified> verified;
    facts_.ForEachVerification(key, [&](const SliceVerified& one) { verified.push_back(one); });
    const auto rebuild = [this, key, slices, verified] { Handle(core_->Rebuild(Now(), key, slices, verified)); };
    core_->scheduler().IsOpen(key) ? Soon(rebuild) : rebuild();
  }
  for (const Outbox::Distrust& distrust : outbox.distrusted) {
    std::vector<Interval> intervals;
    facts_.ForEachSlice(distrust.round, [&](const SliceCommitted& slice) {
      if (slice.worker == distrust.worker) intervals.push_back(slice.interval);
    });
    Soon([this, distrust, intervals] { Handle(core_->RetractDistrusted(Now(), distrust, intervals)); });
  }
  if (!core_) return;
  const absl::Time deadline = core_->NextDeadline();
  if (deadline != absl::InfiniteFuture()) {
    At(std::max(deadline - now_, absl::ZeroDuration()), [this, life] {
      if (life == core_life_ && core_->NextDeadline() <= now_) Handle(core_->Tick(Now()));
    });
  }
}

void Simulation::Soon(std::function<void()> event) {
  if (soon_waiting_ == 0 && Chance(0.5)) return event();
  soon_ = std::max(soon_, now_ + Milliseconds(0, 40));
  ++soon_waiting_;
  At(soon_ - now_, [this, life = core_life_, event = std::move(event)] {
    --soon_waiting_;
    if (core_ && life == core_life_) event();
  });
}

Outcome& Outcome::operator+=(const Outcome& other) {
  for (const auto count : {&Outcome::events, &Outcome::restarts, &Outcome::retractions, &Outcome::repeats,
                           &Outcome::overlaps, &Outcome::shrinks, &Outcome::lies, &Outcome::verified,
                           &Outcome::quarantined, &Outcome::all_differed, &Outcome::wrong_totals, &Outcome::saves,
                           &Outcome::failed_saves, &Outcome::lost_states, &Outcome::handed_over, &Outcome::not_here}) {
    this->*count += other.*count;
  }
  return *this;
}

Outcome Simulate(uint64_t seed, const Rules& rules) { return Simulation(seed, rules).Run(); }

}  // namespace potluck::simulation
