#include "coordinator/service/convert.h"

#include <algorithm>

#include "proto/exchange_codec.h"

namespace potluck {
namespace {

int64_t UnixMillis(absl::Time time) {
  return time == absl::Time() || time == absl::InfiniteFuture() ? 0 : absl::ToUnixMillis(time);
}

v1::JobStatus::State ToWire(JobState state) {
  switch (state) {
    case JobState::kRunning:
      return v1::JobStatus::RUNNING;
    case JobState::kPaused:
      return v1::JobStatus::PAUSED;
    case JobState::kDone:
      return v1::JobStatus::DONE;
    case JobState::kCancelled:
      return v1::JobStatus::CANCELLED;
    case JobState::kFailed:
      return v1::JobStatus::FAILED;
  }
  return v1::JobStatus::STATE_UNSPECIFIED;
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

v1::JobStatus ToWire(const JobView& view) {
  v1::JobStatus out;
  out.set_job(static_cast<uint64_t>(view.id));
  out.set_workload(view.workload);
  out.set_name(view.name);
  out.set_state(ToWire(view.state));
  out.set_message(view.message);
  out.set_priority(view.priority);
  out.set_weight(view.weight);
  out.set_round(view.round);
  out.set_size(view.size);
  out.set_committed(view.committed);
  out.set_cost(view.cost);
  out.set_committed_cost(view.committed_cost);
  out.set_rate(view.rate);
  out.set_workers(view.workers);
  out.set_disagreements(view.disagreements);
  out.set_spec(view.spec);
  out.set_summary(view.summary);
  for (const Contribution& contribution : view.contributions) {
    v1::Contribution* wire = out.add_contributions();
    wire->set_worker(contribution.worker);
    wire->set_slices(contribution.slices);
    wire->set_indices(contribution.indices);
    wire->set_cost(contribution.cost);
    wire->set_busy_seconds(contribution.busy_seconds);
    wire->set_bytes_sent(contribution.bytes_sent);
    wire->set_bytes_received(contribution.bytes_received);
    wire->set_devices(contribution.devices);
  }
  out.set_submitted_unix_ms(UnixMillis(view.submitted_at));
  out.set_ended_unix_ms(UnixMillis(view.ended_at));
  out.set_submitted_by(view.submitted_by);
  out.set_verify(view.verify);
  out.set_verified_slices(view.verified_slices);
  out.set_verified_indices(view.verified_indices);
  out.set_verified_cost(view.verified_cost);
  out.set_waiting_for(view.waiting_for);
  out.set_saved_state(view.saved_state);
  out.set_saved_round(view.saved_round);
  return out;
}

v1::WorkerStatus ToWire(const WorkerView& view) {
  v1::WorkerStatus out;
  out.set_name(view.name);
  out.set_version(view.version);
  out.set_platform(view.platform);
  out.set_token_name(view.token_name);
  for (const DeviceInfo& device : view.devices) {
    v1::DeviceStatus* wire = out.add_devices();
    wire->set_kind(device.kind);
    wire->set_name(device.name);
    wire->set_threads(device.threads);
  }
  out.set_seconds_since_heard(view.seconds_since_heard);
  out.set_leases(static_cast<uint32_t>(view.leases));
  out.set_slices(view.slices);
  out.set_refused_slices(view.refused_slices);
  out.set_draining(view.draining);
  out.set_connected(view.connected);
  out.set_quarantined(view.quarantined);
  *out.mutable_link() = ToWire(view.link);
  out.set_place(view.place);
  if (view.leaves_in != absl::InfiniteDuration())
    out.set_seconds_left(std::max(0.0, absl::ToDoubleSeconds(view.leaves_in)));
  return out;
}

v1::SessionStatus ToWire(const StoredSession& session) {
  const SessionOpened& opened = session.opened;
  v1::SessionStatus out;
  out.set_number(opened.number);
  out.set_worker(static_cast<uint64_t>(opened.worker));
  out.set_name(opened.name);
  out.set_place(opened.place);
  out.set_devices(opened.devices);
  out.set_gpu(static_cast<v1::SessionStatus::Gpu>(opened.gpu));
  out.set_began_unix_ms(opened.began == absl::InfinitePast() ? 0 : UnixMillis(opened.began));
  out.set_opened_unix_ms(UnixMillis(opened.at));
  if (session.closed) {
    out.set_closed_unix_ms(UnixMillis(session.closed->at));
    out.set_end(static_cast<v1::SessionStatus::End>(session.closed->end));
  }
  return out;
}

v1::TokenStatus ToWire(const Tokens::Listed& token) {
  v1::TokenStatus out;
  out.set_token(static_cast<uint64_t>(token.created.token));
  out.set_name(token.created.name);
  out.set_role(static_cast<v1::TokenRole>(token.created.role));
  out.set_created_unix_ms(UnixMillis(token.created.at));
  out.set_expires_unix_ms(UnixMillis(token.created.expires));
  out.set_revoked(token.revoked);
  return out;
}

}  // namespace potluck
