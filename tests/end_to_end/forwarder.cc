#include "tests/end_to_end/forwarder.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <vector>

#include "base/clock.h"

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

// Lets bytes pass no faster than a rate: says how long to wait after each piece.
class Pace {
 public:
  explicit Pace(double bytes_per_second) : rate_(bytes_per_second) {}
  absl::Duration After(ssize_t bytes) {
    if (!(rate_ > 0)) return absl::ZeroDuration();
    const absl::Time now = AwakeNow();
    // What was not used is lost, as on a wire; but for a moment's worth.
    free_at_ = std::max(free_at_, now - absl::Milliseconds(2)) + absl::Seconds(static_cast<double>(bytes) / rate_);
    return free_at_ - now;
  }

 private:
  const double rate_;
  absl::Time free_at_ = absl::InfinitePast();
};

// Returns early when `watched` becomes readable.
void Sleep(absl::Duration time, pollfd watched) {
  if (time <= absl::ZeroDuration()) return;
  const timespec limit = absl::ToTimespec(time);
  ppoll(&watched, 1, &limit, nullptr);
}

}  // namespace

ForwarderFaults SlowLink(double bytes_per_second) {
  ForwarderFaults faults;
  faults.fewest_bytes = faults.most_bytes = std::numeric_limits<int64_t>::max();
  faults.longest_delay = absl::ZeroDuration();
  faults.refused = 0;
  faults.bytes_per_second = bytes_per_second;
  return faults;
}

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
  std::atomic<bool> is_open = true;
  std::mt19937_64 random(seed);
  const uint64_t seeds[2] = {random(), random()};
  // A thread a direction: a slow way there does not hold up the way back.
  std::thread back([&] { Carry(link.far, link.near, seeds[1], is_open); });
  Carry(link.near, link.far, seeds[0], is_open);
  back.join();
  Break(link.near);
  Break(link.far);
  link.is_over = true;
}

void Forwarder::Carry(int from, int to, uint64_t seed, std::atomic<bool>& is_open) {
  std::mt19937_64 random(seed);
  int64_t left = std::uniform_int_distribution<int64_t>(faults_.fewest_bytes, faults_.most_bytes)(random);
  std::uniform_int_distribution<int64_t> delay(0, absl::ToInt64Milliseconds(faults_.longest_delay));
  Pace pace(faults_.bytes_per_second);
  std::vector<char> buffer(faults_.bytes_per_second > 0 ? 16384 : 4096);
  while (is_open) {
    pollfd watched[2] = {{from, POLLIN, 0}, {stop_[0], POLLIN, 0}};
    if (poll(watched, 2, -1) < 0 && errno != EINTR) break;
    if (watched[1].revents != 0) break;
    if (watched[0].revents == 0) continue;
    const ssize_t size = recv(from, buffer.data(), buffer.size(), 0);
    if (size <= 0) break;
    // The end of the forwarder cuts delays short.
    Sleep(absl::Milliseconds(delay(random)) + pace.After(size), watched[1]);
    if (!SendAll(to, buffer.data(), std::min<int64_t>(size, left))) break;
    left -= size;
    if (left <= 0) {
      if (is_open) ++dropped_;
      break;
    }
  }
  is_open = false;
  shutdown(from, SHUT_RDWR);  // Wakes the other direction.
  shutdown(to, SHUT_RDWR);
}

}  // namespace potluck::end_to_end
