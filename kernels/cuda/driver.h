// The CUDA driver, opened at run time (libcuda.so.1), and owners of what it hands out. Inside the plug-in only.
//
// Every call is checked: an error becomes a sentence that names the call and the driver's own words. The table is
// opened once and never closed; it is thread-safe. Owners are movable, not thread-safe, and must die while their
// context lives.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <string>
#include <utility>

#include "kernels/workload/status.h"

namespace potluck::cuda {

// Entry points under the exact (versioned) names that <cuda.h> maps them to.
#define POTLUCK_CUDA_DRIVER_CALLS(X)                                                                               \
  X(cuInit)                                                                                                        \
  X(cuGetErrorString)                                                                                              \
  X(cuDeviceGetCount)                                                                                              \
  X(cuDeviceGet)                                                                                                   \
  X(cuDeviceGetName) X(cuDeviceGetUuid_v2) X(cuDeviceTotalMem) X(cuDeviceGetAttribute) X(cuDevicePrimaryCtxRetain) \
      X(cuDevicePrimaryCtxRelease) X(cuCtxSetCurrent) X(cuModuleLoadData) X(cuModuleUnload) X(cuModuleGetFunction) \
          X(cuMemAlloc) X(cuMemFree) X(cuMemHostAlloc) X(cuMemFreeHost) X(cuMemcpyHtoDAsync) X(cuMemcpyDtoH)       \
              X(cuMemsetD32Async) X(cuLaunchKernel) X(cuStreamCreate) X(cuStreamDestroy) X(cuStreamSynchronize)    \
                  X(cuOccupancyMaxActiveBlocksPerMultiprocessor)

struct Driver {
#define POTLUCK_CUDA_DECLARE(name) decltype(&::name) name = nullptr;
  POTLUCK_CUDA_DRIVER_CALLS(POTLUCK_CUDA_DECLARE)
#undef POTLUCK_CUDA_DECLARE

  // The opened and initialised driver, or why there is none.
  static Result<const Driver*> Get();
  // Ok, or "`call` failed: <the driver's words>."
  Status Check(CUresult result, const char* call) const;
};

// Returns the status of a driver call from the enclosing function unless it is ok. `driver` is a const Driver&.
#define POTLUCK_CUDA_TRY(driver, name, ...)                                           \
  do {                                                                                \
    ::potluck::Status try_status = (driver).Check((driver).name(__VA_ARGS__), #name); \
    if (!try_status.ok()) return try_status;                                          \
  } while (false)

// A device's primary context, current on the calling thread after Use().
class Context {
 public:
  static Result<Context> Create(const Driver& driver, int device_index);
  Context(Context&& other) noexcept : driver_(other.driver_), device_(other.device_), context_(other.context_) {
    other.context_ = nullptr;
  }
  Context& operator=(Context&&) = delete;
  ~Context();

  Status Use() const;
  CUdevice device() const { return device_; }

 private:
  Context(const Driver& driver, CUdevice device, CUcontext context)
      : driver_(driver), device_(device), context_(context) {}
  const Driver& driver_;
  CUdevice device_;
  CUcontext context_;
};

// One loaded cubin.
class Module {
 public:
  explicit Module(const Driver& driver) : driver_(driver) {}
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  ~Module();
  Status Load(const void* image);
  Status Function(const char* name, CUfunction& function) const;

 private:
  const Driver& driver_;
  CUmodule module_ = nullptr;
};

// Device memory that only grows.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(const Driver& driver) : driver_(driver) {}
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer();
  // Contents are lost when it grows.
  Status Reserve(size_t bytes);
  CUdeviceptr get() const { return pointer_; }

 private:
  const Driver& driver_;
  CUdeviceptr pointer_ = 0;
  size_t bytes_ = 0;
};

// Page-locked host memory that only grows.
class PinnedBuffer {
 public:
  explicit PinnedBuffer(const Driver& driver) : driver_(driver) {}
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  ~PinnedBuffer();
  Status Reserve(size_t bytes);
  void* get() const { return pointer_; }

 private:
  const Driver& driver_;
  void* pointer_ = nullptr;
  size_t bytes_ = 0;
};

class Stream {
 public:
  explicit Stream(const Driver& driver) : driver_(driver) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();
  Status Create();
  Status Synchronize() const;
  CUstream get() const { return stream_; }

 private:
  const Driver& driver_;
  CUstream stream_ = nullptr;
};

}  // namespace potluck::cuda
