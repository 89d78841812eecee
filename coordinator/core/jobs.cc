#include "coordinator/core/jobs.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
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

absl::Status MergeSlice(Job& job, SliceCommitted slice, const std::string& worker_name) {
  if (!job.round || job.round->number != slice.key.round || job.merged.Overlaps(slice.interval))
    return absl::OkStatus();
  if (const Status merged = job.planner->Merge(slice.interval, std::move(slice.payload)); !merged.ok()) {
    return absl::InternalError(merged.message());
  }
  job.merged.Add(slice.interval);
  Contribution& contribution = job.contributions[slice.worker];
  contribution.id = slice.worker;
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
  ++job.verified_counts.slices;
  job.verified_counts.indices += interval.size();
  job.verified_counts.cost += job.round->plan->Cost(interval);
}

void AddEvent(Job& job, const std::string& sentence) {
  if (job.events.size() == kMostEvents) job.events.pop_back();
  job.events.push_back(sentence);
}

void ForgetMerged(Job& job) {
  job.planner->ResetRound();
  job.merged.Clear();
  job.verified.Clear();
  job.verified_counts = job.opening_verified_counts;
  for (auto& [worker, contribution] : job.contributions) {
    // But for what went over the wire: that did.
    const auto it = job.opening_contributions.find(worker);
    const Contribution before = it == job.opening_contributions.end() ? Contribution() : it->second;
    contribution.slices = before.slices;
    contribution.indices = before.indices;
    contribution.cost = before.cost;
    contribution.busy_seconds = before.busy_seconds;
  }
}

double JobSeconds(const Job& job, absl::Time wall_now) {
  return std::max(0.0, absl::ToDoubleSeconds(wall_now - job.submitted.at));
}

std::vector<std::shared_ptr<const Bulk>> DescribeBulk(const Round& round,
                                                      const std::vector<std::shared_ptr<const Bulk>>& known) {
  std::vector<std::shared_ptr<const Bulk>> described;
  for (const SharedBytes& bytes : round.bulk) {
    // Both are alive: so what begins at the same place is the same.
    const auto it = std::find_if(known.begin(), known.end(), [&](const std::shared_ptr<const Bulk>& one) {
      return one->bytes.view().data() == bytes.view().data() && one->bytes.size() == bytes.size();
    });
    if (it != known.end()) {
      described.push_back(*it);
      continue;
    }
    Manifest manifest = DescribeBlob({bytes.view().data(), bytes.size()});
    std::string digest = BlobDigest(manifest);
    described.push_back(std::make_shared<const Bulk>(Bulk{std::move(digest), std::move(manifest), bytes}));
  }
  return described;
}

namespace {

// Of a job that has ended only what is stored is shown from now on.
void RestoreEnded(const StoredJob& stored, Job& job) {
  job.ended = stored.ended;
  job.final_view.size = stored.rounds.empty() ? 0 : stored.rounds.back().size;
  DecodeContributions(stored.ended.contributions, job.final_view);
  for (const Contribution& one : job.final_view.contributions) {
    job.final_view.committed += one.indices;
    job.final_view.committed_cost += one.cost;
  }
  job.final_view.cost = job.final_view.committed_cost;  // What the rest would have cost is not kept.
}

absl::StatusOr<std::unique_ptr<Planner>> NewPlanner(const StoredJob& stored, const PlannerFactory& factory,
                                                    const BlobReader& blobs) {
  Result<std::unique_ptr<Planner>> planner = factory(stored.submitted.workload, stored.submitted.spec, blobs);
  if (planner.ok()) return *std::move(planner);
  return absl::FailedPreconditionError(absl::StrCat(
      "job ", ToString(stored.submitted.job), " cannot be continued by this build: ", planner.status().message()));
}

absl::Status RestoreLedgerRound(const RoundOpened& last, Job& job) {
  const std::string name = absl::StrCat("job ", ToString(last.key.job));
  if (const Status restored = job.planner->Restore(last.planner_state); !restored.ok()) {
    return absl::DataLossError(absl::StrCat(name, ": its planner's state cannot be read: ", restored.message()));
  }
  Result<std::optional<Round>> round = job.planner->NextRound(0);
  if (!round.ok()) return absl::InternalError(round.status().message());
  if (!round->has_value() || (*round)->number != last.key.round || (*round)->plan->Size() != last.size) {
    return absl::FailedPreconditionError(absl::StrCat(
        name, " was split in another way by the build that started it: finish it with that build, or delete it"));
  }
  job.round = std::move(*round);
  return absl::OkStatus();
}

// The newest state that can be used, the planner made ready with it; null: none.
absl::StatusOr<const StateSaved*> RestoreState(const StoredJob& stored, const PlannerFactory& factory,
                                               const BlobReader& blobs, RestoredJob& restored) {
  for (auto state = stored.states.rbegin(); state != stored.states.rend(); ++state) {
    absl::StatusOr<std::unique_ptr<Planner>> planner = NewPlanner(stored, factory, blobs);
    if (!planner.ok()) return planner.status();
    Status status = Status::Error("there is nothing to read it with");
    if (blobs) {
      const Result<std::string> bytes = blobs(state->digest);
      status = bytes.ok() ? (*planner)->Restore(*bytes) : bytes.status();
    }
    if (status.ok()) {
      restored.job.planner = *std::move(planner);
      return &*state;
    }
    restored.log.push_back(absl::StrCat("job ", ToString(stored.submitted.job),
                                        ": its state saved at the opening of round ", state->key.round,
                                        " cannot be used: ", status.message()));
  }
  return nullptr;
}

absl::Status RestoreVolatile(const StoredJob& stored, const PlannerFactory& factory, const BlobReader& blobs,
                             absl::Time wall_now, RestoredJob& restored) {
  Job& job = restored.job;
  const absl::StatusOr<const StateSaved*> state = RestoreState(stored, factory, blobs, restored);
  if (!state.ok()) return state.status();
  if (*state != nullptr) {
    JobView view;
    DecodeContributions((*state)->contributions, view);
    for (const Contribution& one : view.contributions) job.contributions[one.id] = one;
    job.verified_counts = {view.verified_slices, view.verified_indices, view.verified_cost};
    job.saved_round = (*state)->key.round;
  } else {
    absl::StatusOr<std::unique_ptr<Planner>> planner = NewPlanner(stored, factory, blobs);
    if (!planner.ok()) return planner.status();
    job.planner = *std::move(planner);
    if (!stored.states.empty()) {
      AddEvent(job, "none of its saved states could be read: it was begun anew");
      restored.log.push_back(absl::StrCat("job ", ToString(stored.submitted.job), ": ", job.events.back()));
    }
  }
  job.state_round = job.saved_round.value_or(0);
  Result<std::optional<Round>> round = job.planner->NextRound(JobSeconds(job, wall_now));
  if (!round.ok()) {
    restored.failure = round.status().message();
  } else if (!round->has_value()) {
    restored.is_complete = true;
  } else {
    job.round = std::move(*round);
    job.state_round = job.round->number;
    job.bulk = DescribeBulk(*job.round, {});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RestoredJob> RestoreJob(const StoredJob& stored, const PlannerFactory& factory, const BlobReader& blobs,
                                       absl::Time wall_now) {
  RestoredJob restored;
  Job& job = restored.job;
  job.submitted = stored.submitted;
  job.settings = stored.settings;
  job.disagreements = stored.disagreements;
  job.states = stored.states;
  if (!stored.rounds.empty()) job.durability = stored.rounds.back().durability;
  if (stored.has_ended) {
    RestoreEnded(stored, job);
    return restored;
  }
  absl::Status status;
  if (job.is_volatile()) {
    status = RestoreVolatile(stored, factory, blobs, wall_now, restored);
  } else {
    absl::StatusOr<std::unique_ptr<Planner>> planner = NewPlanner(stored, factory, blobs);
    if (!planner.ok()) return planner.status();
    job.planner = *std::move(planner);
    if (!stored.rounds.empty()) status = RestoreLedgerRound(stored.rounds.back(), job);
  }
  if (!status.ok()) return status;
  return restored;
}

std::string EncodeContributions(const JobView& view) {
  std::string text;
  for (const Contribution& one : view.contributions) {
    absl::StrAppend(&text, one.worker, "\t", one.slices, "\t", one.indices, "\t", one.cost, "\t", one.busy_seconds,
                    "\t", one.bytes_sent, "\t", one.bytes_received, "\t", static_cast<uint64_t>(one.id), "\t",
                    absl::StrReplaceAll(one.devices, {{"\t", " "}, {"\n", " "}}), "\n");
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
    uint64_t id = 0;
    if (fields.size() >= 9 && absl::SimpleAtoi(fields[5], &one.bytes_sent) &&
        absl::SimpleAtoi(fields[6], &one.bytes_received) && absl::SimpleAtoi(fields[7], &id)) {
      one.id = WorkerId{id};
      one.devices = fields[8];
    }
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
    view.verified_slices = job.verified_counts.slices;
    view.verified_indices = job.verified_counts.indices;
    view.verified_cost = job.verified_counts.cost;
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
  for (const auto& [worker, contribution] : job.contributions) {
    if (contribution.slices > 0) view.contributions.push_back(contribution);
  }
  if (!job.states.empty()) {
    view.saved_state = job.states.back().digest;
    view.saved_round = job.states.back().key.round;
  }
  return view;
}

}  // namespace potluck
