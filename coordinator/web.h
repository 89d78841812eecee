// The HTTPS server behind the front door: TLS 1.3 with the coordinator's certificate, HTTP/1.1.
//
// What it answers is decided by one function, the route; the page and the metrics are to grow there. Requests are
// bounded in size and in time, connections in number. An answer may take as long as it needs while the client takes
// bytes of it now and then. One thread of its own; thread-safe.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "coordinator/front_door.h"
#include "coordinator/identity.h"

namespace potluck {

struct WebRequest {
  std::string method;         // "GET" also for a HEAD; the server then leaves the body out of the answer.
  std::string path;           // As sent, without the query: "/metrics".
  std::string query;          // What follows the '?', without it.
  std::string authorization;  // The header of that name, or empty. A secret.
  std::string body;
};

struct WebResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  // Instead of `body`: bytes that never change and that any number of answers share. Of these a client may ask for a
  // part
  // (`Range: bytes=N-`), so that a download can be taken up again.
  std::shared_ptr<const std::string> shared = nullptr;
  std::vector<std::pair<std::string, std::string>> headers = {};  // Besides those that every answer has.
};

// Runs on the server's thread and must not block. Throwing is answered with a 500.
using WebRoute = std::function<WebResponse(const WebRequest&)>;

// An answer that is one sentence.
WebResponse PlainResponse(int status, absl::string_view sentence);

// GET / says what this is; anything else is not found.
WebResponse WelcomeRoute(const WebRequest& request);

struct WebServerOptions {
  WebRoute route = WelcomeRoute;
  size_t max_connections = 256;   // One more is closed at once.
  size_t max_header = 16 * 1024;  // Bytes; answered with 431 beyond.
  size_t max_body = 64 * 1024;    // Bytes; answered with 413 beyond.
  // For the handshake, for a request, between requests; and an answer of which the client takes nothing for so long is
  // broken off.
  absl::Duration step_deadline = absl::Seconds(15);
};

class WebServer : public WebHandler {
 public:
  static absl::StatusOr<std::unique_ptr<WebServer>> Create(const Identity& identity, WebServerOptions options);

  ~WebServer() override;  // Stops.
  WebServer(const WebServer&) = delete;
  WebServer& operator=(const WebServer&) = delete;

  void Serve(int fd) override;

  // Closes all connections; later ones are closed at once. May be repeated.
  void Stop();

 private:
  class Impl;
  explicit WebServer(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace potluck
