#include "tests/end_to_end/forwarder.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace potluck::end_to_end {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

// A listening socket on a free port, which is set; -1 when there is none.
int Listen(int& port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof address;
  auto* const pointer = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener, pointer, size) != 0 || listen(listener, 64) != 0 || getsockname(listener, pointer, &size) != 0) {
    close(listener);
    return -1;
  }
  port = ntohs(address.sin_port);
  return listener;
}

int ConnectTo(int port) {
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Loopback(port);
  if (connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return connection;
  close(connection);
  return -1;
}

// False when the receiver is gone.
bool SendAll(int to, const char* bytes, ssize_t size) {
  while (size > 0) {
    const ssize_t sent = send(to, bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes += sent;
    size -= sent;
  }
  return true;
}

// An abrupt end (RST instead of FIN), as a network has it.
void Break(int connection) {
  const linger at_once = {1, 0};
  setsockopt(connection, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(connection);
}

}  // namespace

int FreePort() {
  int port = 0;
  const int listener = Listen(port);
  if (listener >= 0) close(listener);
  return port;
}

Forwarder::Forwarder(int target_port, const ForwarderFaults& faults) : target_port_(target_port), faults_(faults) {
  if (pipe2(stop_, O_CLOEXEC) != 0) return;
  listener_ = Listen(port_);
  if (listener_ >= 0) thread_ = std::thread(&Forwarder::Accept, this);
}

Forwarder::~Forwarder() {
  close(stop_[1]);
  if (thread_.joinable()) thread_.join();
  for (Link& link : links_) link.thread.join();
  if (listener_ >= 0) close(listener_);
  close(stop_[0]);
}

void Forwarder::Accept() {
  std::mt19937_64 random(faults_.seed);
  pollfd watched[2] = {{listener_, POLLIN, 0}, {stop_[0], POLLIN, 0}};
  while (true) {
    if (poll(watched, 2, -1) < 0 && errno != EINTR) return;
    if (watched[1].revents != 0) return;
    const int near = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (near < 0) continue;
    std::erase_if(links_, [](Link& link) {
      if (link.is_over) link.thread.join();
      return !link.thread.joinable();
    });
    const uint64_t seed = random();
    const bool is_refused = std::bernoulli_distribution(faults_.refused)(random);
    const int far = is_refused ? -1 : ConnectTo(target_port_);
    if (far < 0) {
      if (is_refused) ++refused_;
      Break(near);
      continue;
    }
    Link& link = links_.emplace_back();
    link.near = near;
    link.far = far;
    link.thread = std::thread([this, &link, seed] { Forward(link, seed); });
  }
}

void Forwarder::Forward(Link& link, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<int64_t> bytes(faults_.fewest_bytes, faults_.most_bytes);
  std::uniform_int_distribution<int64_t> delay(0, absl::ToInt64Milliseconds(faults_.longest_delay));
  int64_t left[2] = {bytes(random), bytes(random)};
  const int ends[2] = {link.near, link.far};
  char buffer[4096];
  bool is_open = true;
  while (is_open) {
    pollfd watched[3] = {{link.near, POLLIN, 0}, {link.far, POLLIN, 0}, {stop_[0], POLLIN, 0}};
    if (poll(watched, 3, -1) < 0 && errno != EINTR) break;
    if (watched[2].revents != 0) break;
    for (int from = 0; from < 2 && is_open; ++from) {
      if (watched[from].revents == 0) continue;
      const ssize_t size = recv(ends[from], buffer, sizeof buffer, 0);
      // The delay; the end of the forwarder cuts it short.
      if (size > 0) poll(&watched[2], 1, static_cast<int>(delay(random)));
      is_open = size > 0 && SendAll(ends[1 - from], buffer, std::min<int64_t>(size, left[from]));
      left[from] -= size;
      if (is_open && left[from] <= 0) {
        is_open = false;
        ++dropped_;
      }
    }
  }
  Break(link.near);
  Break(link.far);
  link.is_over = true;
}

}  // namespace potluck::end_to_end
