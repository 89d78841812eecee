#include "worker/driver_probe.h"

#include <dlfcn.h>

#include <cstddef>

#include "absl/strings/str_cat.h"

namespace potluck {
namespace {

// As <cuda.h> has them; the interface is stable.
constexpr int kComputeMajor = 75, kComputeMinor = 76;  // CUdevice_attribute

class Library {
 public:
  explicit Library(const std::string& name) : handle_(dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) {}
  bool is_open() const { return handle_ != nullptr; }

  // Calls a function of the driver's; what it returns, or -1 if it has none of that name.
  template <typename... Parameters>
  int Call(const char* name, Parameters... parameters) const {
    using Function = int (*)(Parameters...);
    const auto function = reinterpret_cast<Function>(dlsym(handle_, name));
    return function == nullptr ? -1 : function(parameters...);
  }

 private:
  void* const handle_;  // Never closed: drivers do not take it well.
};

nlohmann::json Error(const std::string& sentence) { return {{"error", sentence}}; }

nlohmann::json DescribeGpu(const Library& driver, int index) {
  int device = 0, major = 0, minor = 0;
  char name[256] = {};
  size_t memory = 0;
  if (driver.Call("cuDeviceGet", &device, index) != 0 ||
      driver.Call("cuDeviceGetName", static_cast<char*>(name), 255, device) != 0 ||
      driver.Call("cuDeviceGetAttribute", &major, kComputeMajor, device) != 0 ||
      driver.Call("cuDeviceGetAttribute", &minor, kComputeMinor, device) != 0) {
    return Error(absl::StrCat("The driver does not describe GPU ", index, "."));
  }
  driver.Call("cuDeviceTotalMem_v2", &memory, device);
  return {{"index", static_cast<unsigned>(index)},
          {"name", std::string(name)},
          {"memory_bytes", static_cast<uint64_t>(memory)},
          {"compute", absl::StrCat(major, ".", minor)}};
}

}  // namespace

std::vector<nlohmann::json> DescribeDriver(const std::string& library) {
  const Library driver(library);
  if (!driver.is_open()) return {Error(absl::StrCat("There is no NVIDIA driver (", library, " was not found)."))};
  int version = 0, count = 0;
  driver.Call("cuDriverGetVersion", &version);
  std::vector<nlohmann::json> lines = {{{"has_driver", 1u}, {"cuda_version", static_cast<unsigned>(version)}}};
  if (const int code = driver.Call("cuInit", 0u); code != 0) {
    lines.push_back(Error(absl::StrCat("The NVIDIA driver does not start (cuInit gives ", code, ").")));
  } else if (driver.Call("cuDeviceGetCount", &count) != 0 || count == 0) {
    lines.push_back(Error("The NVIDIA driver finds no GPU."));
  }
  for (int index = 0; index < count; ++index) lines.push_back(DescribeGpu(driver, index));
  return lines;
}

}  // namespace potluck
