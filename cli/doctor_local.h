// The checks of `potluck doctor` that need no coordinator: this machine, its limits and its devices. A check is a
// function from what was found to a row, so that tests hand in what they like; LocalChecks looks at the real machine.
//
// Plain functions; those that touch devices block for as long as the devices take, within limits.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/doctor_report.h"
#include "worker/device_check.h"
#include "worker/devices.h"
#include "worker/platform.h"

namespace potluck {

// Which platform this is, its limits, and what is left of its session.
CheckRow CheckPlatform(const Platform& platform, bool has_gpu, absl::Duration age);
CheckRow CheckRule(const Platform& platform);
// The operating system and its C library.
CheckRow CheckSystem();
CheckRow CheckCpu(const DeviceSpec& cpu);
CheckRow CheckThreads(int usable, int on_board);
CheckRow CheckMemory(uint64_t usable_bytes, uint64_t available_bytes);
// Early: from before this program was made. The coordinator's clock is another check.
CheckRow CheckClock(absl::Time now);

// Where data sets, the installation's id and a plug-in built here are kept: made, written to, and its free room looked
// at. Empty: there is no home.
CheckRow CheckCache(const std::string& directory);

// What a device's try came to.
CheckRow CheckDeviceRate(const std::string& check, const std::string& name, const absl::StatusOr<DeviceRate>& rate);
// Whether the library of a CPU's fast layers is there, and whether it was used.
CheckRow CheckOnednn(bool is_there, const std::string& path, const std::string& backend_class);

// What is known of this machine's GPUs.
struct GpuFindings {
  bool has_hardware = false;   // A display or compute device of NVIDIA's on the PCI bus.
  bool is_hosted = false;      // On a platform that gives GPUs by the session.
  std::string driver_version;  // "535.104.05"; empty: not known.
  DriverProbe driver;
  bool has_plugin = false;  // There is a file.
  GpuProbe plugin;          // Only where there are a driver and a plug-in.
  // Who else computes on this GPU, as in "another potluck worker (process 123)"; empty: nobody, or nobody knows.
  std::function<std::string(const ProbedGpu& gpu)> user;
};

GpuFindings FindGpus(const DeviceRequest& request, const Platform& platform);
// One row on the driver, one on the plug-in, one for each GPU; where there is no GPU, one row in all.
std::vector<CheckRow> CheckGpus(const GpuFindings& findings);

// "535.104.05" of /proc/driver/nvidia/version; empty: it does not say. `root` stands before /proc, for tests.
std::string DriverVersion(const std::string& root = "");
// Whether the PCI bus shows a GPU of NVIDIA's. `root` stands before /sys, for tests.
bool HasNvidiaGpu(const std::string& root = "");

// All of the above on this machine, in order.
void LocalChecks(DoctorReport& report);

}  // namespace potluck
