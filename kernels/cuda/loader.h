// Loads the GPU plug-in and lists its devices. Every way in which that can fail, a missing file, another version, no
// driver, no GPU, is one sentence; the caller goes on with the CPU.
//
// A Plugin is shared by the runners made from it and unloads when the last of them is gone. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/plugin.h"
#include "kernels/workload/status.h"

namespace potluck::cuda {

class Plugin {
 public:
  // Loads the file and compares versions; needs neither a driver nor a GPU yet.
  static Result<std::shared_ptr<const Plugin>> Load(const std::string& path);
  ~Plugin();
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  const PotluckCudaPlugin& api() const { return *api_; }
  // The calling thread's last error as a status.
  Status LastError() const;
  // At least one, or why there is none.
  Result<std::vector<PotluckCudaDevice>> Devices() const;

 private:
  Plugin(void* library, const PotluckCudaPlugin* api) : library_(library), api_(api) {}

  void* library_;
  const PotluckCudaPlugin* api_;
};

// The devices of the plug-in at `path`, loaded for this call only.
Result<std::vector<PotluckCudaDevice>> ListDevices(const std::string& path);

}  // namespace potluck::cuda
