// One potluck worker a GPU: two on one GPU would halve each other's speed and may run out of its memory.
//
// A lock on a file in a folder that all users of a machine share, named after the GPU: by the driver's own name for it,
// which is the same for every process, or by its number where the plug-in does not tell. The file says who has it, for
// people. It is opened as what it is in a folder like /tmp: something that anybody may have put there. A link, a pipe
// or a second name of somebody's file is not used. Where nothing can be kept, the GPU is used without a lock.
//
// Owns the lock until destruction or the process's end, however that comes. Not thread-safe.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/devices.h"

namespace potluck {

class GpuLock {
 public:
  // Unavailable: another process has it; the message names it as far as is known: "another potluck worker (process
  // 123)". `gpu` is the GPU's GpuLockName.
  static absl::StatusOr<GpuLock> Take(const std::string& gpu, const std::string& folder = "/tmp");

  GpuLock(GpuLock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  GpuLock& operator=(GpuLock&&) = delete;
  ~GpuLock();

 private:
  explicit GpuLock(int file) : file_(file) {}

  int file_;  // An open, locked descriptor; -1: none could be kept.
};

// What the lock of a GPU is named after: DeviceSpec::id, or its number where that is not known.
std::string GpuLockName(const std::string& id, int index);

// Takes the locks of the GPUs among `found.devices` and leaves out those that others have, saying so in
// `found.gpu_note`; where none is left the CPU takes their place. NotFound with these sentences: `device` is "cuda",
// and none is left.
absl::StatusOr<std::vector<GpuLock>> TakeGpus(const std::string& device, FoundDevices& found,
                                              const std::string& folder = "/tmp");

}  // namespace potluck
