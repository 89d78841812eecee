// Translates between the core's values and proto/jobs.proto, and statuses to gRPC's. Stateless.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "coordinator/core/messages.h"
#include "coordinator/tokens.h"
#include "proto/jobs.pb.h"

namespace potluck {

// The codes are the same by number; the message goes along.
grpc::Status ToGrpc(const absl::Status& status);

v1::JobStatus ToWire(const JobView& view);
v1::WorkerStatus ToWire(const WorkerView& view);
// But for the token's name.
v1::SessionStatus ToWire(const StoredSession& session);
v1::TokenStatus ToWire(const Tokens::Listed& token);

}  // namespace potluck
