// What the core lets others see: jobs, workers, and which blobs may be read.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "coordinator/core/core.h"

namespace potluck {

WorkerDescribed Core::DescribeWorker(WorkerId worker, absl::Time at) const {
  if (const auto it = worker_history_.find(worker); it != worker_history_.end() && !it->second.empty()) {
    const std::vector<WorkerDescribed>& history = it->second;
    for (auto known = history.rbegin(); known != history.rend(); ++known) {
      if (known->at <= at) return *known;
    }
  }
  // Before it first said so: a store of version 1 did not keep that, or the wall clock was set.
  WorkerDescribed unknown;
  unknown.worker = worker;
  if (const auto it = worker_names_.find(worker); it != worker_names_.end()) unknown.name = it->second;
  return unknown;
}

std::vector<WorkerView> Core::Workers(Instant now) const {
  std::vector<WorkerView> views;
  for (const auto& [id, session] : sessions_) {
    WorkerView view;
    view.session = id;
    view.name = session.joined.name;
    view.installation = session.joined.installation;
    view.token_name = session.joined.token_name;
    view.version = session.joined.version;
    view.platform = session.joined.platform;
    view.place = session.joined.place;
    if (session.joined.ends_at != absl::InfiniteFuture()) view.leaves_in = session.joined.ends_at - now.monotonic;
    view.devices = session.joined.devices;
    view.seconds_since_heard = absl::ToDoubleSeconds(now.monotonic - session.heard);
    view.leases = scheduler_.LeaseCount(id);
    view.slices = session.slices;
    view.refused_slices = session.refused;
    view.draining = session.report.draining || session.drain;
    view.connected = session.connected;
    view.link = session.report.link;
    views.push_back(std::move(view));
  }
  for (const auto& [installation, worker] : worker_by_installation_) {
    const auto it = quarantined_.find(worker);
    if (it == quarantined_.end() || !it->second.is_stored) continue;
    WorkerView view;
    view.name = worker_names_.at(worker);
    view.installation = installation;
    view.connected = false;
    view.quarantined = it->second.reason;
    views.push_back(std::move(view));
  }
  return views;
}

// ---- Blobs

absl::Status Core::MayRead(SessionId session, TokenId token, const std::string& blob) const {
  return FindReadable(session, token, blob).status();
}

absl::StatusOr<Core::Readable> Core::FindReadable(SessionId session, TokenId token, const std::string& blob) const {
  const auto it = sessions_.find(session);
  if (it == sessions_.end() || it->second.joined.token != token) {
    return absl::PermissionDeniedError("the session is not live or belongs to another token: join again");
  }
  for (const auto& [id, job] : jobs_) {
    const auto bulk = std::find_if(job.bulk.begin(), job.bulk.end(), [&](const auto& b) { return b->digest == blob; });
    const bool is_bulk = job.round && bulk != job.bulk.end();
    if (!is_bulk && std::find(job.blobs.begin(), job.blobs.end(), blob) == job.blobs.end()) continue;
    if (scheduler_.HoldsLeaseOf(session, id)) return Readable{id, is_bulk ? *bulk : nullptr};
  }
  return absl::PermissionDeniedError("the session holds no lease of a job that names this blob");
}

std::vector<std::string> Core::NamedBlobs() const {
  std::vector<std::string> named = blobs_of_other_builds_;
  for (const auto& [id, job] : jobs_) {
    named.insert(named.end(), job.blobs.begin(), job.blobs.end());
    named.insert(named.end(), job.states_on_their_way.begin(), job.states_on_their_way.end());
    for (const StateSaved& state : job.states) named.push_back(state.digest);
  }
  return named;
}

void Core::BlobSent(SessionId session, JobId id, uint64_t bytes) {
  const auto it = sessions_.find(session);
  Job* job = FindJob(id);
  if (it != sessions_.end() && job != nullptr) job->contributions[it->second.worker].bytes_received += bytes;
}

absl::Status Core::IsNamed(JobId id, const std::string& blob) const {
  const auto it = jobs_.find(id);
  if (it == jobs_.end()) return absl::NotFoundError(absl::StrCat("there is no job ", ToString(id)));
  const Job& job = it->second;
  const bool is_read = std::find(job.blobs.begin(), job.blobs.end(), blob) != job.blobs.end();
  const bool is_state =
      std::any_of(job.states.begin(), job.states.end(), [&](const StateSaved& state) { return state.digest == blob; });
  if (is_read || is_state) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("job ", ToString(id), " names no blob ", HexDigest(blob), ", neither to read nor as a saved state"));
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
