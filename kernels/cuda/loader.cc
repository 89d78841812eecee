#include "kernels/cuda/loader.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>

namespace potluck::cuda {

Result<std::shared_ptr<const Plugin>> Plugin::Load(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return Status::Error("There is no GPU plug-in at " + path + "; the CPU is used instead.");
  }
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    return Status::Error(
        "The GPU plug-in " + path + " cannot be loaded (" + (reason ? reason : "unknown reason") +
        "): take it from this program's release, or build it here by `potluck doctor --build-plugin`; " +
        "the CPU is used instead.");
  }
  using EntryPoint = const PotluckCudaPlugin* (*)();
  const auto entry = reinterpret_cast<EntryPoint>(dlsym(library, POTLUCK_CUDA_PLUGIN_SYMBOL));
  const PotluckCudaPlugin* const api = entry == nullptr ? nullptr : entry();
  if (api == nullptr) {
    dlclose(library);
    return Status::Error("The file " + path +
                         " is not a Potluck GPU plug-in: it has no " POTLUCK_CUDA_PLUGIN_SYMBOL ".");
  }
  if (api->abi_version != POTLUCK_CUDA_ABI_VERSION) {
    const uint32_t found = api->abi_version;
    dlclose(library);
    return Status::Error("The GPU plug-in " + path + " has interface version " + std::to_string(found) +
                         "; this program needs " + std::to_string(POTLUCK_CUDA_ABI_VERSION) +
                         ": take both from the same release; the CPU is used instead.");
  }
  return std::shared_ptr<const Plugin>(new Plugin(library, api));
}

Plugin::~Plugin() { dlclose(library_); }

Status Plugin::LastError() const {
  const char* const sentence = api_->last_error();
  return Status::Error(sentence == nullptr || *sentence == '\0' ? "The GPU plug-in failed without a reason."
                                                                : sentence);
}

Result<std::vector<PotluckCudaDevice>> Plugin::Devices() const {
  int count = 0;
  if (api_->device_count(&count) != 0) return LastError();
  std::vector<PotluckCudaDevice> devices(static_cast<size_t>(count));
  for (int index = 0; index < count; ++index) {
    if (api_->device(index, &devices[static_cast<size_t>(index)]) != 0) return LastError();
  }
  return devices;
}

Result<std::vector<PotluckCudaDevice>> ListDevices(const std::string& path) {
  const Result<std::shared_ptr<const Plugin>> plugin = Plugin::Load(path);
  if (!plugin.ok()) return plugin.status();
  return (*plugin)->Devices();
}

}  // namespace potluck::cuda
