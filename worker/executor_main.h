// The child's side of an executor: `potluck executor`, a command that only workers start.
//
//   potluck executor --device cpu|cuda --index I --threads T --dispatch D --plugin PATH --onednn PATH --scratch DIR
//   --shared-scratch DIR
//     --slice-seconds S [--when-idle]
//   potluck executor --list-devices --plugin PATH
//   potluck executor --probe-driver
//
// The first form speaks worker/frames.h over descriptor 3 until that ends: then it exits at once, even while a kernel
// computes. It ignores SIGINT, SIGTERM and SIGHUP: the parent drives it. The second form prints a JSON object a line to
// standard output, for each GPU: index, name, uuid, memory_bytes, numerics_class, compute, code_sm and, when it
// cannot be used, error. The third form needs no plug-in (driver_probe.h).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/workload/runner.h"
#include "kernels/workload/status.h"
#include "worker/devices.h"

namespace potluck {

inline constexpr int kExecutorFd = 3;

// Where runners come from; tests hand in their own.
struct RunnerFactory {
  std::vector<std::string> workloads;  // The self-test runs that of each.
  std::function<Result<std::unique_ptr<Runner>>(std::string_view workload, const DeviceSpec& device)> make;
  // What the numerics class of a device has besides what the worker can tell without loading its libraries; may be
  // empty. Called once, in the child.
  std::function<std::string(const DeviceSpec& device)> backend_class;
};

// The runners of kernels/workload/registry.h.
RunnerFactory RegistryFactory();

// `args` is what follows "executor". Returns an exit status; in the first form it does not return unless the arguments
// are wrong (2, after a sentence on standard error).
int ExecutorMain(const std::vector<std::string>& args, const RunnerFactory& factory);

}  // namespace potluck
