// Opens the worker's one outbound connection: gRPC over TLS to a coordinator named by a join string.
//
// With a pin, the coordinator is whoever holds the pinned key; names and authorities do not matter. Without one, the
// system's roots (system_roots.h) and the host name decide: a tunnel or proxy that ends TLS itself.
// Plain functions; a Connection is a value whose parts are thread-safe. Make a new one for every try: each resolves its
// address anew and shares no sockets with another.
//
//   absl::StatusOr<Connection> connection = Connect(join, {.address = attempt % join.addresses.size()});
//   grpc::ClientContext context;
//   Authorize(context, join.token);
//   grpc::Status status = stub->Join(&context, request, &response);
//   if (!status.ok()) return Explain(*connection, status);
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/status.h>

#include <cstddef>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "proto/join_string.h"

namespace potluck {

// What the checks of a coordinator's key came to. Thread-safe.
class KeyCheck {
 public:
  // Ok, or why the coordinator met last was refused (PermissionDenied: retrying as it is will not help).
  absl::Status last() const;

  void Record(absl::Status result);

 private:
  mutable Mutex mutex_;
  absl::Status last_ ABSL_GUARDED_BY(mutex_);
};

struct ConnectOptions {
  size_t address = 0;  // Which of the join string's addresses; the caller goes through them in turn.
};

struct Connection {
  std::string address;     // The one in use.
  bool is_pinned = false;  // Else the system's roots decide.
  std::shared_ptr<grpc::Channel> channel;
  std::shared_ptr<const KeyCheck> key_check;
};

// Prepares a connection; gRPC connects at the first call. InvalidArgument if the join string has no such address, or if
// it has no pin and this system no roots.
absl::StatusOr<Connection> Connect(const JoinString& join, const ConnectOptions& options = {});

// Lets the call carry the token.
void Authorize(grpc::ClientContext& context, absl::string_view token);

// A failed call as a sentence: a key or certificate that is not the right one (PermissionDenied) if that is why, else
// what gRPC says and where.
absl::Status Explain(const Connection& connection, const grpc::Status& status);

// The address is this machine itself: `localhost`, 127.0.0.0/8 or ::1. No proxy is used then.
bool IsLoopback(absl::string_view address);

}  // namespace potluck
