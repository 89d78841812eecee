// What must hold after every event, and in the end.
#include "absl/strings/str_cat.h"
#include "tests/simulation/fake_workload.h"
#include "tests/simulation/world.h"

namespace potluck::simulation {
namespace {

constexpr absl::Duration kLongestIdle = absl::Seconds(45);  // Of a healthy worker while there is free work.

}  // namespace

void Simulation::CheckInvariants() {
  if (!core_) return;
  for (const JobPlan& job : jobs_) {
    if (!job.id) continue;
    const std::optional<JobView> view = core_->Find(*job.id);
    if (!view) continue;
    CheckRound({*job.id, view->round});
  }
  CheckNobodyStarves();
}

void Simulation::CheckRound(RoundKey key) {
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
  CheckChecks(state);
  if (all != IntervalSet{{0, state.size}}) {
    Fail(absl::StrCat("lost: ", ToString(all.Complement({0, state.size})), " of [0, ", state.size, ")"));
  }
  if (const JobPlan* plan = PlanOf(key.job); plan != nullptr && plan->is_training) return;  // Nothing is stored.
  IntervalSet stored;
  facts_.ForEachSlice(key, [&](const SliceCommitted& slice) { stored.Add(slice.interval); });
  IntervalSet not_stored = state.committed;
  not_stored.Remove(stored);
  if (!not_stored.empty()) Fail(absl::StrCat("counted but not stored: ", ToString(not_stored)));
}

// What trials.h promises.
void Simulation::CheckChecks(const RoundState& state) {
  for (const RoundState::CheckView& check : state.checks) {
    IntervalSet stored = state.committed;
    stored.Add(state.pending);
    if (!stored.Contains(check.interval))
      Fail(absl::StrCat(ToString(check.interval), " is checked, but not committed"));
    if (!check.session) continue;
    const size_t number = session_owner_.at(*check.session);
    for (const WorkerId excluded : check.terms.not_by) {
      if (worker_numbers_.at(excluded) == number)
        Fail(absl::StrCat("worker ", number, " runs ", ToString(check.interval), " a second time"));
    }
    if (check.rest.empty() || check.rest.Intersect(check.interval) != check.rest)
      Fail(absl::StrCat("the rest of the check of ", ToString(check.interval), " is ", ToString(check.rest)));
  }
}

const Simulation::JobPlan* Simulation::PlanOf(JobId id) const {
  for (const JobPlan& job : jobs_) {
    if (job.id == id) return &job;
  }
  return nullptr;
}

bool Simulation::IsWrong(const SliceCommitted& slice) const {
  return slice.payload != PayloadOf(SumOf(slice.key.round, slice.interval));
}

std::optional<SliceCommitted> Simulation::FindSlice(RoundKey key, Interval interval) const {
  std::optional<SliceCommitted> found;
  facts_.ForEachSlice(key, [&](const SliceCommitted& slice) {
    if (slice.interval == interval) found = slice;
  });
  return found;
}

void Simulation::CheckFact(const WorkerSeen& fact) {
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (fact.name == absl::StrCat("worker-", i)) worker_numbers_[fact.worker] = i;
  }
}

void Simulation::CheckFact(const Fact& fact) {
  if (const auto* verified = std::get_if<SliceVerified>(&fact)) CheckFact(*verified);
  if (const auto* retracted = std::get_if<SliceRetracted>(&fact)) CheckFact(*retracted);
  if (const auto* quarantined = std::get_if<WorkerQuarantined>(&fact)) CheckFact(*quarantined);
}

void Simulation::CheckFact(const SliceVerified& fact) {
  if (fact.first == fact.second) Fail(absl::StrCat(ToString(fact.interval), " was verified by the worker whose it is"));
  const std::optional<SliceCommitted> slice = FindSlice(fact.key, fact.interval);
  if (!slice || slice->digest != fact.digest) return;  // Retracted meanwhile.
  ++outcome_.verified;
  if (slice->worker != fact.first) Fail(absl::StrCat(ToString(fact.interval), " is another worker's"));
  if (IsWrong(*slice)) Fail(absl::StrCat(ToString(fact.interval), " was verified although it is wrong"));
}

void Simulation::CheckFact(const SliceRetracted& fact) {
  const std::optional<SliceCommitted> slice = FindSlice(fact.key, fact.interval);
  if (!slice) return;
  const bool nobody_was_believed = fact.reason.find("each with another result") != std::string::npos;
  outcome_.all_differed += nobody_was_believed;
  if (fact.reason == "drawn" || nobody_was_believed) return;
  bool is_quarantined = false;
  for (const WorkerQuarantined& worker : facts_.Contents().quarantined) {
    is_quarantined = is_quarantined || worker.worker == slice->worker;
  }
  // A right one may have come into the place of what was read.
  if (IsWrong(*slice) && !is_quarantined)
    Fail(absl::StrCat(ToString(fact.interval), " is retracted without its worker being quarantined"));
}

void Simulation::CheckFact(const WorkerQuarantined& fact) {
  ++outcome_.quarantined;
  if (!workers_[worker_numbers_.at(fact.worker)]->is_liar())
    Fail(absl::StrCat("an honest worker was quarantined: ", fact.reason));
}

bool Simulation::HasFreeWork(size_t worker) const {
  for (const JobPlan& job : jobs_) {
    if (!job.numerics_class.empty() && job.numerics_class != ClassOf(worker)) continue;
    const std::optional<JobView> view = job.id ? core_->Find(*job.id) : std::nullopt;
    if (!view || view->state != JobState::kRunning) continue;
    if (!core_->scheduler().Inspect({*job.id, view->round}).free.empty()) return true;
  }
  return false;
}

void Simulation::CheckNobodyStarves() {
  if (!faults_are_over_) return;
  for (size_t i = 0; i < workers_.size(); ++i) {
    Worker& worker = *workers_[i];
    const bool is_idle = worker.joined && !Frozen(worker) && worker.book.leases().empty() && HasFreeWork(i);
    if (!is_idle) {
      worker.idle_since.reset();
    } else if (!worker.idle_since) {
      worker.idle_since = now_;
    } else if (now_ - *worker.idle_since > kLongestIdle) {
      Fail(absl::StrCat("worker ", i, " starves while there is free work: ", worker.calls.size(), " calls, seq ",
                        worker.seq, worker.book.HasNews() ? ", with news" : "", DescribeRounds()));
    }
  }
}

bool Simulation::AllDone() const {
  if (!core_) return false;
  for (const JobPlan& job : jobs_) {
    const std::optional<JobView> view = job.id ? core_->Find(*job.id) : std::nullopt;
    if (!view || view->state != JobState::kDone) return false;
  }
  return true;
}

// All slices that were drawn are verified (and so, by CheckFact, right).
void Simulation::CheckVerifications(RoundKey key, const JobSubmitted& job) {
  std::set<uint64_t> verified;
  facts_.ForEachVerification(key, [&](const SliceVerified& one) { verified.insert(one.interval.begin); });
  facts_.ForEachSlice(key, [&](const SliceCommitted& slice) {
    const bool is_drawn = IsDrawn(job.verify, job.request_id, key.round, slice.interval);
    if (is_drawn && !verified.contains(slice.interval.begin))
      Fail(absl::StrCat("the job ended before ", ToString(slice.interval), " of round ", key.round, " was verified"));
    if (IsWrong(slice) && (is_drawn || !rules_.liars)) Fail("a wrong slice is in the total");
  });
}

void Simulation::CheckTrained(const StoredJob& stored, const JobPlan& plan) {
  if (stored.rounds.size() != 1 || !stored.rounds[0].planner_state.empty()) Fail("a volatile round was stored");
  facts_.ForEachSlice({stored.submitted.job, 0}, [&](const SliceCommitted&) { Fail("a volatile slice was stored"); });
  if (stored.states.empty() && stored.ended.message.find("could not be saved") == std::string::npos) {
    Fail("a job ended without its final state");
  }
  if (stored.ended.result == BytesOf(TrainAlone(plan.rounds, plan.size))) return;
  if (rules_.verify == 1 || outcome_.lies == 0) Fail("the parameters are not those of training alone");
  ++outcome_.wrong_totals;
}

// Whoever joins anew has left before, and a coordinator closes what its predecessor could not.
void Simulation::CheckSessions() {
  std::set<WorkerId> there;
  for (const SessionOpened& session : facts_.Contents().open_sessions) {
    if (!there.insert(session.worker).second) Fail(absl::StrCat(session.name, " is at the table twice"));
  }
}

void Simulation::CheckResults() {
  CheckSessions();
  for (const StoredJob& stored : facts_.Contents().jobs) {
    const JobPlan* plan = nullptr;
    for (const JobPlan& job : jobs_) plan = job.id == stored.submitted.job ? &job : plan;
    if (plan == nullptr) return Fail("a job was made twice");
    if (plan->is_training) {
      CheckTrained(stored, *plan);
      continue;
    }
    uint64_t expected = 0;
    bool has_wrong_slice = false;
    for (uint32_t round = 0; round < plan->rounds; ++round) {
      expected += SumOf(round, {0, plan->size});
      IntervalSet stored_set;
      uint64_t count = 0;
      facts_.ForEachSlice({stored.submitted.job, round}, [&](const SliceCommitted& slice) {
        stored_set.Add(slice.interval);
        count += slice.interval.size();
        has_wrong_slice = has_wrong_slice || IsWrong(slice);
      });
      CheckVerifications({stored.submitted.job, round}, stored.submitted);
      if (count != plan->size || stored_set != IntervalSet{{0, plan->size}})
        Fail("the ledger does not cover a round exactly once");
    }
    outcome_.wrong_totals += has_wrong_slice;
    if (!has_wrong_slice && stored.ended.result != PayloadOf(expected)) Fail("the total is wrong");
  }
}

std::string Simulation::DescribeRounds() const {
  std::string text;
  for (const JobPlan& job : jobs_) {
    const std::optional<JobView> view = job.id && core_ ? core_->Find(*job.id) : std::nullopt;
    if (!view) continue;
    const RoundState state = core_->scheduler().Inspect({*job.id, view->round});
    absl::StrAppend(&text, "; job ", ToString(*job.id), " round ", view->round, " free ", ToString(state.free),
                    " pending ", ToString(state.pending), " leases ", state.leases.size());
  }
  return text;
}

}  // namespace potluck::simulation
