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
#include "base/blob.h"
#include "coordinator/core/checks.h"
#include "coordinator/core/messages.h"
#include "coordinator/core/round_ledger.h"
#include "coordinator/scheduler/scheduler.h"
#include "kernels/workload/interval_set.h"
#include "kernels/workload/planner.h"

namespace potluck {

// Makes a workload's planner (kernels/workload/registry.h; tests bring their own), which may read the job's blobs.
using PlannerFactory = std::function<Result<std::unique_ptr<Planner>>(
    const std::string& workload, const std::string& spec, const BlobReader& blobs)>;

// A blob in memory: what a round reads besides the job's (Round::bulk). Immutable.
struct Bulk {
  std::string digest;
  Manifest manifest;
  SharedBytes bytes;
};

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
  std::map<WorkerId, Contribution> opening_contributions;  // As they were at the opening of the open round.
  uint64_t disagreements = 0;
  std::vector<std::string> events;  // What verification found, a sentence each; the first few and the last.

  // Of volatile rounds.
  Durability durability = Durability::kLedger;    // Of all its rounds.
  RoundLedger ledger;                             // Of the open round.
  std::vector<std::shared_ptr<const Bulk>> bulk;  // Of the open round, in its order.
  uint32_t state_round = 0;                       // At the opening of which round the planner's State() is.
  std::optional<uint32_t> saved_round;            // ... of those saved, or read, by this coordinator, the last one.
  absl::Time last_save;                           // Monotonic: or when that was last tried.
  std::vector<StateSaved> states;                 // As in the store.
  std::vector<std::string> states_on_their_way;   // To the store: their blobs.

  // Verification of the open round.
  std::vector<Part> known;               // Known-answer units.
  std::map<CheckId, Check> checks;       // Slices to be verified before the round closes.
  std::map<uint64_t, CheckId> check_at;  // By the begin of their interval.
  IntervalSet must_check;                // Nobody was believed about these: checked whatever is drawn.
  IntervalSet verified;
  struct VerifiedCounts {
    uint64_t slices = 0, indices = 0;
    double cost = 0;
  };
  VerifiedCounts verified_counts;          // Of the open round; of a volatile job, of all rounds.
  VerifiedCounts opening_verified_counts;  // As they were at the opening of the open round.

  // While `rebuilds` is not 0: what was stored since, and may have been too late to be read.
  std::vector<SliceCommitted> committed_meanwhile;
  std::vector<Interval> verified_meanwhile;

  JobView final_view;  // Once it has ended: what was known of it then.

  RoundKey key() const { return {submitted.job, round ? round->number : 0}; }
  JobState state() const;
  bool is_volatile() const { return durability == Durability::kVolatile; }
  JobShare share() const { return {settings.paused, settings.priority, settings.weight}; }
};

// Folds a committed slice in, unless it is there already. Fails on an overflow; the job must then end as failed.
absl::Status MergeSlice(Job& job, SliceCommitted slice, const std::string& worker_name);

// Counts a committed slice as verified, unless it is counted already.
void CountVerified(Job& job, Interval interval);

// Adds a sentence to the job's events.
void AddEvent(Job& job, const std::string& sentence);

// Takes the planner back to the round's opening, to be rebuilt from the ledger or computed again.
void ForgetMerged(Job& job);

// How long ago the job was submitted; not negative, whatever became of the clock.
double JobSeconds(const Job& job, absl::Time wall_now);

// The round's bulk data with their names. What `known` has already, by its place in memory, is not hashed again.
std::vector<std::shared_ptr<const Bulk>> DescribeBulk(const Round& round,
                                                      const std::vector<std::shared_ptr<const Bulk>>& known);

struct RestoredJob {
  Job job;
  bool is_complete = false;      // Nothing is left to do but to say so.
  std::string failure;           // It cannot go on, and this is why; empty: it can.
  std::vector<std::string> log;  // For the operator.
};

// Builds a job from what is stored, without slices; its current round is open in the planner. A job whose rounds are
// volatile goes on from the newest saved state that can be read, or else begins anew. Errors: this build cannot
// continue it.
absl::StatusOr<RestoredJob> RestoreJob(const StoredJob& stored, const PlannerFactory& factory, const BlobReader& blobs,
                                       absl::Time wall_now);

JobView Describe(const Job& job);

// A job's contributions and how much of it was verified as text, for its JobEnded: a line each, fields between tabs.
// Lines that are not understood are passed over.
std::string EncodeContributions(const JobView& view);
void DecodeContributions(const std::string& text, JobView& view);

}  // namespace potluck
