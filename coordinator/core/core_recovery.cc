// Taking over what a former coordinator stored, and reading a round anew.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/core/core.h"

namespace potluck {

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
    job_by_request_[stored.submitted.request_id] = stored.submitted.job;
    absl::StatusOr<RestoredJob> restored = RestoreJob(stored, factory_, blobs_, now.wall);
    if (restored.ok()) {
      Reopen(now, *std::move(restored), outbox);
      continue;
    }
    // Its facts stay in the store until it is deleted.
    outbox.log.push_back(std::string(restored.status().message()));
    unreadable_jobs_.insert(stored.submitted.job);
    for (const StateSaved& state : stored.states) blobs_of_other_builds_.push_back(state.digest);
  }
  for (const BlobNamed& named : contents.blobs) {
    Job* job = FindJob(named.job);
    (job != nullptr ? job->blobs : blobs_of_other_builds_).push_back(named.digest);
  }
  DeleteOldJobs(now, outbox);
  book_.Recover(now, contents);
  StoreBook(now, outbox);
  return outbox;
}

void Core::Reopen(Instant now, RestoredJob restored, Outbox& outbox) {
  for (std::string& sentence : restored.log) outbox.log.push_back(std::move(sentence));
  const JobId id = restored.job.submitted.job;
  Job& job = jobs_.emplace(id, std::move(restored.job)).first->second;
  if (job.ended) return;
  job.last_save = now.monotonic;
  if (!restored.failure.empty()) {
    End(now, job, JobOutcome::kFailed, restored.failure, std::nullopt, outbox, /*has_state=*/false);
  } else if (restored.is_complete) {
    End(now, job, JobOutcome::kDone, "", std::nullopt, outbox);
  } else if (job.round && job.is_volatile()) {
    OpenRound(job, {});
  } else if (job.round) {
    outbox.rebuilds.push_back(job.key());
  }
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

}  // namespace potluck
