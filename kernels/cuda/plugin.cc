// The plug-in's side of plugin.h: sentences and C++ runners behind a table of C functions.
#include "kernels/cuda/plugin.h"

#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "kernels/cuda/cubins.h"
#include "kernels/cuda/driver.h"
#include "kernels/nqueens/backtracking/run_cuda_host.h"
#include "kernels/nqueens/backtracking/slice_runner.h"

struct PotluckCudaRunner {
  std::unique_ptr<potluck::nqueens::SliceRunner> runner;
};

namespace potluck::cuda {
namespace {

thread_local std::string last_error;

// Runs `function`, which returns a Status, and turns it (and whatever a library threw) into a code and last_error.
template <typename Function>
int Guarded(const Function& function) {
  Status status;
  try {
    status = function();
  } catch (const std::exception& error) {
    status = Status::Error(std::string("The GPU plug-in ran into an exception: ") + error.what() + ".");
  }
  last_error = status.message();
  return status.ok() ? 0 : 1;
}

Status CountDevices(int& count) {
  const Result<const Driver*> driver = Driver::Get();
  if (!driver.ok()) return driver.status();
  POTLUCK_CUDA_TRY(**driver, cuDeviceGetCount, &count);
  if (count == 0) return Status::Error("The NVIDIA driver finds no GPU on this machine; the CPU is used instead.");
  return Status();
}

Status CheckIndex(int index) {
  int count = 0;
  if (Status status = CountDevices(count); !status.ok()) return status;
  if (index >= 0 && index < count) return Status();
  return Status::Error("The GPU's index is " + std::to_string(index) + "; allowed: 0 to " + std::to_string(count - 1) +
                       ".");
}

// As nvidia-smi writes it.
void WriteUuid(const CUuuid& uuid, char (&out)[48]) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "GPU-";
  for (size_t i = 0; i < sizeof uuid.bytes; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    const auto byte = static_cast<unsigned char>(uuid.bytes[i]);
    text += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  text.copy(out, sizeof out - 1);  // All is 0 after it.
}

Status Describe(int index, PotluckCudaDevice& out) {
  if (Status status = CheckIndex(index); !status.ok()) return status;
  const Driver& driver = **Driver::Get();
  out = PotluckCudaDevice{};
  CUdevice device = 0;
  size_t memory = 0;
  POTLUCK_CUDA_TRY(driver, cuDeviceGet, &device, index);
  POTLUCK_CUDA_TRY(driver, cuDeviceGetName, out.name, static_cast<int>(sizeof(out.name)), device);
  CUuuid uuid{};
  POTLUCK_CUDA_TRY(driver, cuDeviceGetUuid_v2, &uuid, device);
  WriteUuid(uuid, out.uuid);
  POTLUCK_CUDA_TRY(driver, cuDeviceTotalMem, &memory, device);
  out.memory_bytes = memory;
  POTLUCK_CUDA_TRY(driver, cuDeviceGetAttribute, &out.compute_major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                   device);
  POTLUCK_CUDA_TRY(driver, cuDeviceGetAttribute, &out.compute_minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                   device);
  POTLUCK_CUDA_TRY(driver, cuDeviceGetAttribute, &out.multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
                   device);
  const Cubin* const cubin = FindCubin("nqueens", out.compute_major, out.compute_minor);
  out.code_sm = cubin == nullptr ? 0 : cubin->sm;
  return Status();
}

Status CreateRunner(const std::string& workload, int index, PotluckCudaRunner*& out) {
  if (Status status = CheckIndex(index); !status.ok()) return status;
  if (workload != "nqueens") {
    return Status::Error("The workload is \"" + workload + "\"; allowed on a GPU: nqueens.");
  }
  Result<std::unique_ptr<nqueens::SliceRunner>> runner = nqueens::MakeCudaRunner(index);
  if (!runner.ok()) return runner.status();
  out = new PotluckCudaRunner{std::move(*runner)};
  return Status();
}

Status RunInterval(PotluckCudaRunner& runner, Interval interval, double slice_seconds,
                   const PotluckCudaCallbacks& callbacks) {
  const nqueens::Steering steering{
      [&](uint64_t begin, uint64_t wanted_end) { return callbacks.claim(callbacks.context, begin, wanted_end); },
      [&] { return callbacks.cancelled(callbacks.context) != 0; }};
  return runner.runner->Run(interval, steering, RunOptions{slice_seconds},
                            [&](Interval slice, std::string_view payload, double busy_seconds) {
                              callbacks.slice(callbacks.context, slice.begin, slice.end, payload.data(), payload.size(),
                                              busy_seconds);
                            });
}

constexpr PotluckCudaPlugin kPlugin = {
    POTLUCK_CUDA_ABI_VERSION,
    [](int* count) { return Guarded([&] { return CountDevices(*count); }); },
    [](int index, PotluckCudaDevice* out) { return Guarded([&] { return Describe(index, *out); }); },
    [](const char* workload, int index, PotluckCudaRunner** out) {
      return Guarded([&] { return CreateRunner(workload, index, *out); });
    },
    [](PotluckCudaRunner* runner) { delete runner; },
    [](PotluckCudaRunner* runner) { return Guarded([&] { return runner->runner->SelfTest(); }); },
    [](PotluckCudaRunner* runner, const char* payload, size_t size) {
      return Guarded([&] { return runner->runner->Open(std::string_view(payload, size)); });
    },
    [](PotluckCudaRunner* runner, uint64_t begin, uint64_t end, double slice_seconds,
       const PotluckCudaCallbacks* callbacks) {
      return Guarded([&] { return RunInterval(*runner, {begin, end}, slice_seconds, *callbacks); });
    },
    [] { return last_error.c_str(); },
};

}  // namespace
}  // namespace potluck::cuda

extern "C" __attribute__((visibility("default"))) const PotluckCudaPlugin* potluck_cuda_plugin(void) {
  return &potluck::cuda::kPlugin;
}
