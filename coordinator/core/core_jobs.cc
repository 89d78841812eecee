// The jobs' half of the core: submitting, rounds, ending, recovery.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/core/core.h"

namespace potluck {

Job* Core::FindJob(JobId id) {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? nullptr : &it->second;
}

void Core::Refuse(Outbox& outbox, CallId call, absl::Status status, JobId job) {
  outbox.requests.push_back({call, std::move(status), job});
}

namespace {

// A job's final state is tried to be saved so often.
constexpr int kTriesToSaveAtEnd = 4;

absl::Status NoSuchJob(JobId job) { return absl::NotFoundError(absl::StrCat("there is no job ", ToString(job))); }

absl::Status HasEnded(JobId job) {
  return absl::FailedPreconditionError(absl::StrCat("job ", ToString(job), " has ended"));
}

}  // namespace

Outbox Core::Submit(Instant now, CallId call, JobSubmitted submitted, std::vector<std::string> blobs) {
  Outbox outbox;
  if (const auto it = job_by_request_.find(submitted.request_id); it != job_by_request_.end()) {
    // The same request sent twice: one job, which is told only when it is durable.
    if (unreadable_jobs_.contains(it->second)) {
      Refuse(outbox, call,
             absl::FailedPreconditionError(
                 absl::StrCat("job ", ToString(it->second), " cannot be continued by this build")));
      return outbox;
    }
    const Job& known = jobs_.at(it->second);
    Refuse(outbox, call, known.is_new ? absl::UnavailableError("the job is being stored; ask again") : absl::OkStatus(),
           it->second);
    return outbox;
  }
  size_t live = 0;
  for (const auto& [id, job] : jobs_) live += job.ended ? 0 : 1;
  if (live >= options_.max_live_jobs) {
    Refuse(outbox, call,
           absl::ResourceExhaustedError(absl::StrCat("there are ", live, " unfinished jobs already; at most ",
                                                     options_.max_live_jobs, " are allowed")));
    return outbox;
  }
  Result<std::unique_ptr<Planner>> planner = factory_(submitted.workload, submitted.spec, blobs_);
  if (!planner.ok()) {
    Refuse(outbox, call, absl::InvalidArgumentError(planner.status().message()));
    return outbox;
  }
  Job job;
  job.planner = *std::move(planner);
  submitted.job = JobId{++last_job_};
  submitted.at = now.wall;
  job.submitted = submitted;
  job.is_new = true;
  job.settings = {submitted.job, false, submitted.priority, submitted.weight, now.wall};
  const std::vector<SharedBytes> state = job.planner->State();
  Result<std::optional<Round>> round = job.planner->NextRound(0);
  if (!round.ok() || !round->has_value()) {
    Refuse(outbox, call,
           absl::InvalidArgumentError(round.ok() ? "the job has nothing to do" : round.status().message()));
    return outbox;
  }
  job.durability = (*round)->durability;
  job.state_round = (*round)->number;
  const RoundOpened opened{{submitted.job, (*round)->number},
                           (*round)->plan->Size(),
                           job.durability,
                           job.is_volatile() ? "" : Concatenate(state),
                           now.wall};
  job_by_request_[submitted.request_id] = submitted.job;
  const JobId id = submitted.job;
  std::vector<Fact> facts = {submitted};
  for (const std::string& blob : blobs) facts.push_back(BlobNamed{id, blob});
  facts.push_back(opened);
  job.blobs = std::move(blobs);
  jobs_.emplace(id, std::move(job));
  Append append;
  append.call = call;
  append.job = id;
  append.then = [this, id, round = *std::move(*round)](Instant then, Outbox&, const std::vector<Verdict>&) {
    Job& opened_job = jobs_.at(id);
    opened_job.is_new = false;
    if (opened_job.ending) return;
    opened_job.round = round;
    opened_job.bulk = DescribeBulk(round, {});
    opened_job.last_save = then.monotonic;
    OpenRound(opened_job, {});
  };
  append.otherwise = [this, id](Instant, Outbox&) {
    job_by_request_.erase(jobs_.at(id).submitted.request_id);
    jobs_.erase(id);
  };
  Send(outbox, std::move(facts), std::move(append));
  return outbox;
}

void Core::OpenRound(Job& job, IntervalSet committed) {
  job.known = job.planner->KnownAnswers();
  std::vector<Interval> known;
  for (const Part& answer : job.known) known.push_back(answer.interval);
  job.opening_contributions = job.contributions;
  job.opening_verified_counts = job.verified_counts;
  scheduler_.OpenRound(job.key(), job.round->plan, std::move(committed), job.share(), std::move(known),
                       {job.is_volatile(), job.round->numerics_class});
}

void Core::CloseRound(Job& job) {
  scheduler_.CloseRound(job.key());
  job.round.reset();
  job.merged.Clear();
  job.ledger.Clear();
  job.checks.clear();
  job.check_at.clear();
  job.must_check.Clear();
  job.verified.Clear();
  if (!job.is_volatile()) job.verified_counts = {};
}

// Called whenever all of the open round may be committed: goes on to the next round, or ends the job.
void Core::Advance(Instant now, Job& job, Outbox& outbox) {
  if (job.ending || job.ended || !job.round) return;
  if (job.distrusts > 0 || job.retractions_on_their_way > 0 || job.rebuilds > 0) return;  // Not complete after all.
  const bool lost_checks_are_done = options_.scheduler.defect == SchedulerDefect::kLostCheckCountsAsDone;
  if (!job.checks.empty() && !(lost_checks_are_done && !scheduler_.HasChecks(job.key()))) return;
  const std::string state = job.is_volatile() ? "" : Concatenate(job.planner->State());
  Result<std::optional<Round>> next = job.planner->NextRound(JobSeconds(job, now.wall));
  const auto fail = [&](const std::string& why) {
    End(now, job, JobOutcome::kFailed, why, std::nullopt, outbox, /*has_state=*/false);
  };
  if (!next.ok()) return fail(next.status().message());
  if (!next->has_value()) {
    ++job.state_round;  // There is none, but its opening is where the planner stands.
    return End(now, job, JobOutcome::kDone, "", std::nullopt, outbox);
  }
  const Round& round = **next;
  if (round.durability != job.durability) return fail("its rounds are of different durability");
  CloseRound(job);
  job.state_round = round.number;
  if (job.is_volatile()) return OpenVolatileRound(now, job, round, outbox);
  const JobId id = job.submitted.job;
  const RoundOpened opened{{id, round.number}, round.plan->Size(), round.durability, state, now.wall};
  Append append;
  append.job = id;
  append.then = [this, id, round](Instant, Outbox&, const std::vector<Verdict>&) {
    Job* opened_job = FindJob(id);
    if (opened_job == nullptr || opened_job->ending) return;
    opened_job->round = round;
    opened_job->bulk = DescribeBulk(round, opened_job->bulk);
    OpenRound(*opened_job, {});
  };
  SendUntilStored(outbox, {opened}, std::move(append));
}

void Core::End(Instant now, Job& job, JobOutcome outcome, const std::string& message, std::optional<CallId> call,
               Outbox& outbox, bool has_state) {
  if (job.ending || job.ended) return;
  job.ending = true;
  const std::string events = absl::StrJoin(job.events, "; ");
  JobEnded ended{job.submitted.job,
                 outcome,
                 job.planner->Summary(),
                 message.empty() ? events : message,
                 EncodeContributions(Describe(job)),
                 now.wall};
  if (!job.is_volatile()) return StoreEnd(std::move(ended), call, outbox);
  scheduler_.CloseRound(job.key());  // Nothing more is counted, however long it takes to end.
  // What nobody has confirmed yet is not to become a part of the state.
  const bool is_unconfirmed = !job.checks.empty() || job.distrusts > 0 || job.retractions_on_their_way > 0;
  if (outcome != JobOutcome::kDone && is_unconfirmed) job.planner->ResetRound();
  if (!has_state || job.saved_round == job.state_round) return StoreEnd(std::move(ended), call, outbox);
  SaveAtEnd(now, std::move(ended), call, kTriesToSaveAtEnd, outbox);
}

void Core::StoreEnd(JobEnded ended, std::optional<CallId> call, Outbox& outbox) {
  const JobId id = ended.job;
  Append append;
  append.call = call;
  append.job = id;
  append.then = [this, id, ended](Instant, Outbox& later, const std::vector<Verdict>&) {
    Job* job_then = FindJob(id);
    if (job_then == nullptr) return;
    scheduler_.CloseRound(job_then->key());
    scheduler_.ForgetJob(id);
    job_then->final_view = Describe(*job_then);
    job_then->ended = ended;
    job_then->planner.reset();  // A round's tables may be large, and nothing is merged any more.
    job_then->round.reset();
    job_then->bulk.clear();
    job_then->merged.Clear();
    job_then->ledger.Clear();
    job_then->checks.clear();
    job_then->check_at.clear();
    later.ended_jobs.push_back(id);
  };
  SendUntilStored(outbox, {std::move(ended)}, std::move(append));
}

Outbox Core::Cancel(Instant now, CallId call, JobId id) {
  Outbox outbox;
  Job* job = FindJob(id);
  if (job == nullptr) {
    Refuse(outbox, call, NoSuchJob(id));
  } else if (job->ended || job->ending) {
    Refuse(outbox, call, HasEnded(id), id);
  } else {
    End(now, *job, JobOutcome::kCancelled, "", call, outbox);
    scheduler_.CloseRound(job->key());
  }
  Wake(now, outbox);
  return outbox;
}

Outbox Core::Delete(Instant now, CallId call, JobId id) {
  Outbox outbox;
  Job* job = FindJob(id);
  if (job == nullptr && !unreadable_jobs_.contains(id)) {
    Refuse(outbox, call, NoSuchJob(id));
    return outbox;
  }
  if (job != nullptr && !job->ended) {
    Refuse(outbox, call,
           absl::FailedPreconditionError(absl::StrCat(
               "job ", ToString(id), " has not ended; cancel it first: potluck jobs cancel ", ToString(id))));
    return outbox;
  }
  DeleteJob(id, call, outbox);
  Wake(now, outbox);
  return outbox;
}

void Core::DeleteJob(JobId id, std::optional<CallId> call, Outbox& outbox) {
  Append append;
  append.call = call;
  append.job = id;
  append.then = [this, id](Instant, Outbox& later, const std::vector<Verdict>&) {
    const Job* deleted = FindJob(id);
    later.collect_blobs = deleted == nullptr || !deleted->blobs.empty() || !deleted->states.empty();
    unreadable_jobs_.erase(id);
    std::erase_if(job_by_request_, [id](const auto& entry) { return entry.second == id; });
    jobs_.erase(id);
  };
  Send(outbox, {JobDeleted{id}}, std::move(append));
}

// Now and every hour from now on.
void Core::DeleteOldJobs(Instant now, Outbox& outbox) {
  if (options_.retention == absl::InfiniteDuration()) return;
  for (const auto& [id, job] : jobs_) {
    if (job.ended && job.ended->at + options_.retention <= now.wall) DeleteJob(id, std::nullopt, outbox);
  }
  later_.emplace(now.monotonic + absl::Hours(1), [this](Instant then, Outbox& later) { DeleteOldJobs(then, later); });
}

Outbox Core::Change(Instant now, CallId call, JobId id, const Settings& settings) {
  Outbox outbox;
  Job* job = FindJob(id);
  if (job == nullptr || job->ended || job->ending) {
    Refuse(outbox, call, job == nullptr ? NoSuchJob(id) : HasEnded(id), id);
    return outbox;
  }
  JobSettings changed = job->settings;
  changed.paused = settings.paused.value_or(changed.paused);
  changed.priority = settings.priority.value_or(changed.priority);
  changed.weight = settings.weight.value_or(changed.weight);
  changed.at = now.wall;
  if (!(changed.weight > 0 && changed.weight <= 1000)) {
    Refuse(outbox, call,
           absl::InvalidArgumentError(
               absl::StrCat("weight is ", changed.weight, "; allowed is more than 0 and at most 1000")),
           id);
    return outbox;
  }
  Append append;
  append.call = call;
  append.job = id;
  append.then = [this, id, changed](Instant, Outbox&, const std::vector<Verdict>&) {
    Job* job_then = FindJob(id);
    if (job_then == nullptr) return;
    job_then->settings = changed;
    scheduler_.SetShare(id, job_then->share());
  };
  Send(outbox, {changed}, std::move(append));
  return outbox;
}

Outbox Core::Retract(Instant now, CallId call, RoundKey key, const std::vector<Interval>& intervals,
                     const std::string& reason) {
  Outbox outbox;
  Job* job = FindJob(key.job);
  if (job == nullptr || job->ended || job->ending || !job->round || job->key() != key) {
    Refuse(outbox, call, job == nullptr ? NoSuchJob(key.job) : HasEnded(key.job), key.job);
    return outbox;
  }
  StartRetraction(now, *job, intervals, reason, call, outbox);
  return outbox;
}

void Core::StartRetraction(Instant now, Job& job, const std::vector<Interval>& intervals, const std::string& reason,
                           std::optional<CallId> call, Outbox& outbox) {
  const RoundKey key = job.key();
  if (job.is_volatile()) {
    ComputeAgain(job, outbox);
    if (call) Refuse(outbox, *call, absl::OkStatus(), key.job);
    return;
  }
  Append append;
  append.call = call;
  append.job = key.job;
  ++job.retractions_on_their_way;
  append.then = [this, key, intervals](Instant then, Outbox& later, const std::vector<Verdict>& verdicts) {
    Job* const found = FindJob(key.job);
    // Cancelled, and perhaps deleted, while the store could not take the retraction.
    if (found == nullptr || found->ended || !found->round || found->key() != key) return;
    Job& job_then = *found;
    --job_then.retractions_on_their_way;
    bool is_retracted = false;
    for (size_t i = 0; i < intervals.size(); ++i) {
      // What is not committed with exactly these bounds (any more) stays as it is.
      if (verdicts[i] != Verdict::kStored) continue;
      is_retracted = true;
      const auto check = job_then.check_at.find(intervals[i].begin);
      if (check != job_then.check_at.end()) ForgetCheck(job_then, check->second);
      const auto is_it = [&](const SliceCommitted& slice) { return slice.interval == intervals[i]; };
      std::erase_if(job_then.committed_meanwhile, is_it);
      std::erase(job_then.verified_meanwhile, intervals[i]);
      scheduler_.Retract(key, intervals[i]);
    }
    if (is_retracted) {
      ++job_then.rebuilds;
      later.rebuilds.push_back(key);  // Which also goes on with the job, if it waited for this.
    } else if (scheduler_.IsComplete(key)) {
      Advance(then, job_then, later);
    }
  };
  std::vector<Fact> facts;
  for (const Interval interval : intervals) facts.push_back(SliceRetracted{key, interval, reason, now.wall});
  // The job must not end with them, however long the store cannot take that.
  SendUntilStored(outbox, std::move(facts), std::move(append));
}

void Core::DistrustSlices(Job& job, WorkerId worker, Outbox& outbox) {
  if (job.ended || job.ending || !job.round) return;
  if (options_.scheduler.defect == SchedulerDefect::kWrongSlicesAreKept) {
    const auto checks = job.checks;
    for (const auto& [id, check] : checks) {
      if (check.runs[0].worker == worker) ForgetCheck(job, id);
    }
    return;
  }
  if (job.is_volatile()) {
    if (job.ledger.HasSliceOf(worker)) ComputeAgain(job, outbox);
    return;
  }
  const auto is_asked = [&](const Outbox::Distrust& other) {
    return other.round == job.key() && other.worker == worker;
  };
  if (std::any_of(outbox.distrusted.begin(), outbox.distrusted.end(), is_asked)) return;
  ++job.distrusts;  // It must not end before that is settled.
  outbox.distrusted.push_back({job.key(), worker});
}

Outbox Core::RetractDistrusted(Instant now, const Outbox::Distrust& distrust, const std::vector<Interval>& intervals) {
  Job* job = FindJob(distrust.round.job);
  if (job == nullptr) return {};
  --job->distrusts;
  Outbox outbox;
  if (!intervals.empty() && job->round && job->key() == distrust.round && !job->ending) {
    const auto reason = quarantined_.find(distrust.worker);
    StartRetraction(now, *job, intervals, reason == quarantined_.end() ? "" : reason->second.reason, std::nullopt,
                    outbox);
    return outbox;
  }
  if (scheduler_.IsComplete(job->key())) Advance(now, *job, outbox);
  return outbox;
}

}  // namespace potluck
