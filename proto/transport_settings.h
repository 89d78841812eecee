// What both ends of the wire must agree on: keepalive, message size, and how a call carries its token.
//
// NATs drop idle connections after minutes, and a peer that pings more often than the other permits is cut off: so the
// worker's interval and the coordinator's permission are kept side by side here. Plain functions, no state.
#pragma once

#include <grpc/grpc.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/channel_arguments.h>

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace potluck {

inline constexpr int kMaxMessageBytes = 4 << 20;
inline constexpr int kStreamLookaheadBytes = 2 << 20;
inline constexpr std::chrono::milliseconds kClientKeepalive = std::chrono::seconds(30);
inline constexpr std::chrono::milliseconds kClientKeepaliveTimeout = std::chrono::seconds(15);
inline constexpr std::chrono::milliseconds kServerKeepalive = std::chrono::seconds(60);
inline constexpr std::chrono::milliseconds kServerKeepaliveTimeout = std::chrono::seconds(15);
inline constexpr std::chrono::milliseconds kMinPingInterval = std::chrono::seconds(10);
inline constexpr std::chrono::milliseconds kHandshakeTimeout = std::chrono::seconds(15);
inline constexpr char kAuthorizationKey[] = "authorization";
inline constexpr char kBearerPrefix[] = "Bearer ";

// For a server's builder, before BuildAndStart.
inline void SetServerArguments(grpc::ServerBuilder& builder) {
  auto milliseconds = [](std::chrono::milliseconds value) { return static_cast<int>(value.count()); };
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds(kServerKeepalive));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds(kServerKeepaliveTimeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, milliseconds(kMinPingInterval));
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, milliseconds(kHandshakeTimeout));
  // A stream that is not read (a result that waits for room) holds at most this much; gRPC by itself would let it grow.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kStreamLookaheadBytes);
}

// For a client's channel.
inline void SetClientArguments(grpc::ChannelArguments& arguments) {
  auto milliseconds = [](std::chrono::milliseconds value) { return static_cast<int>(value.count()); };
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds(kClientKeepalive));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds(kClientKeepaliveTimeout));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
}

// The token that a call carries; the view lives as long as `context`. Unauthenticated if there is none.
inline absl::StatusOr<absl::string_view> BearerToken(const grpc::ServerContextBase& context) {
  const auto entry = context.client_metadata().find(kAuthorizationKey);
  if (entry != context.client_metadata().end()) {
    const absl::string_view value(entry->second.data(), entry->second.size());
    const absl::string_view prefix = kBearerPrefix;
    if (absl::StartsWithIgnoreCase(value, prefix)) return value.substr(prefix.size());
  }
  return absl::UnauthenticatedError("the call carries no token; workers and commands take theirs from the join string");
}

}  // namespace potluck
