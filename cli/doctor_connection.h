// The steps below gRPC on the way to a coordinator, each under a deadline of its own: name, TCP, proxy, TLS. gRPC does
// them too, but says of all that can go wrong only that nobody could be reached.
//
// Plain functions and values; thread-safe. Errors are sentences without the token, which never gets this far.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace potluck {

struct HostPort {
  std::string host;  // Without brackets.
  std::string port;
};

// "host:port", "[::1]:4242".
HostPort SplitAddress(absl::string_view address);

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  std::string text;  // "192.0.2.1"
};

// NotFound: there is no such name. Unavailable: the name servers do not say. DeadlineExceeded.
absl::StatusOr<std::vector<SocketAddress>> ResolveName(const HostPort& where, absl::Duration limit);

// An open, connected socket, not blocking. Closed at its end.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&&) = delete;
  ~Socket();
  int fd() const { return fd_; }

 private:
  int fd_;
};

// To the first of the addresses that takes a connection. Unavailable: refused, or no route. DeadlineExceeded: packets
// vanish.
absl::StatusOr<Socket> ConnectTcp(const std::vector<SocketAddress>& addresses, absl::Duration limit);

absl::Status SendAll(const Socket& socket, absl::string_view bytes, absl::Duration limit);

// The proxy that gRPC takes on the way to `address`, as it reads the environment: grpc_proxy, else https_proxy, else
// http_proxy; not for names that end as one in no_grpc_proxy, else no_proxy; never to this machine itself.
struct Proxy {
  std::string variable;  // Which one named it.
  HostPort where;
  std::string credentials;  // "user:password", or empty. A secret.
};
std::optional<Proxy> ProxyFor(const std::string& address);

// Has a proxy open the way (CONNECT). Unavailable with the proxy's own words when it will not.
absl::Status ConnectThroughProxy(const Socket& socket, const Proxy& proxy, const std::string& address,
                                 absl::Duration limit);

// What an HTTP server says to GET /.
struct HttpAnswer {
  int status = 0;
  std::string location;  // Where it redirects to; empty: nowhere.
  std::string server;
  // It sends elsewhere, or asks to sign in first: what networks with a sign-in page do with all connections.
  bool is_captive_portal() const { return (status >= 300 && status < 400 && !location.empty()) || status == 511; }
};
std::optional<HttpAnswer> ParseHttpAnswer(absl::string_view bytes);
std::optional<HttpAnswer> AskPlainHttp(const Socket& socket, const std::string& host, absl::Duration limit);

struct TlsPeer {
  std::string version;  // "TLSv1.3"
  std::string alpn;     // What the server chose; empty: nothing.
  std::string pin;      // The SHA-256 of its public key, 32 bytes.
  std::string subject, issuer;
  absl::Status trusted;  // By the system's roots and the host name.
};

// A handshake that offers `protocol` ("h2", "http/1.1"), over a connected socket; no key is refused here.
// FailedPrecondition: what answers does not speak TLS. Unavailable: it hangs up. Aborted: it refuses, with its alert.
absl::StatusOr<TlsPeer> TlsHandshake(const Socket& socket, const std::string& host, const std::string& protocol,
                                     absl::Duration limit, std::optional<HttpAnswer>* http_answer = nullptr);

// The same question as AskPlainHttp's, over TLS and whatever the key; nothing if there is no HTTP/1.1 to be had.
std::optional<HttpAnswer> AskHttps(const Socket& socket, const std::string& host, absl::Duration limit);

}  // namespace potluck
