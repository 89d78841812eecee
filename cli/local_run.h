// A coordinator and workers on this machine, for a command that was not told of a server; they end with the command.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "cli/arguments.h"
#include "cli/local_workers.h"
#include "cli/progress_display.h"
#include "cli/signals.h"
#include "coordinator/coordinator.h"
#include "proto/join_string.h"
#include "worker/scratch.h"

namespace potluck {

// The flags that such commands share.
struct LocalRunFlags {
  std::optional<int> local_workers;
  std::optional<int> threads;
  std::string dispatch;
  std::string coordinator;
  double slice_seconds = 0.5;  // They are near, and idle ones can take over what has not begun.
  bool verbose = false;
  double save_seconds = 30;  // Between two states of a training; its command declares the flag.

  void Declare(Arguments& arguments);
  // Without --coordinator, the environment's POTLUCK_COORDINATOR serves, unless --local-workers is given. Call it once
  // the flags are read.
  void ReadEnvironment();
  bool embedded() const { return coordinator.empty(); }
  // InvalidArgument for flags about local workers together with --coordinator.
  absl::Status Check() const;
};

class LocalRun {
 public:
  // Returns when the workers are at the table, or after three seconds: whoever does not come up says why, and
  // `interrupt` is raised if none ever does. `state_directory` keeps the coordinator's state; empty: in memory, gone at
  // the end. `result_bytes`: so large are results and what rounds are made of; large ones go through files in memory.
  // InvalidArgument if there are fewer than `least_workers`, with `why` they are needed.
  static absl::StatusOr<std::unique_ptr<LocalRun>> Start(const LocalRunFlags& flags, const std::string& state_directory,
                                                         uint64_t result_bytes, size_t least_workers,
                                                         const std::string& why, Interrupt& interrupt,
                                                         ProgressDisplay& display);

  // The administrator's.
  absl::StatusOr<JoinString> join_string() const { return ParseJoinString(coordinator_->admin_join_string()); }

 private:
  LocalRun() = default;
  Scratch shared_;  // Outlives both.
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<LocalWorkers> workers_;  // End first.
};

}  // namespace potluck
