#include "cli/doctor_connection.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "base/notification.h"
#include "worker/child_process.h"
#include "worker/transport.h"

namespace potluck {
namespace {

constexpr size_t kMostHttp = 16 * 1024;

// Waits until the socket can be read (POLLIN) or written (POLLOUT).
absl::Status WaitFor(int fd, short event, absl::Time deadline) {
  while (true) {
    pollfd watched{fd, event, 0};
    const int ready = poll(&watched, 1, PollMilliseconds(std::max(absl::ZeroDuration(), deadline - AwakeNow())));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno == EINTR) continue;
    return absl::DeadlineExceededError("nothing came in time");
  }
}

std::string NameOf(const sockaddr* address, socklen_t size) {
  char host[NI_MAXHOST] = {};
  return getnameinfo(address, size, host, sizeof host, nullptr, 0, NI_NUMERICHOST) == 0 ? host : "?";
}

struct Lookup {
  Notification done;
  int error = 0;
  std::vector<SocketAddress> found;
};

void LookUp(const HostPort& where, Lookup& lookup) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  lookup.error = getaddrinfo(where.host.c_str(), where.port.c_str(), &hints, &list);
  for (const addrinfo* at = list; lookup.error == 0 && at != nullptr; at = at->ai_next) {
    SocketAddress address;
    std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
    address.size = at->ai_addrlen;
    address.text = NameOf(at->ai_addr, at->ai_addrlen);
    lookup.found.push_back(std::move(address));
  }
  if (list != nullptr) freeaddrinfo(list);
  lookup.done.Notify();
}

absl::StatusOr<Socket> ConnectOne(const SocketAddress& address, absl::Time deadline) {
  Socket socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  int error = 0;
  if (socket.fd() < 0 || connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0) {
    error = errno;
  }
  if (error == EINPROGRESS) {
    if (!WaitFor(socket.fd(), POLLOUT, deadline).ok()) {
      return absl::DeadlineExceededError(absl::StrCat(address.text, " does not answer"));
    }
    socklen_t size = sizeof error;
    getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  }
  if (error == 0) return socket;
  if (error == ETIMEDOUT) return absl::DeadlineExceededError(absl::StrCat(address.text, " does not answer"));
  return absl::UnavailableError(absl::StrCat(address.text, ": ", std::strerror(error)));
}

// What comes until the empty line after an HTTP header, or the end.
std::string ReadHeader(const Socket& socket, absl::Time deadline) {
  std::string bytes;
  char buffer[4096];
  while (bytes.size() < kMostHttp && !absl::StrContains(bytes, "\r\n\r\n")) {
    if (!WaitFor(socket.fd(), POLLIN, deadline).ok()) break;
    const ssize_t got = recv(socket.fd(), buffer, sizeof buffer, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) break;
    bytes.append(buffer, static_cast<size_t>(got));
  }
  return bytes;
}

const char* Variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : nullptr;
}

}  // namespace

HostPort SplitAddress(absl::string_view address) {
  const size_t colon = address.rfind(':');
  absl::string_view host = address.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  return {std::string(host), colon == absl::string_view::npos ? "" : std::string(address.substr(colon + 1))};
}

absl::StatusOr<std::vector<SocketAddress>> ResolveName(const HostPort& where, absl::Duration limit) {
  // The system's resolver has no deadline of ours: a thread that may outlive this call asks it.
  const auto lookup = std::make_shared<Lookup>();
  std::thread([where, lookup] { LookUp(where, *lookup); }).detach();
  if (!lookup->done.WaitForNotificationWithTimeout(limit)) {
    return absl::DeadlineExceededError(absl::StrCat("no name server answered in ", absl::FormatDuration(limit)));
  }
  if (lookup->error == 0) return lookup->found;
  const std::string words = gai_strerror(lookup->error);
  if (lookup->error == EAI_NONAME || lookup->error == EAI_NODATA) return absl::NotFoundError(words);
  return absl::UnavailableError(words);
}

Socket::~Socket() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<Socket> ConnectTcp(const std::vector<SocketAddress>& addresses, absl::Duration limit) {
  absl::Status last = absl::UnavailableError("there is no address");
  const absl::Time deadline = AwakeNow() + limit;
  for (size_t i = 0; i < addresses.size(); ++i) {
    // Each gets its share of what is left.
    const absl::Duration share = (deadline - AwakeNow()) / static_cast<int64_t>(addresses.size() - i);
    absl::StatusOr<Socket> socket = ConnectOne(addresses[i], AwakeNow() + share);
    if (socket.ok()) return socket;
    last = socket.status();
  }
  return last;
}

absl::Status SendAll(const Socket& socket, absl::string_view bytes, absl::Duration limit) {
  const absl::Time deadline = AwakeNow() + limit;
  while (!bytes.empty()) {
    const ssize_t sent = send(socket.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (sent < 0 && errno == EAGAIN) {
      if (absl::Status status = WaitFor(socket.fd(), POLLOUT, deadline); !status.ok()) return status;
    } else if (sent < 0 && errno != EINTR) {
      return absl::UnavailableError(std::strerror(errno));
    }
  }
  return absl::OkStatus();
}

std::optional<Proxy> ProxyFor(const std::string& address) {
  if (IsLoopback(address)) return std::nullopt;
  Proxy proxy;
  absl::string_view value;
  for (const char* name : {"grpc_proxy", "https_proxy", "http_proxy"}) {
    if (const char* text = Variable(name); text != nullptr && value.empty()) {
      proxy.variable = name;
      value = text;
    }
  }
  // Of another scheme: gRPC passes over it.
  if (!absl::ConsumePrefix(&value, "http://")) return std::nullopt;
  const char* exceptions = Variable("no_grpc_proxy");
  if (exceptions == nullptr) exceptions = Variable("no_proxy");
  const std::string host = SplitAddress(address).host;
  for (const absl::string_view suffix :
       absl::StrSplit(exceptions == nullptr ? "" : exceptions, ',', absl::SkipEmpty())) {
    if (absl::EndsWithIgnoreCase(host, suffix)) return std::nullopt;
  }
  value = value.substr(0, value.find('/'));
  if (const size_t at = value.rfind('@'); at != absl::string_view::npos) {
    proxy.credentials = std::string(value.substr(0, at));
    value.remove_prefix(at + 1);
  }
  proxy.where = SplitAddress(value);
  if (proxy.where.port.empty()) proxy.where.port = "443";  // gRPC's choice.
  return proxy;
}

absl::Status ConnectThroughProxy(const Socket& socket, const Proxy& proxy, const std::string& address,
                                 absl::Duration limit) {
  std::string request = absl::StrCat("CONNECT ", address, " HTTP/1.1\r\nHost: ", address, "\r\n");
  if (!proxy.credentials.empty()) {
    absl::StrAppend(&request, "Proxy-Authorization: Basic ", absl::Base64Escape(proxy.credentials), "\r\n");
  }
  const absl::Time deadline = AwakeNow() + limit;
  if (absl::Status sent = SendAll(socket, request + "\r\n", limit); !sent.ok()) return sent;
  const std::string header = ReadHeader(socket, deadline);
  const std::optional<HttpAnswer> answer = ParseHttpAnswer(header);
  if (answer && answer->status >= 200 && answer->status < 300) return absl::OkStatus();
  if (!answer) return absl::UnavailableError("it answers nothing that an HTTP proxy would");
  return absl::UnavailableError(absl::StrCat("it answers \"", header.substr(0, header.find('\r')), "\""));
}

std::optional<HttpAnswer> ParseHttpAnswer(absl::string_view bytes) {
  if (!absl::StartsWith(bytes, "HTTP/")) return std::nullopt;
  const std::vector<std::string> lines = absl::StrSplit(bytes.substr(0, bytes.find("\r\n\r\n")), "\r\n");
  const std::vector<std::string> words = absl::StrSplit(lines[0], ' ', absl::SkipEmpty());
  HttpAnswer answer;
  if (words.size() < 2 || !absl::SimpleAtoi(words[1], &answer.status)) return std::nullopt;
  for (const std::string& line : lines) {
    const std::pair<std::string, std::string> field = absl::StrSplit(line, absl::MaxSplits(':', 1));
    const std::string value(absl::StripAsciiWhitespace(field.second));
    if (absl::EqualsIgnoreCase(field.first, "location")) answer.location = value;
    if (absl::EqualsIgnoreCase(field.first, "server")) answer.server = value;
  }
  return answer;
}

std::optional<HttpAnswer> AskPlainHttp(const Socket& socket, const std::string& host, absl::Duration limit) {
  const absl::Time deadline = AwakeNow() + limit;
  const std::string request = absl::StrCat("GET / HTTP/1.1\r\nHost: ", host, "\r\nConnection: close\r\n\r\n");
  if (!SendAll(socket, request, limit).ok()) return std::nullopt;
  return ParseHttpAnswer(ReadHeader(socket, deadline));
}

}  // namespace potluck
