// The coordinator's one port: looks at how each connection begins and hands it to gRPC or to the web server.
//
//   TLS 1.3, ALPN offers `h2` but not `http/1.1`   gRPC (workers and commands; browsers offer both)
//   TLS 1.3 otherwise                              the web handler
//   TLS, but no TLS 1.3                            the alert protocol_version
//   plain HTTP                                     a 400 that says how to come
//   anything else, or silence                      closed, at the deadline at the latest
//
// Only looked at, never consumed: whoever gets the connection reads it from its first byte. One thread of its own
// serves all connections; none can hold up another, and at most `max_undecided` wait for a decision.
//
//   auto door = FrontDoor::Create(options);           // Listens from here on; connections wait.
//   (*door)->AddAcceptor(builder, credentials);       // grpc::ServerBuilder; needs no other listening port.
//   auto server = builder.BuildAndStart();
//   (*door)->Start();
//   ...
//   (*door)->Stop();                                  // Before server->Shutdown().
//
// Thread-safe. Options' web handler is borrowed and must outlive the door.
#pragma once

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/identity.h"

namespace potluck {

class WebHandler {
 public:
  virtual ~WebHandler() = default;

  // Takes over a connected, non-blocking socket that begins with a TLS ClientHello. Must not block.
  virtual void Serve(int fd) = 0;
};

struct FrontDoorOptions {
  std::string address = ":4242";  // host:port, see Listen() in listener.h.
  absl::Duration hello_deadline = absl::Seconds(10);
  size_t max_undecided = 512;  // Beyond, the oldest undecided connection is closed.
  WebHandler* web = nullptr;   // Without one, what would go there is closed.
  // Called on the door's thread for connections that were turned away (debug level); must not block.
  std::function<void(const std::string&)> log = nullptr;
};

// What became of the connections so far.
struct FrontDoorCounts {
  uint64_t accepted = 0;
  uint64_t to_grpc = 0;
  uint64_t to_web = 0;
  uint64_t old_tls = 0;
  uint64_t plain_http = 0;
  uint64_t garbage = 0;    // Not TLS, or closed by the other side before it could be told.
  uint64_t timed_out = 0;  // Closed at the deadline.
  uint64_t crowded_out = 0;
};

class FrontDoor {
 public:
  // Opens the port; errors as for Listen().
  static absl::StatusOr<std::unique_ptr<FrontDoor>> Create(FrontDoorOptions options);

  ~FrontDoor();  // Stops.
  FrontDoor(const FrontDoor&) = delete;
  FrontDoor& operator=(const FrontDoor&) = delete;

  // Once, before BuildAndStart.
  void AddAcceptor(grpc::ServerBuilder& builder, std::shared_ptr<grpc::ServerCredentials> credentials);

  // Once, after BuildAndStart: connections are accepted from now on.
  void Start();

  // Closes the port and the undecided connections; those handed over are not touched. Returns when nothing of it runs
  // any more. Call it before the gRPC server shuts down. May be repeated.
  void Stop();

  int port() const;
  std::vector<std::string> addresses() const;  // What it listens on, each as `host:port`.
  FrontDoorCounts counts() const;

 private:
  class Impl;
  explicit FrontDoor(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

// TLS with the coordinator's key, for AddAcceptor. gRPC 1.51 cannot be told to refuse TLS 1.2; the door lets through
// only clients that offer 1.3, and OpenSSL then never takes less.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const Identity& identity);

}  // namespace potluck
