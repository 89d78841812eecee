// The jobs and their planners: what is merged, and who contributed. Pure like the rest of the core; not thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/messages.h"
#include "coordinator/scheduler/scheduler.h"
#include "kernels/workload/interval_set.h"
#include "kernels/workload/planner.h"

namespace potluck {

// Makes a workload's planner (kernels/workload/registry.h; tests bring their own).
using PlannerFactory =
    std::function<Result<std::unique_ptr<Planner>>(const std::string& workload, const std::string& spec)>;

struct Job {
  JobSubmitted submitted;
  JobSettings settings;
  std::vector<std::string> blobs;  // Digests of what it reads.
  std::unique_ptr<Planner> planner;
  std::optional<Round> round;           // The open one; none when it has ended or waits for the store to open it.
  IntervalSet merged;                   // Of the open round: what the planner holds.
  size_t distrusts = 0;                 // Workers found wrong whose slices are being looked for.
  size_t retractions_on_their_way = 0;  // To the store.
  bool rebuilding = false;              // What is merged is to be read anew from the ledger.
  bool is_new = false;                  // Submitted, and not stored yet.
  bool ending = false;                  // Its JobEnded is on the way to the store.
  std::optional<JobEnded> ended;
  std::map<WorkerId, Contribution> contributions;
  uint64_t disagreements = 0;
  JobView final_view;  // Once it has ended: what was known of it then.

  RoundKey key() const { return {submitted.job, round ? round->number : 0}; }
  JobState state() const;
  JobShare share() const { return {settings.paused, settings.priority, settings.weight}; }
};

// Folds a committed slice in, unless it is there already. Fails on an overflow; the job must then end as failed.
absl::Status MergeSlice(Job& job, const SliceCommitted& slice, const std::string& worker_name);

// Takes the planner back to the round's opening, to be rebuilt from the ledger.
void ForgetMerged(Job& job);

// Builds a job from what is stored, without slices; its current round is open in the planner.
absl::StatusOr<Job> RestoreJob(const StoredJob& stored, const PlannerFactory& factory);

JobView Describe(const Job& job);

// A job's contributions as text, for its JobEnded: a line each, fields between tabs. Lines that are not understood are
// passed over.
std::string EncodeContributions(const std::vector<Contribution>& contributions);
std::vector<Contribution> DecodeContributions(const std::string& text);

}  // namespace potluck
