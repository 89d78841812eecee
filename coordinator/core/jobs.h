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
#include "coordinator/core/checks.h"
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
  size_t rebuilds = 0;                  // How often what is merged is yet to be read anew from the ledger.
  bool is_new = false;                  // Submitted, and not stored yet.
  bool ending = false;                  // Its JobEnded is on the way to the store.
  std::optional<JobEnded> ended;
  std::map<WorkerId, Contribution> contributions;
  uint64_t disagreements = 0;
  std::vector<std::string> events;  // What verification found, a sentence each; the first few and the last.

  // Verification of the open round.
  std::vector<Part> known;               // Known-answer units.
  std::map<CheckId, Check> checks;       // Slices to be verified before the round closes.
  std::map<uint64_t, CheckId> check_at;  // By the begin of their interval.
  IntervalSet must_check;                // Nobody was believed about these: checked whatever is drawn.
  IntervalSet verified;
  uint64_t verified_slices = 0;
  double verified_cost = 0;

  // While `rebuilds` is not 0: what was stored since, and may have been too late to be read.
  std::vector<SliceCommitted> committed_meanwhile;
  std::vector<Interval> verified_meanwhile;

  JobView final_view;  // Once it has ended: what was known of it then.

  RoundKey key() const { return {submitted.job, round ? round->number : 0}; }
  JobState state() const;
  JobShare share() const { return {settings.paused, settings.priority, settings.weight}; }
};

// Folds a committed slice in, unless it is there already. Fails on an overflow; the job must then end as failed.
absl::Status MergeSlice(Job& job, const SliceCommitted& slice, const std::string& worker_name);

// Counts a committed slice as verified, unless it is counted already.
void CountVerified(Job& job, Interval interval);

// Adds a sentence to the job's events.
void AddEvent(Job& job, const std::string& sentence);

// Takes the planner back to the round's opening, to be rebuilt from the ledger.
void ForgetMerged(Job& job);

// Builds a job from what is stored, without slices; its current round is open in the planner.
absl::StatusOr<Job> RestoreJob(const StoredJob& stored, const PlannerFactory& factory);

JobView Describe(const Job& job);

// A job's contributions and how much of it was verified as text, for its JobEnded: a line each, fields between tabs.
// Lines that are not understood are passed over.
std::string EncodeContributions(const JobView& view);
void DecodeContributions(const std::string& text, JobView& view);

}  // namespace potluck
