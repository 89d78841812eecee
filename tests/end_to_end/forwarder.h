// A TCP forwarder on loopback that is a bad network: it drops connections, delays what they carry and refuses new ones
// for a while, all drawn from a seed; or a slow one.
//
// Runs in threads of its own from its making to its destruction, which ends all connections. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <random>
#include <thread>

#include "absl/time/time.h"

namespace potluck::end_to_end {

struct ForwarderFaults {
  uint64_t seed = 1;
  // A connection is dropped after it carried so many bytes in one direction: drawn between the two for each.
  int64_t fewest_bytes = 6000;
  int64_t most_bytes = 30000;
  absl::Duration longest_delay = absl::Milliseconds(20);  // Of each piece that arrives.
  double refused = 0.25;                                  // Share of new connections that are closed at once.
  double bytes_per_second = 0;                            // Of each connection, either way; 0: as fast as it goes.
};

// A network without faults, on which each connection carries so much each way, in bytes a second.
ForwarderFaults SlowLink(double bytes_per_second);

class Forwarder {
 public:
  // Forwards connections to port(), which is free when it is made, to `target_port`. port() is 0 when nothing could be
  // listened on.
  Forwarder(int target_port, const ForwarderFaults& faults);
  ~Forwarder();
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  int port() const { return port_; }
  int dropped() const { return dropped_; }
  int refused() const { return refused_; }

 private:
  struct Link {
    int near = -1, far = -1;
    std::atomic<bool> is_over = false;
    std::thread thread;
  };
  void Accept();
  void Forward(Link& link, uint64_t seed);
  void Carry(int from, int to, uint64_t seed, std::atomic<bool>& is_open);

  const int target_port_;
  const ForwarderFaults faults_;
  int listener_ = -1;
  int port_ = 0;
  int stop_[2] = {-1, -1};  // Closed to end all threads.
  std::atomic<int> dropped_ = 0;
  std::atomic<int> refused_ = 0;
  std::list<Link> links_;  // The accepting thread's.
  std::thread thread_;
};

// A port of 127.0.0.1 that nobody listens on at the moment; 0 when there is none.
int FreePort();

}  // namespace potluck::end_to_end
