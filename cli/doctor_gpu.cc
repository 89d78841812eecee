// What `potluck doctor` says of GPUs: the driver, the plug-in, and whether they fit.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "cli/doctor_local.h"
#include "cli/subprocess.h"
#include "worker/gpu_lock.h"

namespace potluck {
namespace {

constexpr int kOldestDriver = 525;  // The first of CUDA 12.
constexpr char kBuild[] = "run `potluck doctor --build-plugin`, which builds it here for this GPU";

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// 535 of "535.104.05"; 0: not known.
int MajorOf(const std::string& version) {
  int major = 0;
  const std::string digits = version.substr(0, version.find('.'));
  return absl::SimpleAtoi(digits, &major) ? major : 0;
}

std::string CudaText(int version) { return absl::StrCat(version / 1000, ".", version % 1000 / 10); }

std::vector<CheckRow> WithoutDriver(const GpuFindings& findings) {
  if (findings.has_hardware) {
    return {WarnRow("gpu",
                    "an NVIDIA GPU is in this machine, but there is no driver (libcuda.so.1) for it: the CPU is used",
                    "install NVIDIA's driver 525 or newer, or, in a container, give it the GPU (--gpus all)")};
  }
  if (findings.is_hosted) {
    return {WarnRow("gpu", "this session came without a GPU: the CPU is used",
                    "choose a GPU in the notebook's settings and start the session anew; it may be refused for hours")};
  }
  return {OkRow("gpu", "no NVIDIA driver, so no GPU: the CPU is used")};
}

CheckRow CheckDriver(const GpuFindings& findings) {
  const int major = MajorOf(findings.driver_version);
  CheckRow row = OkRow(
      "driver",
      absl::StrCat("NVIDIA driver ", findings.driver_version.empty() ? "of unknown version" : findings.driver_version));
  if (findings.driver.cuda_version > 0)
    absl::StrAppend(&row.message, ", CUDA ", CudaText(findings.driver.cuda_version));
  row.data = {{"version", findings.driver_version}, {"cuda_version", findings.driver.cuda_version}};
  const bool is_too_old = (major > 0 && major < kOldestDriver) ||
                          (findings.driver.cuda_version > 0 && findings.driver.cuda_version < 12000);
  if (is_too_old) {
    row.status = CheckStatus::kWarn;
    absl::StrAppend(&row.message, ", which is too old");
    row.remedy = "update NVIDIA's driver to 525 or newer; until then the CPU may be used instead";
  } else if (findings.driver.gpus.empty()) {
    row.status = CheckStatus::kWarn;
    absl::StrAppend(&row.message, "; ", absl::StripSuffix(findings.driver.note, "."));
    row.remedy = "run nvidia-smi to see whether the driver works; until then the CPU is used";
  }
  return row;
}

CheckRow Describe(const DriverGpu& gpu) {
  CheckRow row = OkRow("gpu", absl::StrFormat("GPU %d: %s, %.3g GiB, compute capability %s", gpu.index, gpu.name,
                                              static_cast<double>(gpu.memory_bytes) / (1 << 30), gpu.compute));
  row.data = {{"index", gpu.index}, {"name", gpu.name}, {"memory_bytes", gpu.memory_bytes}, {"compute", gpu.compute}};
  return row;
}

CheckRow CheckGpu(const GpuFindings& findings, const DriverGpu& gpu) {
  CheckRow row = Describe(gpu);
  const auto probed = std::find_if(findings.plugin.gpus.begin(), findings.plugin.gpus.end(),
                                   [&gpu](const ProbedGpu& other) { return other.index == gpu.index; });
  const auto warn = [&row](const std::string& what, const std::string& remedy) {
    row.status = CheckStatus::kWarn;
    absl::StrAppend(&row.message, "; ", what, ": the CPU is used");
    row.remedy = remedy;
  };
  if (probed == findings.plugin.gpus.end()) {
    warn("the plug-in does not list it", findings.has_plugin ? "see the row on the plug-in" : kBuild);
    return row;
  }
  row.data["code_sm"] = probed->code_sm;
  if (probed->code_sm == 0) {
    warn("the plug-in has no machine code that fits it", kBuild);
  } else if (!probed->error.empty()) {
    warn(std::string(absl::StripSuffix(probed->error, ".")),
         "run nvidia-smi; if another program uses the GPU, end that");
  } else {
    absl::StrAppend(&row.message, ", served by code for sm_", probed->code_sm);
  }
  if (const std::string user = findings.user ? findings.user(*probed) : ""; !user.empty()) {
    row.status = CheckStatus::kWarn;
    absl::StrAppend(&row.message, "; ", user, " uses it already");
    row.remedy = "one worker a GPU: stop the other one first, or let `potluck join --single` do so";
  }
  return row;
}

CheckRow CheckPlugin(const GpuFindings& findings) {
  if (!findings.has_plugin) {
    return WarnRow("plugin", absl::StrCat("there is no GPU plug-in at ", findings.plugin.plugin, ": the CPU is used"),
                   absl::StrCat("put libpotluck_cuda.so of the same release beside the program, or ", kBuild));
  }
  if (findings.plugin.gpus.empty()) {
    return WarnRow("plugin", std::string(absl::StripSuffix(findings.plugin.note, ".")),
                   absl::StrCat("put libpotluck_cuda.so of the same release beside the program, or ", kBuild));
  }
  CheckRow row = OkRow("plugin", absl::StrCat("the GPU plug-in is ", findings.plugin.plugin));
  row.data = {{"path", findings.plugin.plugin}};
  return row;
}

}  // namespace

std::string DriverVersion(const std::string& root) {
  // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 ..."
  for (const absl::string_view word :
       absl::StrSplit(FirstLine(root + "/proc/driver/nvidia/version"), ' ', absl::SkipEmpty())) {
    if (word.find('.') != absl::string_view::npos && word.find_first_not_of("0123456789.") == absl::string_view::npos) {
      return std::string(word);
    }
  }
  return "";
}

bool HasNvidiaGpu(const std::string& root) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root + "/sys/bus/pci/devices", error)) {
    const std::string device = entry.path().string();
    // Class 03 is a display controller, 0x0302 one without a display.
    if (FirstLine(device + "/vendor") == "0x10de" && FirstLine(device + "/class").rfind("0x03", 0) == 0) return true;
  }
  return false;
}

GpuFindings FindGpus(const DeviceRequest& request, const Platform& platform) {
  GpuFindings findings;
  findings.has_hardware = HasNvidiaGpu();
  findings.is_hosted = platform.gpu_session != absl::InfiniteDuration();
  findings.driver = ProbeDriver(request);
  findings.plugin.plugin = request.plugin.empty() ? GpuPluginPath(request.program) : request.plugin;
  std::error_code error;
  findings.has_plugin = std::filesystem::exists(findings.plugin.plugin, error);
  if (!findings.driver.has_driver) return findings;
  findings.driver_version = DriverVersion();
  if (findings.driver_version.empty()) {
    const absl::StatusOr<ProgramEnd> asked =
        RunProgram({"nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"});
    if (asked.ok() && asked->code == 0) findings.driver_version = LastLine(asked->output);
  }
  if (findings.has_plugin) findings.plugin = ProbeGpus(request);
  findings.user = [](const ProbedGpu& gpu) {
    const absl::StatusOr<GpuLock> lock = GpuLock::Take(GpuLockName(gpu.uuid, gpu.index));
    return lock.ok() ? std::string() : std::string(lock.status().message());
  };
  return findings;
}

std::vector<CheckRow> CheckGpus(const GpuFindings& findings) {
  if (!findings.driver.has_driver) return WithoutDriver(findings);
  std::vector<CheckRow> rows = {CheckDriver(findings)};
  if (findings.driver.gpus.empty()) return rows;
  rows.push_back(CheckPlugin(findings));
  for (const DriverGpu& gpu : findings.driver.gpus) rows.push_back(CheckGpu(findings, gpu));
  return rows;
}

}  // namespace potluck
