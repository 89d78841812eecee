// A worker at the table: joins, computes what it is granted on its devices, reports, and comes back when the connection
// is lost. `potluck join` runs one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/join_string.h"

namespace potluck {

struct WorkerOptions {
  JoinString join;
  std::string name;          // Empty: the host's name.
  std::string installation;  // Empty: the one kept in this user's cache directory (one per worker that runs at a time).
  std::string device = "auto";  // auto, cpu or cuda
  int threads = 0;              // Of the CPU device; 0: all cores.
  std::string dispatch = "auto";
  bool when_idle = false;  // Lowest priority: yields to everything else on this machine.
  bool metered = false;
  // When this session is known to end; InfiniteDuration: by what is known of the platform, if platform_limits is true.
  absl::Duration ends_in = absl::InfiniteDuration();
  bool platform_limits = true;
  absl::Duration exit_when_idle = absl::InfiniteDuration();  // Leaves after so long without work.
  // How often it says what it has done, if anything: ten times so often, then ten times as rarely.
  absl::Duration progress_interval = absl::InfiniteDuration();
  std::string cache;                         // The folder for blobs; empty: in this user's cache directory.
  uint64_t cache_bytes = uint64_t{4} << 30;  // What is kept of them.
  std::string shared;                        // A folder that the coordinator reads too, on one machine; empty: none.
  double slice_seconds = 2.0;
  std::string program;  // The potluck binary, for executors; empty: this process's own.
  // One sentence each, for people; called from any thread.
  std::function<void(const std::string&)> say;
};

// How a worker's run ended.
enum class WorkerEnd {
  kDrained,       // It was asked to leave and has handed in everything.
  kStopped,       // It was stopped at once.
  kRefused,       // The coordinator does not want it: token, role, key, quarantine.
  kOtherVersion,  // No protocol version in common.
  kNoDevice,      // Nothing to compute on: every device failed its self-test.
};

class Worker {
 public:
  static absl::StatusOr<std::unique_ptr<Worker>> Create(WorkerOptions options);
  ~Worker();

  // Runs until it has drained, is stopped or is refused for good; `message` says why in one sentence. An unreachable
  // coordinator is no reason to end: it keeps trying and says so.
  WorkerEnd Run(std::string& message);

  // From any thread (not from a signal handler). The first finishes what is being computed, the second drops it.
  void Drain();
  void StopNow();

 private:
  class Impl;
  explicit Worker(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace potluck
