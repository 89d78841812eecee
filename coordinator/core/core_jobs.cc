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
  Result<std::unique_ptr<Planner>> planner = factory_(submitted.workload, submitted.spec);
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
  RoundOpened opened{{submitted.job, 0}, 0, Durability::kLedger, Concatenate(job.planner->State()), now.wall};
  Result<std::optional<Round>> round = job.planner->NextRound(0);
  if (!round.ok() || !round->has_value()) {
    Refuse(outbox, call,
           absl::InvalidArgumentError(round.ok() ? "the job has nothing to do" : round.status().message()));
    return outbox;
  }
  opened.key.round = (*round)->number;
  opened.size = (*round)->plan->Size();
  opened.durability = (*round)->durability;
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
  append.then = [this, id, round = *std::move(*round)](Instant, Outbox&, const std::vector<Verdict>&) {
    Job& opened_job = jobs_.at(id);
    opened_job.is_new = false;
    opened_job.round = round;
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
  scheduler_.OpenRound(job.key(), job.round->plan, std::move(committed), job.share(), std::move(known));
}

// Called whenever all of the open round may be committed: goes on to the next round, or ends the job.
void Core::Advance(Instant now, Job& job, Outbox& outbox) {
  if (job.ending || job.ended || !job.round) return;
  if (job.distrusts > 0 || job.retractions_on_their_way > 0 || job.rebuilds > 0) return;  // Not complete after all.
  const bool lost_checks_are_done = options_.scheduler.defect == SchedulerDefect::kLostCheckCountsAsDone;
  if (!job.checks.empty() && !(lost_checks_are_done && !scheduler_.HasChecks(job.key()))) return;
  const std::string state = Concatenate(job.planner->State());
  Result<std::optional<Round>> next = job.planner->NextRound(0);
  if (!next.ok()) return End(now, job, JobOutcome::kFailed, next.status().message(), std::nullopt, outbox);
  if (!next->has_value()) return End(now, job, JobOutcome::kDone, "", std::nullopt, outbox);
  scheduler_.CloseRound(job.key());
  job.round.reset();
  job.merged.Clear();
  job.checks.clear();
  job.check_at.clear();
  job.must_check.Clear();
  job.verified.Clear();
  job.verified_slices = 0;
  job.verified_cost = 0;
  const JobId id = job.submitted.job;
  const Round& round = **next;
  const RoundOpened opened{{id, round.number}, round.plan->Size(), round.durability, state, now.wall};
  Append append;
  append.job = id;
  append.then = [this, id, round](Instant, Outbox&, const std::vector<Verdict>&) {
    Job* opened_job = FindJob(id);
    if (opened_job == nullptr || opened_job->ending) return;
    opened_job->round = round;
    OpenRound(*opened_job, {});
  };
  SendUntilStored(outbox, {opened}, std::move(append));
}

void Core::End(Instant now, Job& job, JobOutcome outcome, const std::string& message, std::optional<CallId> call,
               Outbox& outbox) {
  if (job.ending || job.ended) return;
  job.ending = true;
  const JobId id = job.submitted.job;
  const std::string events = absl::StrJoin(job.events, "; ");
  const JobEnded ended{
      id,      outcome, job.planner->Summary(), message.empty() ? events : message, EncodeContributions(Describe(job)),
      now.wall};
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
    job_then->merged.Clear();
    job_then->checks.clear();
    job_then->check_at.clear();
    later.ended_jobs.push_back(id);
  };
  SendUntilStored(outbox, {ended}, std::move(append));
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
    later.collect_blobs = deleted == nullptr || !deleted->blobs.empty();
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
  Append append;
  append.call = call;
  append.job = key.job;
  ++job.retractions_on_their_way;
  append.then = [this, key, intervals](Instant, Outbox& later, const std::vector<Verdict>& verdicts) {
    Job* const found = FindJob(key.job);
    // Cancelled, and perhaps deleted, while the store could not take the retraction.
    if (found == nullptr || found->ended || !found->round || found->key() != key) return;
    Job& job_then = *found;
    --job_then.retractions_on_their_way;
    ++job_then.rebuilds;
    for (size_t i = 0; i < intervals.size(); ++i) {
      // What is not committed with exactly these bounds (any more) stays as it is.
      if (verdicts[i] != Verdict::kStored) continue;
      const auto check = job_then.check_at.find(intervals[i].begin);
      if (check != job_then.check_at.end()) ForgetCheck(job_then, check->second);
      const auto is_it = [&](const SliceCommitted& slice) { return slice.interval == intervals[i]; };
      std::erase_if(job_then.committed_meanwhile, is_it);
      std::erase(job_then.verified_meanwhile, intervals[i]);
      scheduler_.Retract(key, intervals[i]);
    }
    later.rebuilds.push_back(key);  // Which also goes on with the job, if it waited for this.
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

// ---- Recovery

Outbox Core::Recover(Instant now, const StoreContents& contents) {
  Outbox outbox;
  last_job_ = static_cast<uint64_t>(contents.last_job);
  for (const WorkerSeen& worker : contents.workers) {
    worker_by_installation_[worker.installation] = worker.worker;
    worker_names_[worker.worker] = worker.name;
    last_worker_ = std::max(last_worker_, static_cast<uint64_t>(worker.worker));
  }
  for (const WorkerDescribed& description : contents.worker_descriptions) {
    worker_history_[description.worker].push_back(description);
  }
  for (const WorkerQuarantined& worker : contents.quarantined) quarantined_[worker.worker] = {worker.reason, true};
  for (const StoredJob& stored : contents.jobs) {
    absl::StatusOr<Job> job = RestoreJob(stored, factory_);
    if (!job.ok()) {  // Its facts stay in the store until it is deleted.
      outbox.log.push_back(std::string(job.status().message()));
      unreadable_jobs_.insert(stored.submitted.job);
      job_by_request_[stored.submitted.request_id] = stored.submitted.job;
      continue;
    }
    const JobId id = stored.submitted.job;
    job_by_request_[stored.submitted.request_id] = id;
    Job& restored = jobs_.emplace(id, *std::move(job)).first->second;
    if (!restored.ended && restored.round) outbox.rebuilds.push_back(restored.key());
  }
  for (const BlobNamed& named : contents.blobs) {
    Job* job = FindJob(named.job);
    (job != nullptr ? job->blobs : blobs_of_other_builds_).push_back(named.digest);
  }
  DeleteOldJobs(now, outbox);
  return outbox;
}

Outbox Core::Rebuild(Instant now, RoundKey key, const std::vector<SliceCommitted>& slices,
                     const std::vector<SliceVerified>& verifications) {
  Outbox outbox;
  Job* job = FindJob(key.job);
  if (job == nullptr || job->ended || job->ending || !job->round || job->key() != key) return outbox;
  if (job->rebuilds > 0) --job->rebuilds;
  ForgetMerged(*job);
  // What was stored after the ledger was read is not in it.
  for (const std::vector<SliceCommitted>* some : {&slices, &std::as_const(job->committed_meanwhile)}) {
    for (const SliceCommitted& slice : *some) {
      if (const absl::Status merged = MergeSlice(*job, slice, worker_names_[slice.worker]); !merged.ok()) {
        End(now, *job, JobOutcome::kFailed, std::string(merged.message()), std::nullopt, outbox);
        return outbox;
      }
    }
  }
  const bool is_start = !scheduler_.IsOpen(key);
  if (is_start) OpenRound(*job, job->merged);
  if (job->rebuilds == 0) {  // Else more was retracted since, and what was read is about to be read again.
    RebuildChecks(*job, slices, verifications);
    job->committed_meanwhile.clear();
    job->verified_meanwhile.clear();
  }
  std::vector<Interval> wrong;  // The last coordinator could not retract these any more.
  for (const SliceCommitted& slice : slices) {
    if (is_start && quarantined_.contains(slice.worker)) wrong.push_back(slice.interval);
  }
  if (!wrong.empty()) {
    StartRetraction(now, *job, wrong, "their worker is quarantined", std::nullopt, outbox);
  }
  if (scheduler_.IsComplete(key)) Advance(now, *job, outbox);
  Wake(now, outbox);
  return outbox;
}

// ---- Blobs

absl::Status Core::MayRead(SessionId session, TokenId token, const std::string& blob) const {
  const auto it = sessions_.find(session);
  if (it == sessions_.end() || it->second.joined.token != token) {
    return absl::PermissionDeniedError("the session is not live or belongs to another token: join again");
  }
  for (const auto& [id, job] : jobs_) {
    if (std::find(job.blobs.begin(), job.blobs.end(), blob) == job.blobs.end()) continue;
    if (scheduler_.HoldsLeaseOf(session, id)) return absl::OkStatus();
  }
  return absl::PermissionDeniedError("the session holds no lease of a job that names this blob");
}

std::vector<std::string> Core::NamedBlobs() const {
  std::vector<std::string> named = blobs_of_other_builds_;
  for (const auto& [id, job] : jobs_) named.insert(named.end(), job.blobs.begin(), job.blobs.end());
  return named;
}

// ---- Display

std::optional<JobView> Core::Find(JobId id) const {
  const auto it = jobs_.find(id);
  if (it == jobs_.end()) return std::nullopt;
  const Job& job = it->second;
  JobView view = Describe(job);
  view.rate = scheduler_.Rate(id);
  view.waiting_for = WaitingFor(job);
  for (const auto& [session, unused] : sessions_) view.workers += scheduler_.SessionRate(session, id) > 0 ? 1 : 0;
  return view;
}

std::vector<JobView> Core::Jobs() const {
  std::vector<JobView> views;
  for (const auto& [id, job] : jobs_) views.push_back(*Find(id));
  return views;
}

}  // namespace potluck
