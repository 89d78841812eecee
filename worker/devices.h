// Which devices of this machine a worker computes on.
//
// The GPU driver is only ever touched in a child process (`potluck executor --list-devices`) that has a deadline: a
// driver that hangs or crashes costs the GPUs, not the worker. Functions are thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace potluck {

struct DeviceSpec {
  std::string kind = "cpu";  // "cpu" or "cuda"
  int index = 0;             // Among the devices of its kind.
  int threads = 1;           // Of a CPU.
  std::string dispatch = "auto";
  std::string plugin;         // Path of the GPU plug-in; empty for a CPU.
  std::string onednn_plugin;  // Path of the library of a CPU's fast layers, there or not; empty for a GPU.
  std::string name;           // The maker's, for people.
  std::string id;             // Of a GPU: the driver's own name for it, the same for every process; empty: not known.
  uint64_t memory_bytes = 0;
  // Such as "cpu/scalar/x86-64" or "cuda/sm_75/7.5": equal where bits are. A CPU's executor adds to it what it finds
  // (ExecutorReady::backend_class).
  std::string numerics_class;
  // Code paths that a run may name, the default first: those of this CPU, unless one was forced; "cuda".
  std::vector<std::string> implementations;
};

struct DeviceRequest {
  std::string device = "auto";  // auto: every GPU that passes its self-test, or else the CPU; cpu; cuda.
  int threads = 0;              // Of the CPU; 0: as many as this process may use.
  std::string dispatch = "auto";
  std::string plugin;         // Empty: libpotluck_cuda.so beside the program.
  std::string onednn_plugin;  // Empty: libpotluck_onednn.so beside the program.
  std::string program;        // The potluck binary; empty: this process's own.
  absl::Duration probe_limit = absl::Seconds(30);
};

struct FoundDevices {
  std::vector<DeviceSpec> devices;  // At least one.
  DeviceSpec cpu;                   // Whatever is used: what a worker falls back to.
  std::string gpu_note;             // One sentence when a GPU was asked for and none, or not all, are used.
};

// Blocks for as long as the probe takes, probe_limit at most. InvalidArgument names the field that is not allowed;
// NotFound says why there is no GPU when "cuda" was asked for.
absl::StatusOr<FoundDevices> FindDevices(const DeviceRequest& request);

// The GPUs that a probe's output (a JSON object a line: a device, or {"error": sentence}) says are usable; appends
// sentences about the others to `note`.
std::vector<DeviceSpec> ParseProbe(const std::string& output, const std::string& plugin, std::string& note);

// What this process may use: the scheduler's affinity mask and the control groups' limits. `root` stands before /proc
// and /sys, for tests.
int UsableThreads(const std::string& root = "");
uint64_t UsableMemory(const std::string& root = "");
std::string CpuName(const std::string& root = "");

}  // namespace potluck
