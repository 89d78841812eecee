#include <dlfcn.h>

#include <filesystem>
#include <map>
#include <mutex>
#include <system_error>

#include "kernels/cnn/onednn/plugin.h"

namespace potluck::cnn {
namespace {

Result<const OnednnPlugin*> Load(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return Status::Error("There is no CPU plug-in at " + path + "; the portable kernels are used, which are slower.");
  }
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    return Status::Error("The CPU plug-in " + path + " cannot be loaded: " + (reason ? reason : "unknown reason") +
                         "; the portable kernels are used, which are slower.");
  }
  const auto entry = reinterpret_cast<OnednnPluginEntry>(dlsym(library, kOnednnPluginSymbol));
  const OnednnPlugin* const plugin = entry == nullptr ? nullptr : entry();
  if (plugin == nullptr) {
    dlclose(library);
    return Status::Error("The file " + path + " is not a Potluck CPU plug-in: it has no " + kOnednnPluginSymbol +
                         "; the portable kernels are used, which are slower.");
  }
  if (plugin->abi_version != kOnednnAbiVersion) {
    const uint32_t found = plugin->abi_version;
    dlclose(library);
    return Status::Error("The CPU plug-in " + path + " has interface version " + std::to_string(found) +
                         "; this program needs " + std::to_string(kOnednnAbiVersion) +
                         ": take both from the same release. The portable kernels are used, which are slower.");
  }
  return plugin;
}

}  // namespace

Result<const OnednnPlugin*> LoadOnednnPlugin(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, Result<const OnednnPlugin*>> loaded;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto it = loaded.find(path);
  if (it != loaded.end()) return it->second;
  return loaded.emplace(path, Load(path)).first->second;
}

std::string OnednnPluginBesideProgram() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "" : (program.parent_path() / "libpotluck_onednn.so").string();
}

}  // namespace potluck::cnn
