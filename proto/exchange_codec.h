// Translates Exchange between the wire (proto/workers.proto) and plain values (proto/exchange.h). Stateless.
#pragma once

#include "absl/status/statusor.h"
#include "proto/exchange.h"
#include "proto/workers.pb.h"

namespace potluck {

// Largest payload of a slice.
inline constexpr size_t kMaxSliceBytes = 1 << 20;

v1::ExchangeRequest ToWire(const ExchangeRequest& request);
v1::ExchangeReply ToWire(const ExchangeReply& reply);
v1::Device ToWire(const DeviceInfo& device);
v1::LinkUse ToWire(const LinkUse& link);

// InvalidArgument names the field that is wrong: an interval that ends before it begins, a payload over kMaxSliceBytes.
// A slice whose digest is not its payload's SHA-256 is kept, with the digest cleared, so that it is answered as
// invalid.
absl::StatusOr<ExchangeRequest> FromWire(v1::ExchangeRequest&& request);
absl::StatusOr<ExchangeReply> FromWire(const v1::ExchangeReply& reply);
DeviceInfo FromWire(const v1::Device& device);

}  // namespace potluck
