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
  std::string plugin;         // Empty: GpuPluginPath.
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

// One GPU as the plug-in sees it, usable or not.
struct ProbedGpu {
  int index = 0;
  std::string name;
  std::string uuid;  // The driver's own name for it, the same for every process; empty: not known.
  uint64_t memory_bytes = 0;
  std::string numerics_class;
  std::string compute;  // Its architecture: "7.5".
  int code_sm = 0;      // The embedded machine code that fits it, such as 75; 0: none does.
  std::string error;    // Why it cannot be used; empty: it can.
};

struct GpuProbe {
  std::string plugin;           // The plug-in that was asked.
  std::vector<ProbedGpu> gpus;  // All that it lists.
  std::string note;             // Why there are none at all, or what went wrong.
};

// Asks the plug-in, in a child process, for at most probe_limit. Each GPU tests itself.
GpuProbe ProbeGpus(const DeviceRequest& request);

// A GPU as the driver alone sees it: no plug-in is needed.
struct DriverGpu {
  int index = 0;
  std::string name;
  uint64_t memory_bytes = 0;
  std::string compute;  // "7.5".
};

struct DriverProbe {
  bool has_driver = false;
  int cuda_version = 0;  // The newest that the driver serves: 12080 is 12.8; 0: not known.
  std::vector<DriverGpu> gpus;
  std::string note;  // Why there are none.
};

// Asks the driver, in a child process, for at most probe_limit.
DriverProbe ProbeDriver(const DeviceRequest& request);

// Which GPU plug-in a program uses: libpotluck_cuda.so beside it, or one that was built on this machine later and is
// kept in the cache (`potluck doctor --build-plugin`). An absolute path, of a file that may not be there.
std::string GpuPluginPath(const std::string& program = "");

// An absolute path beside the program (empty: this process's own), of a file that may not be there.
std::string PathBeside(const std::string& program, const char* name);

// What this process may use: the scheduler's affinity mask and the control groups' limits. `root` stands before /proc
// and /sys, for tests.
int UsableThreads(const std::string& root = "");
uint64_t UsableMemory(const std::string& root = "");
std::string CpuName(const std::string& root = "");

}  // namespace potluck
