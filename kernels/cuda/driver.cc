#include "kernels/cuda/driver.h"

#include <dlfcn.h>

#include <algorithm>

namespace potluck::cuda {
namespace {

#define POTLUCK_CUDA_NAME(name) #name
#define POTLUCK_CUDA_EXPANDED_NAME(name) POTLUCK_CUDA_NAME(name)

Result<Driver> Open() {
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return Status::Error(
        "There is no NVIDIA driver on this machine (libcuda.so.1 was not found); the CPU is used instead.");
  }
  Driver driver;
  const char* missing = nullptr;
#define POTLUCK_CUDA_RESOLVE(name)                                                                         \
  driver.name = reinterpret_cast<decltype(driver.name)>(dlsym(library, POTLUCK_CUDA_EXPANDED_NAME(name))); \
  if (driver.name == nullptr) missing = POTLUCK_CUDA_EXPANDED_NAME(name);
  POTLUCK_CUDA_DRIVER_CALLS(POTLUCK_CUDA_RESOLVE)
#undef POTLUCK_CUDA_RESOLVE
  if (missing != nullptr) {
    return Status::Error("The NVIDIA driver is too old: it has no " + std::string(missing) +
                         "; the CPU is used instead.");
  }
  if (Status status = driver.Check(driver.cuInit(0), "cuInit"); !status.ok()) {
    return Status::Error("The NVIDIA driver does not start; the CPU is used instead. " + status.message());
  }
  return driver;
}

}  // namespace

Result<const Driver*> Driver::Get() {
  static const Result<Driver> driver = Open();
  if (!driver.ok()) return driver.status();
  return &driver.value();
}

Status Driver::Check(CUresult result, const char* call) const {
  if (result == CUDA_SUCCESS) return Status();
  const char* words = nullptr;
  if (cuGetErrorString(result, &words) != CUDA_SUCCESS || words == nullptr) words = "unknown error";
  return Status::Error(std::string(call) + " failed: " + words + " (" + std::to_string(result) + ").");
}

Result<Context> Context::Create(const Driver& driver, int device_index) {
  CUdevice device = 0;
  CUcontext context = nullptr;
  POTLUCK_CUDA_TRY(driver, cuDeviceGet, &device, device_index);
  POTLUCK_CUDA_TRY(driver, cuDevicePrimaryCtxRetain, &context, device);
  return Context(driver, device, context);
}

Context::~Context() {
  if (context_ != nullptr) (void)driver_.cuDevicePrimaryCtxRelease(device_);
}

Status Context::Use() const { return driver_.Check(driver_.cuCtxSetCurrent(context_), "cuCtxSetCurrent"); }

Module::~Module() {
  if (module_ != nullptr) (void)driver_.cuModuleUnload(module_);
}

Status Module::Load(const void* image) {
  return driver_.Check(driver_.cuModuleLoadData(&module_, image), "cuModuleLoadData");
}

Status Module::Function(const char* name, CUfunction& function) const {
  return driver_.Check(driver_.cuModuleGetFunction(&function, module_, name), "cuModuleGetFunction");
}

DeviceBuffer::~DeviceBuffer() {
  if (pointer_ != 0) (void)driver_.cuMemFree(pointer_);
}

Status DeviceBuffer::Reserve(size_t bytes) {
  if (bytes <= bytes_) return Status();
  const size_t wanted = std::max(bytes, bytes_ * 2);
  if (pointer_ != 0) POTLUCK_CUDA_TRY(driver_, cuMemFree, std::exchange(pointer_, 0));
  bytes_ = 0;
  POTLUCK_CUDA_TRY(driver_, cuMemAlloc, &pointer_, wanted);
  bytes_ = wanted;
  return Status();
}

PinnedBuffer::~PinnedBuffer() {
  if (pointer_ != nullptr) (void)driver_.cuMemFreeHost(pointer_);
}

Status PinnedBuffer::Reserve(size_t bytes) {
  if (bytes <= bytes_) return Status();
  const size_t wanted = std::max(bytes, bytes_ * 2);
  if (pointer_ != nullptr) POTLUCK_CUDA_TRY(driver_, cuMemFreeHost, std::exchange(pointer_, nullptr));
  bytes_ = 0;
  POTLUCK_CUDA_TRY(driver_, cuMemHostAlloc, &pointer_, wanted, 0);
  bytes_ = wanted;
  return Status();
}

Stream::~Stream() {
  if (stream_ != nullptr) (void)driver_.cuStreamDestroy(stream_);
}

Status Stream::Create() {
  return driver_.Check(driver_.cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
}

Status Stream::Synchronize() const {
  return driver_.Check(driver_.cuStreamSynchronize(stream_), "cuStreamSynchronize");
}

}  // namespace potluck::cuda
