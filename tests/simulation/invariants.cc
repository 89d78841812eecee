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
  if (all != IntervalSet{{0, state.size}}) {
    Fail(absl::StrCat("lost: ", ToString(all.Complement({0, state.size})), " of [0, ", state.size, ")"));
  }
  IntervalSet stored;
  facts_.ForEachSlice(key, [&](const SliceCommitted& slice) { stored.Add(slice.interval); });
  IntervalSet not_stored = state.committed;
  not_stored.Remove(stored);
  if (!not_stored.empty()) Fail(absl::StrCat("counted but not stored: ", ToString(not_stored)));
}

bool Simulation::HasFreeWork() const {
  for (const JobPlan& job : jobs_) {
    const std::optional<JobView> view = job.id ? core_->Find(*job.id) : std::nullopt;
    if (!view || view->state != JobState::kRunning) continue;
    if (!core_->scheduler().Inspect({*job.id, view->round}).free.empty()) return true;
  }
  return false;
}

void Simulation::CheckNobodyStarves() {
  const bool has_work = faults_are_over_ && HasFreeWork();
  for (size_t i = 0; i < workers_.size(); ++i) {
    Worker& worker = *workers_[i];
    const bool is_idle = has_work && worker.joined && !Frozen(worker) && worker.book.leases().empty();
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

void Simulation::CheckResults() {
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
      if (count != plan->size || stored_set != IntervalSet{{0, plan->size}})
        Fail("the ledger does not cover a round exactly once");
    }
    if (stored.ended.result != PayloadOf(expected)) Fail("the total is wrong");
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
