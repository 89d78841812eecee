// For tests: a library that stands in for NVIDIA's driver (libcuda.so.1), with GPUs that can be listed and compute
// nothing.
//
// The environment says what it shows: FAKE_GPUS (how many, 1), FAKE_COMPUTE ("7.5"), FAKE_CUDA ("12080"). Loading code
// fails as a driver does that finds nothing in it for its GPU.
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kSuccess = 0, kInvalidValue = 1, kNoBinary = 209;
constexpr int kMultiprocessors = 16, kComputeMajor = 75, kComputeMinor = 76;

const char* Variable(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value == nullptr ? fallback : value;
}

}  // namespace

extern "C" {

int cuInit(unsigned) { return kSuccess; }
int cuDriverGetVersion(int* version) {
  *version = std::atoi(Variable("FAKE_CUDA", "12080"));
  return kSuccess;
}
int cuGetErrorString(int code, const char** words) {
  *words = code == kNoBinary ? "no kernel image is available for execution on the device" : "a fake error";
  return kSuccess;
}
int cuDeviceGetCount(int* count) {
  *count = std::atoi(Variable("FAKE_GPUS", "1"));
  return kSuccess;
}
int cuDeviceGet(int* device, int index) {
  *device = index;
  return kSuccess;
}
int cuDeviceGetName(char* name, int size, int) {
  std::strncpy(name, "Fake GPU", static_cast<size_t>(size));
  return kSuccess;
}
int cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = size_t{16} << 30;
  return kSuccess;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
  const char* compute = Variable("FAKE_COMPUTE", "7.5");
  const char* dot = std::strchr(compute, '.');
  *value = attribute == kComputeMajor      ? std::atoi(compute)
           : attribute == kComputeMinor    ? (dot == nullptr ? 0 : std::atoi(dot + 1))
           : attribute == kMultiprocessors ? 4
                                           : 0;
  return kSuccess;
}
int cuDeviceGetUuid_v2(char* uuid, int device) {
  std::memset(uuid, 'a' + device, 16);
  return kSuccess;
}
int cuDeviceGetUuid(char* uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }
int cuDevicePrimaryCtxRetain(void** context, int) {
  static int only;
  *context = &only;
  return kSuccess;
}
int cuDevicePrimaryCtxRelease_v2(int) { return kSuccess; }
int cuCtxSetCurrent(void*) { return kSuccess; }
int cuModuleLoadData(void**, const void*) { return kNoBinary; }

// Nothing gets as far as these.
int cuModuleUnload(void*) { return kInvalidValue; }
int cuModuleGetFunction(void**, void*, const char*) { return kInvalidValue; }
int cuMemAlloc_v2(void*, size_t) { return kInvalidValue; }
int cuMemFree_v2(unsigned long long) { return kInvalidValue; }
int cuMemHostAlloc(void**, size_t, unsigned) { return kInvalidValue; }
int cuMemFreeHost(void*) { return kInvalidValue; }
int cuMemcpyHtoDAsync_v2(unsigned long long, const void*, size_t, void*) { return kInvalidValue; }
int cuMemcpyDtoH_v2(void*, unsigned long long, size_t) { return kInvalidValue; }
int cuMemsetD32Async(unsigned long long, unsigned, size_t, void*) { return kInvalidValue; }
int cuLaunchKernel() { return kInvalidValue; }
int cuStreamCreate(void**, unsigned) { return kInvalidValue; }
int cuStreamDestroy_v2(void*) { return kInvalidValue; }
int cuStreamSynchronize(void*) { return kInvalidValue; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int*, void*, int, size_t) { return kInvalidValue; }

}  // extern "C"
