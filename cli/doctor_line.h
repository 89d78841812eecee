// The steps of cli/doctor_way.h that go over gRPC, all on one connection, as a worker's.
//
// Not thread-safe. Made at once, connected by the first step; each step but the first goes on from the one before.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <grpcpp/support/status.h>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/doctor_report.h"
#include "proto/join_string.h"
#include "proto/workers.grpc.pb.h"
#include "worker/transport.h"

namespace potluck {

class DoctorLine {
 public:
  // `limit` is what each call may take. `join` must outlive it.
  DoctorLine(const JoinString& join, size_t address, absl::Duration limit)
      : join_(join), address_(address), limit_(limit) {}

  // Asks Join with no devices; Token and Version read the same answer.
  CheckRow Http2();
  CheckRow Token() const;
  CheckRow Version();
  CheckRow RoundTrip();
  CheckRow Throughput();
  CheckRow ClockSkew();
  // Says nothing for `silence`, then asks again.
  CheckRow Keepalive(absl::Duration silence);

 private:
  grpc::Status AskToJoin();
  // One Check that carries so many bytes each way; how long it took.
  absl::StatusOr<absl::Duration> Check(size_t bytes_up, size_t bytes_down);
  // Bytes a second, one way; the round trip is taken off.
  absl::StatusOr<double> Rate(bool is_up);
  CheckRow NotReached(const grpc::Status& status) const;

  const JoinString& join_;
  const size_t address_;
  const absl::Duration limit_;
  std::optional<Connection> connection_;
  std::unique_ptr<v1::Workers::StubInterface> stub_;
  grpc::Status joined_;
  v1::JoinReply join_reply_;
  v1::CheckReply check_reply_;
  bool is_old_ = false;  // The coordinator does not know Check.
  absl::Duration round_trip_ = absl::ZeroDuration();
};

}  // namespace potluck
