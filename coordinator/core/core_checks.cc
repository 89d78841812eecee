// The part of the core that verifies: checks, known-answer units, quarantine.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "coordinator/core/core.h"

namespace potluck {
namespace {

// "[3, 7) of job 1", for sentences.
std::string Place(RoundKey key, Interval interval) {
  return absl::StrCat(ToString(interval), " of job ", ToString(key.job));
}

}  // namespace

// ---- Which slices are checked

bool Core::IsToBeChecked(const Job& job, Interval interval) const {
  if (job.ending || job.check_at.contains(interval.begin)) return false;
  return IsDrawn(job.submitted.verify, job.submitted.request_id, job.key().round, interval) ||
         job.must_check.Overlaps(interval);
}

void Core::StartCheck(Job& job, const SliceCommitted& slice, const Way& way, std::string result) {
  const CheckId id{++last_check_};
  Check check{slice.key, slice.interval, slice.digest, {}, job.round->is_exact};
  check.runs.push_back({slice.worker, way, std::move(result)});
  scheduler_.AddCheck(id, slice.key, slice.interval, TermsOf(check));
  job.check_at[slice.interval.begin] = id;
  job.checks.emplace(id, std::move(check));
}

void Core::CheckContested(Job& job, const SliceCommitted& other, Outbox& outbox) {
  if (job.submitted.verify <= 0 || job.ended || job.ending || !job.round || job.key() != other.key) return;
  if (job.verified.Contains(other.interval) || job.must_check.Contains(other.interval)) return;
  job.must_check.Add(other.interval);
  if (job.is_volatile()) {
    const RoundLedger::Entry* counted = job.ledger.Find(other.interval);
    if (counted == nullptr || job.check_at.contains(other.interval.begin)) return;
    const SliceCommitted slice{job.key(), counted->interval, counted->digest, "", counted->worker, 0, other.at};
    return StartCheck(job, slice, counted->way, counted->result);
  }
  // What was counted is in the ledger only. If it is about to be read, that will do.
  if (job.check_at.contains(other.interval.begin) || job.rebuilds > 0) return;
  ++job.rebuilds;
  outbox.rebuilds.push_back(other.key);
}

void Core::RebuildChecks(Job& job, const std::vector<SliceCommitted>& slices,
                         const std::vector<SliceVerified>& verifications) {
  if (job.submitted.verify <= 0) return;
  std::map<uint64_t, const SliceVerified*> by_begin;
  for (const SliceVerified& verified : verifications) by_begin[verified.interval.begin] = &verified;
  for (const Interval interval : job.verified_meanwhile) CountVerified(job, interval);
  for (const SliceCommitted& slice : slices) {
    if (job.verified.Contains(slice.interval)) continue;
    const auto it = by_begin.find(slice.interval.begin);
    if (it != by_begin.end() && it->second->interval == slice.interval && it->second->digest == slice.digest) {
      CountVerified(job, slice.interval);
    } else if (!quarantined_.contains(slice.worker) && IsToBeChecked(job, slice.interval)) {
      const Part part{slice.interval, slice.payload};
      StartCheck(job, slice, Way{}, DigestOfResult(*job.planner, {&part, 1}));
    }
  }
}

void Core::ForgetCheck(Job& job, CheckId id) {
  const auto it = job.checks.find(id);
  if (it == job.checks.end()) return;
  scheduler_.DropCheck(id, it->second.key);
  job.check_at.erase(it->second.interval.begin);
  job.checks.erase(it);
}

// ---- What trials bring

bool Core::TakeTrialSlice(Session& session, ReportedSlice& reported, SliceAnswer& answer,
                          std::vector<FinishedTrial>& finished) {
  const TrialSlice slice = scheduler_.AcceptTrial(session.joined.session, reported.round, reported.interval,
                                                  reported.lease, reported.busy_seconds);
  if (slice.fate == TrialSlice::Fate::kNotOfATrial) return false;
  std::vector<Part>& parts = session.trials[reported.lease];
  if (slice.fate == TrialSlice::Fate::kHadBefore) {
    const bool is_repeat =
        std::any_of(parts.begin(), parts.end(), [&](const Part& part) { return part.interval == reported.interval; });
    answer.verdict = is_repeat ? SliceVerdict::kRepeat : SliceVerdict::kOverlap;
    return true;
  }
  parts.push_back({reported.interval, std::move(reported.payload)});
  if (!slice.is_last) return true;
  std::sort(parts.begin(), parts.end(),
            [](const Part& a, const Part& b) { return a.interval.begin < b.interval.begin; });
  finished.push_back({reported.round, slice, session.worker, std::move(parts)});
  session.trials.erase(reported.lease);
  return true;
}

void Core::TrialFinished(Instant now, const FinishedTrial& trial, Outbox& outbox) {
  Job* job = FindJob(trial.key.job);
  if (job == nullptr || job->ended || job->ending || !job->round || job->key() != trial.key) return;
  std::string result = DigestOfResult(*job->planner, trial.parts);
  if (trial.slice.check) {
    CheckFinished(now, *job, trial, std::move(result), outbox);
  } else {
    KnownAnswerFinished(now, *job, trial, result, outbox);
  }
}

void Core::KnownAnswerFinished(Instant now, Job& job, const FinishedTrial& trial, const std::string& result,
                               Outbox& outbox) {
  const Part& known = job.known.at(trial.slice.known);
  if (result == Sha256(known.payload) || quarantined_.contains(trial.worker)) return;
  const std::string reason = absl::StrCat("its result for ", Place(trial.key, known.interval),
                                          " is not the known one, which the coordinator counted itself");
  AddEvent(job, absl::StrCat("worker ", worker_names_[trial.worker], " was found wrong: ", reason));
  Condemn(now, trial.worker, reason, outbox);
}

void Core::CheckFinished(Instant now, Job& job, const FinishedTrial& trial, std::string result, Outbox& outbox) {
  const CheckId id = *trial.slice.check;
  const auto it = job.checks.find(id);
  if (it == job.checks.end() || it->second.is_settled) return;
  Check& check = it->second;
  if (quarantined_.contains(trial.worker)) {  // Found wrong by what it handed in together with this.
    return scheduler_.AddCheck(id, check.key, check.interval, TermsOf(check));
  }
  check.runs.push_back({trial.worker, trial.slice.way, std::move(result)});
  const std::vector<CheckRun> runs = check.runs;  // The check itself may go with what follows.
  const auto name = [&](size_t run) { return worker_names_[runs.at(run).worker]; };
  const auto found_wrong = [&, place = Place(check.key, check.interval)](size_t wrong, size_t right) {
    const std::string reason =
        absl::StrCat("its result for ", place, " differs from that of ", name(right), " and ", name(2), ", who agree");
    AddEvent(job, absl::StrCat("worker ", name(wrong), " was found wrong: ", reason));
    Condemn(now, runs[wrong].worker, reason, outbox);
  };
  switch (Judge(runs)) {
    case Finding::kAgreed:
      return StoreVerified(now, job, id, outbox);
    case Finding::kNeedsAnotherRun:
      return Disagreed(now, job, id, outbox);
    case Finding::kSecondWrong:
      check.is_settled = true;
      found_wrong(1, 0);
      if (job.checks.contains(id)) StoreVerified(now, job, id, outbox);  // Else its round is computed again.
      return;
    case Finding::kFirstWrong:
      check.is_settled = true;  // The slice is about to be retracted.
      return found_wrong(0, 1);
    case Finding::kAllDiffer:
      break;
  }
  check.is_settled = true;
  const std::string sentence = absl::StrCat("workers ", name(0), ", ", name(1), " and ", name(2), " disagree about ",
                                            Place(check.key, check.interval), ", each with another result");
  AddEvent(job, absl::StrCat(sentence, ": it is computed anew"));
  outbox.log.push_back(job.events.back());
  job.must_check.Add(check.interval);
  StartRetraction(now, job, {check.interval}, sentence, std::nullopt, outbox);
}

void Core::Disagreed(Instant now, Job& job, CheckId id, Outbox& outbox) {
  const Check& check = job.checks.at(id);
  const CheckRun& second = check.runs[1];
  ++job.disagreements;
  if (!job.is_volatile()) {
    Send(outbox, {SliceDisagreed{check.key, check.interval, second.result, second.worker, now.wall}}, Append{});
  }
  const CheckTerms terms = TermsOf(check);
  scheduler_.AddCheck(id, check.key, check.interval, terms);
  const std::vector<CheckTerms> stuck = scheduler_.ChecksWithoutWorker(check.key);
  const bool has_third = std::find(stuck.begin(), stuck.end(), terms) == stuck.end();
  AddEvent(job, absl::StrCat("workers ", worker_names_[check.runs[0].worker], " and ", worker_names_[second.worker],
                             " disagree about ", Place(check.key, check.interval), ": ",
                             has_third ? "a third worker decides"
                                       : "no third worker is at the table to decide, so this waits for one"));
  outbox.log.push_back(job.events.back());
}

// Found the same by its last run.
void Core::StoreVerified(Instant now, Job& job, CheckId id, Outbox& outbox) {
  Check& check = job.checks.at(id);
  check.is_settled = true;
  const CheckRun& second = check.runs.back();
  if (job.is_volatile()) {
    CountVerified(job, check.interval);
    job.must_check.Remove(check.interval);
    ForgetCheck(job, id);
    if (scheduler_.IsComplete(job.key())) Advance(now, job, outbox);
    return;
  }
  Append append;
  append.job = check.key.job;
  append.then = [this, id, key = check.key, interval = check.interval](Instant then, Outbox& later,
                                                                       const std::vector<Verdict>& verdicts) {
    Job* job_then = FindJob(key.job);
    if (job_then == nullptr || !job_then->checks.contains(id)) return;  // Retracted meanwhile, or ended.
    if (verdicts[0] != Verdict::kUnknown) {
      CountVerified(*job_then, interval);
      job_then->must_check.Remove(interval);
      if (job_then->rebuilds > 0) job_then->verified_meanwhile.push_back(interval);
    }
    ForgetCheck(*job_then, id);
    if (scheduler_.IsComplete(key)) Advance(then, *job_then, later);
  };
  SendUntilStored(outbox,
                  {SliceVerified{check.key, check.interval, check.digest, check.runs[0].worker, second.worker,
                                 second.way.implementation, now.wall}},
                  std::move(append));
}

std::string Core::WaitingFor(const Job& job) const {
  if (job.ended || job.ending || !job.round || job.settings.paused) return "";
  if (!scheduler_.HasWorkerFor(job.key())) {
    return absl::StrCat("its results must come from devices of the numerics class ", job.round->numerics_class,
                        ", and no worker at the table has one: let one join");
  }
  if (job.checks.empty()) return "";
  const bool is_complete = scheduler_.IsComplete(job.key());
  const auto name = [this](WorkerId worker) {
    const auto it = worker_names_.find(worker);
    return it == worker_names_.end() ? "?" : it->second;
  };
  const std::vector<CheckTerms> stuck = scheduler_.ChecksWithoutWorker(job.key());
  for (const CheckTerms& terms : stuck) {
    if (terms.not_by.size() < 2) continue;
    return absl::StrCat("workers ", name(terms.not_by[0]), " and ", name(terms.not_by[1]),
                        " disagree, and a third one must decide who is right: let another worker join");
  }
  if (!is_complete) return "";
  if (stuck.empty()) return "all is computed; the last slices are being verified by a second worker";
  const bool is_bound = stuck[0].same_class_only && !stuck[0].other_than.empty();
  return absl::StrCat(
      "all is computed; what ", name(stuck[0].not_by[0]),
      " computed is yet to be verified by a second worker: let another worker join",
      is_bound ? absl::StrCat(" that has a device of the numerics class ", stuck[0].other_than[0].numerics_class) : "");
}

// ---- Quarantine

void Core::Condemn(Instant now, WorkerId worker, const std::string& reason, Outbox& outbox) {
  if (!quarantined_.emplace(worker, Quarantined{reason, false}).second) return;
  outbox.log.push_back(absl::StrCat("worker ", worker_names_[worker], " is quarantined: ", reason,
                                    "; what it handed in of unfinished jobs is done again"));
  Append append;
  append.then = [this, worker](Instant, Outbox&, const std::vector<Verdict>&) {
    if (const auto it = quarantined_.find(worker); it != quarantined_.end()) it->second.is_stored = true;
  };
  SendUntilStored(outbox, {WorkerQuarantined{worker, reason, now.wall}}, std::move(append));
  for (auto& [id, job] : jobs_) {
    ForgetRunsOf(job, worker);
    DistrustSlices(job, worker, outbox);
  }
  condemned_.push_back(worker);
}

void Core::RemoveCondemned(Instant now, Outbox& outbox) {
  for (const WorkerId worker : std::exchange(condemned_, {})) {
    std::vector<SessionId> sessions;
    for (const auto& [id, session] : sessions_) {
      if (session.worker == worker) sessions.push_back(id);
    }
    const absl::Status reason =
        absl::PermissionDeniedError(absl::StrCat("this worker is quarantined: ", quarantined_.at(worker).reason));
    for (const SessionId id : sessions) RemoveSession(now, id, reason, SessionEnd::kQuarantined, outbox);
  }
}

// Its slices are about to be retracted, and what it said about others' does not count any more.
void Core::ForgetRunsOf(Job& job, WorkerId worker) {
  for (auto& [id, check] : job.checks) {
    if (check.is_settled) continue;
    if (check.runs[0].worker == worker) {
      scheduler_.DropCheck(id, check.key);
      check.is_settled = true;
    } else if (check.runs.size() > 1 && check.runs[1].worker == worker) {
      scheduler_.DropCheck(id, check.key);
      check.runs.pop_back();
      scheduler_.AddCheck(id, check.key, check.interval, TermsOf(check));
    }
  }
}

Outbox Core::Pardon(Instant now, CallId call, const std::string& worker_name) {
  Outbox outbox;
  std::vector<Fact> facts;
  std::vector<WorkerId> pardoned;
  for (const auto& [worker, quarantine] : quarantined_) {
    if (worker_names_[worker] != worker_name) continue;
    if (!quarantine.is_stored) {  // Stored after the pardon, it would outlive it.
      Refuse(
          outbox, call,
          absl::UnavailableError(absl::StrCat("the quarantine of \"", worker_name, "\" is being stored; ask again")));
      return outbox;
    }
    pardoned.push_back(worker);
    facts.push_back(WorkerPardoned{worker, now.wall});
  }
  if (pardoned.empty()) {
    Refuse(outbox, call,
           absl::NotFoundError(absl::StrCat("no worker named \"", worker_name,
                                            "\" is quarantined (`potluck workers list` shows those that are)")));
    return outbox;
  }
  Append append;
  append.call = call;
  append.then = [this, pardoned, worker_name](Instant, Outbox& later, const std::vector<Verdict>&) {
    for (const WorkerId worker : pardoned) quarantined_.erase(worker);
    later.log.push_back(absl::StrCat("worker ", worker_name, " is pardoned and may join again"));
  };
  Send(outbox, std::move(facts), std::move(append));
  return outbox;
}

}  // namespace potluck
