#include "coordinator/listener.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace potluck {
namespace {

constexpr int kBacklog = 1024;
constexpr int kPortTries = 8;

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

// One address to bind; `length` bytes of `storage`.
struct Endpoint {
  sockaddr_storage storage{};
  socklen_t length = 0;

  int family() const { return storage.ss_family; }
  in_port_t& port() {
    return family() == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port
                                : reinterpret_cast<sockaddr_in*>(&storage)->sin_port;
  }
};

std::string ToString(Endpoint endpoint) {
  char text[INET6_ADDRSTRLEN] = "";
  const int port = ntohs(endpoint.port());
  if (endpoint.family() == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6*>(&endpoint.storage)->sin6_addr, text, sizeof text);
    return absl::StrCat("[", text, "]:", port);
  }
  inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(&endpoint.storage)->sin_addr, text, sizeof text);
  return absl::StrCat(text, ":", port);
}

absl::Status Malformed(const std::string& address, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("cannot listen on '", address, "': ", what));
}

absl::StatusOr<std::pair<std::string, int>> Split(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || absl::EndsWith(address, "]")) {
    return Malformed(address, "it has no port; write host:port, or :port for every address of this machine");
  }
  absl::string_view host = absl::string_view(address).substr(0, colon);
  const absl::string_view port = absl::string_view(address).substr(colon + 1);
  uint32_t number = 0;
  if (port.empty() || !absl::ascii_isdigit(port[0]) || !absl::SimpleAtoi(port, &number) || number > 65535) {
    return Malformed(address, "a port is a number from 0 to 65535, 0 to let the system choose");
  }
  if (absl::ConsumePrefix(&host, "[")) {
    if (!absl::ConsumeSuffix(&host, "]")) return Malformed(address, "the bracket of the IPv6 address is not closed");
  } else if (absl::StrContains(host, ':')) {
    return Malformed(address, "an IPv6 address stands in brackets, as in [::1]:4242");
  }
  return std::pair<std::string, int>(host, static_cast<int>(number));
}

absl::StatusOr<std::vector<Endpoint>> Resolve(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string service = absl::StrCat(port);
  const bool any = host.empty() || host == "*";
  if (const int error = getaddrinfo(any ? nullptr : host.c_str(), service.c_str(), &hints, &found); error != 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot listen on '", host, "': ", gai_strerror(error)));
  }
  AddressList list(found, &freeaddrinfo);
  std::vector<Endpoint> endpoints;
  for (const addrinfo* entry = list.get(); entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
    Endpoint endpoint;
    memcpy(&endpoint.storage, entry->ai_addr, entry->ai_addrlen);
    endpoint.length = entry->ai_addrlen;
    endpoints.push_back(endpoint);
  }
  return endpoints;
}

// A listening socket, or -1 with errno set. Sets the endpoint's port to the one it got.
int Open(Endpoint& endpoint) {
  const int fd = socket(endpoint.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // IPv4 gets a socket of its own.
  if (endpoint.family() == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (bind(fd, reinterpret_cast<sockaddr*>(&endpoint.storage), endpoint.length) != 0 || listen(fd, kBacklog) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&endpoint.storage), &endpoint.length) != 0) {
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

void CloseAll(Listener& listener) {
  for (int fd : listener.sockets) close(fd);
  listener = Listener();
}

// The machine lacks this kind of address: the others may do.
bool IsMissing(int error) { return error == EADDRNOTAVAIL || error == EAFNOSUPPORT || error == EPROTONOSUPPORT; }

// 0, or the error that stopped it; then nothing is open.
int OpenAll(std::vector<Endpoint> endpoints, Listener& listener) {
  int missing = EADDRNOTAVAIL;
  for (Endpoint& endpoint : endpoints) {
    if (listener.port != 0) endpoint.port() = htons(static_cast<in_port_t>(listener.port));
    const int fd = Open(endpoint);
    if (fd < 0 && IsMissing(errno)) {
      missing = errno;
    } else if (fd < 0) {
      const int error = errno;
      CloseAll(listener);
      return error;
    } else {
      listener.sockets.push_back(fd);
      listener.addresses.push_back(ToString(endpoint));
      listener.port = ntohs(endpoint.port());
    }
  }
  return listener.sockets.empty() ? missing : 0;
}

}  // namespace

absl::StatusOr<Listener> Listen(const std::string& address) {
  absl::StatusOr<std::pair<std::string, int>> parts = Split(address);
  if (!parts.ok()) return parts.status();
  const auto& [host, port] = *parts;
  absl::StatusOr<std::vector<Endpoint>> endpoints = Resolve(host, port);
  if (!endpoints.ok()) return endpoints.status();
  Listener listener;
  int error = OpenAll(*endpoints, listener);
  // The port that the system chose for one address may be taken on another.
  for (int tries = 1; port == 0 && error == EADDRINUSE && tries < kPortTries; ++tries)
    error = OpenAll(*endpoints, listener);
  if (error == 0) return listener;
  if (error == EADDRINUSE) {
    return absl::AlreadyExistsError(
        absl::StrCat("cannot listen on '", address, "': port ", port,
                     " is in use by another program; stop that one or choose another port"));
  }
  if (error == EACCES || error == EPERM) {
    return absl::PermissionDeniedError(
        absl::StrCat("cannot listen on '", address, "': port ", port, " needs privileges; choose a port from 1024 up"));
  }
  if (IsMissing(error)) return Malformed(address, "this machine has no such address");
  return absl::UnavailableError(absl::StrCat("cannot listen on '", address, "': ", strerror(error)));
}

}  // namespace potluck
