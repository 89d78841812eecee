// Opens the sockets on which the coordinator listens.
//
// May block while a host name is resolved; otherwise plain functions without state.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace potluck {

// Listening, non-blocking sockets; the receiver closes them.
struct Listener {
  std::vector<int> sockets;            // At least one.
  std::vector<std::string> addresses;  // What each listens on, as `host:port`; the same port for all.
  int port = 0;
};

// Listens on `host:port`: a host name (on each of its addresses), an IPv4 address, an IPv6 address in brackets, or
// nothing for every address of this machine. Port 0 lets the system choose. Errors say what to do: InvalidArgument
// (malformed, unknown host), AlreadyExists (port in use), PermissionDenied, Unavailable.
absl::StatusOr<Listener> Listen(const std::string& address);

}  // namespace potluck
