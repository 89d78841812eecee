// One `Slices`: a job's slices as they are stored, a bounded message at a time, the next one read only when gRPC is
// done with the last. Belongs to gRPC and deletes itself; gRPC runs one operation of a call at a time, so there is no
// lock.
//
// It reads page by page, so that a slow client holds no view of the database open. What is committed or retracted
// meanwhile may therefore be missing or there; once a job has ended nothing of it changes any more.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/service/driver.h"
#include "coordinator/store/store.h"
#include "proto/jobs.pb.h"

namespace potluck {

class SliceStreamReactor final : public grpc::ServerWriteReactor<v1::SlicesReply> {
 public:
  // Borrows driver and store.
  SliceStreamReactor(Driver& driver, Store& store, JobId job);
  // Finishes at once: not allowed.
  explicit SliceStreamReactor(const absl::Status& status);

  void OnWriteDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  // The status of the job; NotFound if there is none (any more).
  absl::StatusOr<v1::JobStatus> Look() const;
  // Makes `message_` the next slices; none when all were sent.
  absl::Status Fill();
  absl::Status ReadPage();

  Driver* const driver_ = nullptr;
  Store* const store_ = nullptr;
  SlicePage next_;  // What to read once `page_` is used up.
  std::vector<v1::StoredSlice> page_;
  size_t position_ = 0;  // In the page.
  v1::SlicesReply message_;
};

}  // namespace potluck
