#include "coordinator/core/jobs.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace potluck {
namespace {

constexpr size_t kMostEvents = 10;
constexpr char kVerifiedLine[] = "verified";

}  // namespace

JobState Job::state() const {
  if (!ended) return settings.paused ? JobState::kPaused : JobState::kRunning;
  switch (ended->outcome) {
    case JobOutcome::kDone:
      return JobState::kDone;
    case JobOutcome::kCancelled:
      return JobState::kCancelled;
    case JobOutcome::kFailed:
      return JobState::kFailed;
  }
  return JobState::kFailed;
}

absl::Status MergeSlice(Job& job, const SliceCommitted& slice, const std::string& worker_name) {
  if (!job.round || job.round->number != slice.key.round || job.merged.Overlaps(slice.interval))
    return absl::OkStatus();
  if (const Status merged = job.planner->Merge(slice.interval, slice.payload); !merged.ok()) {
    return absl::InternalError(merged.message());
  }
  job.merged.Add(slice.interval);
  Contribution& contribution = job.contributions[slice.worker];
  contribution.worker = worker_name;
  contribution.slices += 1;
  contribution.indices += slice.interval.size();
  contribution.cost += job.round->plan->Cost(slice.interval);
  contribution.busy_seconds += slice.busy_seconds;
  return absl::OkStatus();
}

void CountVerified(Job& job, Interval interval) {
  if (job.verified.Overlaps(interval)) return;
  job.verified.Add(interval);
  ++job.verified_slices;
  job.verified_cost += job.round->plan->Cost(interval);
}

void AddEvent(Job& job, const std::string& sentence) {
  if (job.events.size() == kMostEvents) job.events.pop_back();
  job.events.push_back(sentence);
}

void ForgetMerged(Job& job) {
  job.planner->ResetRound();
  job.merged.Clear();
  job.verified.Clear();
  job.verified_slices = 0;
  job.verified_cost = 0;
  // Contributions of earlier rounds cannot be told apart from this one's; only the open round is counted again.
  job.contributions.clear();
}

absl::StatusOr<Job> RestoreJob(const StoredJob& stored, const PlannerFactory& factory) {
  Job job;
  job.submitted = stored.submitted;
  job.settings = stored.settings;
  job.disagreements = stored.disagreements;
  if (stored.has_ended) {
    job.ended = stored.ended;  // Only what is stored of it is shown from now on.
    job.final_view.size = stored.rounds.empty() ? 0 : stored.rounds.back().size;
    DecodeContributions(stored.ended.contributions, job.final_view);
    for (const Contribution& one : job.final_view.contributions) {
      job.final_view.committed += one.indices;
      job.final_view.committed_cost += one.cost;
    }
    job.final_view.cost = job.final_view.committed_cost;  // What the rest would have cost is not kept.
    return job;
  }
  Result<std::unique_ptr<Planner>> planner = factory(stored.submitted.workload, stored.submitted.spec);
  if (!planner.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "job ", ToString(stored.submitted.job), " cannot be continued by this build: ", planner.status().message()));
  }
  job.planner = *std::move(planner);
  if (stored.rounds.empty()) return job;
  const RoundOpened& last = stored.rounds.back();
  if (const Status restored = job.planner->Restore(last.planner_state); !restored.ok()) {
    return absl::DataLossError(absl::StrCat("job ", ToString(stored.submitted.job),
                                            ": its planner's state cannot be read: ", restored.message()));
  }
  Result<std::optional<Round>> round = job.planner->NextRound(0);
  if (!round.ok()) return absl::InternalError(round.status().message());
  if (!round->has_value() || (*round)->number != last.key.round || (*round)->plan->Size() != last.size) {
    return absl::FailedPreconditionError(absl::StrCat(
        "job ", ToString(stored.submitted.job),
        " was split in another way by the build that started it: finish it with that build, or delete it"));
  }
  job.round = std::move(*round);
  return job;
}

std::string EncodeContributions(const JobView& view) {
  std::string text;
  for (const Contribution& one : view.contributions) {
    absl::StrAppend(&text, one.worker, "\t", one.slices, "\t", one.indices, "\t", one.cost, "\t", one.busy_seconds,
                    "\n");
  }
  // Fewer fields than a contribution has: builds that do not know this line pass it over.
  if (view.verified_slices > 0) {
    absl::StrAppend(&text, kVerifiedLine, "\t", view.verified_slices, "\t", view.verified_indices, "\t",
                    view.verified_cost, "\n");
  }
  return text;
}

void DecodeContributions(const std::string& text, JobView& view) {
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    if (fields.size() == 4 && fields[0] == kVerifiedLine) {
      const bool is_read = absl::SimpleAtoi(fields[1], &view.verified_slices) &&
                           absl::SimpleAtoi(fields[2], &view.verified_indices) &&
                           absl::SimpleAtod(fields[3], &view.verified_cost);
      if (!is_read) view.verified_slices = view.verified_indices = 0, view.verified_cost = 0;
      continue;
    }
    Contribution one;
    if (fields.size() < 5 || !absl::SimpleAtoi(fields[1], &one.slices) || !absl::SimpleAtoi(fields[2], &one.indices) ||
        !absl::SimpleAtod(fields[3], &one.cost) || !absl::SimpleAtod(fields[4], &one.busy_seconds)) {
      continue;
    }
    one.worker = fields[0];
    view.contributions.push_back(std::move(one));
  }
}

JobView Describe(const Job& job) {
  JobView view = job.final_view;
  view.id = job.submitted.job;
  view.workload = job.submitted.workload;
  view.name = job.submitted.name;
  view.spec = job.submitted.spec;
  view.submitted_by = job.submitted.submitted_by;
  view.state = job.state();
  view.priority = job.settings.priority;
  view.weight = job.settings.weight;
  view.disagreements = job.disagreements;
  view.verify = job.submitted.verify;
  view.submitted_at = job.submitted.at;
  if (job.round) {
    view.round = job.round->number;
    view.size = job.round->plan->Size();
    view.cost = job.round->plan->Cost({0, view.size});
    view.committed = job.merged.size();
    view.verified_slices = job.verified_slices;
    view.verified_indices = job.verified.size();
    view.verified_cost = job.verified_cost;
    for (const Interval interval : job.merged.Intervals()) view.committed_cost += job.round->plan->Cost(interval);
  }
  if (job.ended) {
    view.summary = job.ended->result;
    view.message = job.ended->message;
    view.ended_at = job.ended->at;
  } else if (job.planner) {
    view.summary = job.planner->Summary();
    if (!job.events.empty()) view.message = job.events.back();
  }
  if (!job.contributions.empty()) view.contributions.clear();
  for (const auto& [worker, contribution] : job.contributions) view.contributions.push_back(contribution);
  return view;
}

}  // namespace potluck
