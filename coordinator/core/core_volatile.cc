// What is special about volatile rounds: slices that are counted at once, results that are handed over apart from
// Exchanges, and the planner's state, which is saved now and then.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/core/core.h"

namespace potluck {
namespace {

// Between two tries to save a job's final state.
constexpr absl::Duration kRetrySave = absl::Seconds(5);
// A result whose slice does not come takes up others' room no longer than this.
constexpr absl::Duration kLongestUnclaimed = absl::Seconds(60);

}  // namespace

// ---- Slices

SliceVerdict Core::CountAtOnce(Instant now, Session& session, ReportedSlice& reported, Outbox& outbox) {
  Job& job = jobs_.at(reported.round.job);
  const Interval interval = reported.interval;
  const Way way = scheduler_.WayOf(session.joined.session, reported.slot);
  const Verdict verdict = job.ledger.Judge(interval, reported.digest);
  if (verdict == Verdict::kDisagreement) {
    const RoundLedger::Entry& counted = *job.ledger.Find(interval);
    // Devices of other classes may well find other bits.
    if (!job.round->is_exact && counted.way.numerics_class != way.numerics_class) return SliceVerdict::kDisagreement;
  }
  std::string result;
  if (verdict == Verdict::kStored) {
    // What it overlaps in the scheduler is what it overlaps here: it is pending now.
    scheduler_.Accept(reported.round, interval, reported.lease);
    if (job.submitted.verify > 0) {  // Merged, it cannot be looked at any more.
      Part part{interval, std::move(reported.payload)};
      result = DigestOfResult(*job.planner, {&part, 1});
      reported.payload = std::move(part.payload);
    }
    job.ledger.Enter({interval, reported.digest, session.worker, way, std::move(result)});
  }
  SliceOnItsWay slice = OnItsWay(now, session, reported);
  slice.pending = verdict == Verdict::kStored;
  const SliceVerdict answer = SliceStored(now, slice, verdict, outbox);
  session.slices += answer == SliceVerdict::kCommitted ? 1 : 0;
  return answer;
}

void Core::ComputeAgain(Job& job, Outbox& outbox) {
  outbox.log.push_back(
      absl::StrCat("job ", ToString(job.submitted.job), ": all of round ", job.round->number, " is computed again"));
  while (!job.checks.empty()) ForgetCheck(job, job.checks.begin()->first);
  for (const Interval interval : job.merged.Intervals()) scheduler_.Retract(job.key(), interval);
  job.ledger.Clear();
  ForgetMerged(job);
}

// ---- Results handed over

absl::Status Core::MayPut(SessionId id, TokenId token, LeaseId lease, RoundKey key, uint64_t size) const {
  const auto session = sessions_.find(id);
  if (session == sessions_.end() || session->second.joined.token != token) {
    return absl::PermissionDeniedError("the session is not live or belongs to another token: join again");
  }
  const auto job = jobs_.find(key.job);
  if (!scheduler_.HoldsLease(id, lease, key) || job == jobs_.end() || !job->second.round || job->second.ending) {
    return absl::PermissionDeniedError(absl::StrCat("the session holds no lease ", ToString(lease), " of round ",
                                                    key.round, " of job ", ToString(key.job),
                                                    " (any more): drop the result"));
  }
  if (!job->second.is_volatile()) {
    return absl::InvalidArgumentError("the round's results are part of the Exchange, as they are stored");
  }
  const uint64_t limit = job->second.round->max_result_bytes;
  if (size > 0 && size <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("size is ", size, "; allowed are 1 to ", limit));
}

absl::Status Core::ResultPut(Instant now, SessionId id, TokenId token, HandedOver result) {
  // All of it came meanwhile, and the lease may have gone.
  if (absl::Status status = MayPut(id, token, result.lease, result.round, result.payload.size()); !status.ok()) {
    return status;
  }
  result.at = now.monotonic;
  std::string digest = result.digest;
  sessions_.at(id).handed_over.insert_or_assign(std::move(digest), std::move(result));
  with_handed_over_.insert(id);
  return absl::OkStatus();
}

SliceAnswer Core::FindHandedOver(Session& session, ReportedSlice& slice, const Job& job) {
  if (!job.is_volatile()) {
    return {SliceVerdict::kInvalid, "the result was to be part of the Exchange: its round is not volatile"};
  }
  auto found = session.handed_over.extract(slice.digest);
  if (found.empty() || found.mapped().round != slice.round) return {SliceVerdict::kNotHere, ""};
  slice.payload = std::move(found.mapped().payload);
  rooms_of_merged_.push_back(std::move(found.mapped().room));
  return {SliceVerdict::kCommitted, ""};
}

// Those that no Exchange will name any more.
void Core::DropHandedOver(Instant now) {
  for (auto it = with_handed_over_.begin(); it != with_handed_over_.end();) {
    auto& handed_over = sessions_.at(*it).handed_over;
    std::erase_if(handed_over, [&](const auto& entry) {
      const HandedOver& result = entry.second;
      return now.monotonic - result.at > kLongestUnclaimed || !scheduler_.HoldsLease(*it, result.lease, result.round);
    });
    it = handed_over.empty() ? with_handed_over_.erase(it) : std::next(it);
  }
}

// ---- Rounds and saved states

void Core::OpenVolatileRound(Instant now, Job& job, Round round, Outbox& outbox) {
  job.bulk = DescribeBulk(round, job.bulk);
  const auto open = [this](Job& opened, const Round& its_round) {
    opened.round = its_round;
    OpenRound(opened, {});
  };
  if (now.monotonic - job.last_save < options_.save_interval) return open(job, round);
  SaveState(
      now, job, outbox,
      [this, open, id = job.submitted.job, round = std::move(round)](Instant then, Outbox&, const absl::Status& saved) {
        Job* job_then = FindJob(id);
        if (job_then == nullptr || job_then->ending || job_then->ended) return;
        job_then->last_save = then.monotonic;
        const std::string sentence =
            absl::StrCat("its state could not be saved and is tried again later: ", std::string(saved.message()));
        if (!saved.ok() && (job_then->events.empty() || job_then->events.back() != sentence)) {
          AddEvent(*job_then, sentence);
        }
        open(*job_then, round);
      });
}

void Core::SaveState(Instant now, Job& job, Outbox& outbox,
                     std::function<void(Instant, Outbox&, const absl::Status&)> then) {
  std::vector<SharedBytes> parts = job.planner->State();
  if (parts.empty()) return then(now, outbox, absl::FailedPreconditionError("the job has no state to save"));
  const uint64_t id = next_save_++;
  const RoundKey key{job.submitted.job, job.state_round};
  saves_[id] = {{key, "", EncodeContributions(Describe(job)), now.wall}, std::move(then)};
  outbox.saves.push_back({id, key.job, key.round, std::move(parts)});
}

Outbox Core::StateWritten(Instant now, uint64_t id, const absl::StatusOr<std::string>& digest) {
  Outbox outbox;
  auto found = saves_.extract(id);
  if (found.empty()) return outbox;
  Save save = std::move(found.mapped());
  const JobId job_id = save.fact.key.job;
  Job* job = FindJob(job_id);
  if (job == nullptr) return outbox;
  const auto failed = [job_id, then = save.then](Instant when, Outbox& later, const absl::Status& status) {
    later.log.push_back(
        absl::StrCat("the state of job ", ToString(job_id), " could not be saved: ", std::string(status.message())));
    then(when, later, status);
  };
  if (!digest.ok()) {
    failed(now, outbox, digest.status());
    Wake(now, outbox);
    return outbox;
  }
  save.fact.digest = *digest;
  job->states_on_their_way.push_back(*digest);
  const auto arrived = [this, job_id, blob = *digest]() -> Job* {
    Job* job_then = FindJob(job_id);
    if (job_then == nullptr) return nullptr;
    auto& on_their_way = job_then->states_on_their_way;
    on_their_way.erase(std::find(on_their_way.begin(), on_their_way.end(), blob));
    return job_then;
  };
  Append append;
  append.job = job_id;
  append.then = [fact = save.fact, arrived, then = save.then](Instant when, Outbox& later,
                                                              const std::vector<Verdict>&) {
    Job* job_then = arrived();
    if (job_then == nullptr) return;
    std::erase_if(job_then->states,
                  [&fact](const StateSaved& known) { return known.key == fact.key && known.digest == fact.digest; });
    job_then->states.push_back(fact);
    if (job_then->states.size() > kKeptStates) job_then->states.erase(job_then->states.begin());
    job_then->saved_round = fact.key.round;
    later.collect_blobs = true;
    then(when, later, absl::OkStatus());
  };
  append.otherwise = [arrived, failed](Instant when, Outbox& later) {
    if (arrived() == nullptr) return;
    later.collect_blobs = true;
    failed(when, later, absl::ResourceExhaustedError("the store could not take note of it"));
  };
  Send(outbox, {save.fact}, std::move(append));
  return outbox;
}

void Core::SaveAtEnd(Instant now, JobEnded ended, std::optional<CallId> call, int tries, Outbox& outbox) {
  Job* job = FindJob(ended.job);
  if (job == nullptr) return;
  SaveState(now, *job, outbox,
            [this, ended, call, tries](Instant then, Outbox& later, const absl::Status& saved) mutable {
              if (saved.ok()) return StoreEnd(ended, call, later);
              if (tries > 1) {
                later_.emplace(then.monotonic + kRetrySave, [this, ended, call, tries](Instant when, Outbox& again) {
                  SaveAtEnd(when, ended, call, tries - 1, again);
                });
                return;
              }
              // What was saved before is not its result.
              if (ended.outcome == JobOutcome::kDone) ended.outcome = JobOutcome::kFailed;
              absl::StrAppend(&ended.message, ended.message.empty() ? "" : "; ",
                              "the final state could not be saved: ", std::string(saved.message()));
              StoreEnd(ended, call, later);
            });
}

}  // namespace potluck
