#include "coordinator/service/slice_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/service/convert.h"
#include "proto/versions.h"

namespace potluck {
namespace {

// Read at once; what a slice weighs in memory besides its payload is a few hundred bytes.
constexpr size_t kPageSlices = 4096;
constexpr size_t kPageBytes = 512 << 10;
// A message ends before the slice that would make it larger; only a slice that is larger by itself is sent alone.
constexpr size_t kMessageBytes = 768 << 10;

v1::StoredSlice ToWire(const Core& core, StoredSlice& stored) {
  SliceCommitted& slice = stored.slice;
  const WorkerDescribed worker = core.DescribeWorker(slice.worker, slice.at);
  v1::StoredSlice out;
  out.set_round(slice.key.round);
  out.set_begin(slice.interval.begin);
  out.set_end(slice.interval.end);
  out.set_payload(std::move(slice.payload));
  out.set_busy_seconds(slice.busy_seconds);
  out.set_stored_unix_ms(absl::ToUnixMillis(slice.at));
  out.set_worker(worker.name);
  out.set_worker_version(worker.version);
  out.set_worker_platform(worker.platform);
  out.set_worker_devices(worker.devices);
  if (stored.verified_by != WorkerId{}) {
    out.set_verified_by(core.DescribeWorker(stored.verified_by, slice.at).name);
  }
  return out;
}

}  // namespace

SliceStreamReactor::SliceStreamReactor(Driver& driver, Store& store, JobId job) : driver_(&driver), store_(&store) {
  next_.job = job;
  next_.max_slices = kPageSlices;
  next_.max_bytes = kPageBytes;
  absl::StatusOr<v1::JobStatus> status = Look();
  if (!status.ok()) {
    Finish(ToGrpc(status.status()));
    return;
  }
  *message_.mutable_job() = *std::move(status);
  message_.set_coordinator_version(kVersion);
  StartWrite(&message_);
}

SliceStreamReactor::SliceStreamReactor(const absl::Status& status) { Finish(ToGrpc(status)); }

absl::StatusOr<v1::JobStatus> SliceStreamReactor::Look() const {
  const std::optional<JobView> view = driver_->Read([this](const Core& core, Instant) { return core.Find(next_.job); });
  if (!view) return absl::NotFoundError(absl::StrCat("there is no job ", ToString(next_.job)));
  return potluck::ToWire(*view);
}

void SliceStreamReactor::OnWriteDone(bool ok) {
  if (!ok) return Finish(grpc::Status::CANCELLED);  // The client is gone.
  if (const absl::Status status = Fill(); !status.ok()) return Finish(ToGrpc(status));
  if (message_.slices().empty()) return Finish(ToGrpc(Look().status()));  // It may have been deleted meanwhile.
  StartWrite(&message_);
}

absl::Status SliceStreamReactor::Fill() {
  message_.Clear();
  size_t bytes = 0;
  while (true) {
    if (position_ == page_.size()) {
      if (absl::Status status = ReadPage(); !status.ok()) return status;
      if (page_.empty()) return absl::OkStatus();
    }
    bytes += page_[position_].ByteSizeLong();
    if (bytes > kMessageBytes && !message_.slices().empty()) return absl::OkStatus();
    *message_.add_slices() = std::move(page_[position_++]);
  }
}

absl::Status SliceStreamReactor::ReadPage() {
  page_.clear();
  position_ = 0;
  absl::StatusOr<std::vector<StoredSlice>> slices = store_->ReadPage(next_);
  if (!slices.ok()) return slices.status();
  if (slices->empty()) return absl::OkStatus();
  next_.round = slices->back().slice.key.round;
  next_.begin = slices->back().slice.interval.end;
  driver_->Read([&](const Core& core, Instant) {
    for (StoredSlice& stored : *slices) page_.push_back(ToWire(core, stored));
    return true;
  });
  return absl::OkStatus();
}

}  // namespace potluck
