// Tries one device as a worker uses it: in a child process, self-test first, then a board of N-Queens whose number of
// solutions is published. So a diagnosis tells that a device computes rightly, and how fast.
//
// Blocks for about `about` after the self-test; `limit` ends it, whatever the device does. Thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/devices.h"

namespace potluck {

struct DeviceCheckOptions {
  std::string program = "/proc/self/exe";
  absl::Duration about = absl::Seconds(1);
  absl::Duration limit = absl::Seconds(60);
};

struct DeviceRate {
  absl::Duration self_test;   // How long it took.
  std::string backend_class;  // ExecutorReady::backend_class.
  int n = 0;                  // The board of the measurement.
  double seconds = 0;
  double nodes_per_second = 0;  // Of the full search tree, by backtracking.
  double solutions_per_second = 0;
};

// Internal: the self-test failed or a total is wrong, with the sentence. DeadlineExceeded: it did not answer. Aborted:
// its child died.
absl::StatusOr<DeviceRate> CheckDevice(const DeviceSpec& device, const DeviceCheckOptions& options = {});

}  // namespace potluck
