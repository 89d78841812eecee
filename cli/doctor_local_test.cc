#include "cli/doctor_local.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "cli/gpu_compiler.h"
#include "cli/plugin_build.h"

namespace potluck {
namespace {

namespace fs = std::filesystem;

// A folder that is removed at the end.
class Folder {
 public:
  explicit Folder(const std::string& name) : path_(testing::TempDir() + "/" + name) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  void Write(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(path_ + "/" + name).parent_path());
    std::ofstream(path_ + "/" + name) << text;
  }

 private:
  const std::string path_;
};

void ExpectRow(const CheckRow& row, CheckStatus status, const std::vector<std::string>& parts,
               const std::string& remedy = "") {
  SCOPED_TRACE(RowText(row));
  EXPECT_EQ(row.status, status);
  for (const std::string& part : parts) EXPECT_TRUE(absl::StrContains(row.message, part)) << part;
  EXPECT_EQ(row.remedy.empty(), status == CheckStatus::kOk);
  EXPECT_TRUE(absl::StrContains(row.remedy, remedy)) << remedy;
}

GpuFindings OneGpu() {
  GpuFindings findings;
  findings.driver_version = "535.104.05";
  findings.driver = {.has_driver = true, .cuda_version = 12020, .gpus = {{0, "Tesla T4", uint64_t{16} << 30, "7.5"}}};
  findings.has_plugin = true;
  findings.plugin.plugin = "/opt/libpotluck_cuda.so";
  findings.plugin.gpus = {{.index = 0, .name = "Tesla T4", .compute = "7.5", .code_sm = 75}};
  return findings;
}

TEST(DoctorLocalTest, ThePlatformSaysWhatIsLeftOfItsSession) {
  const Platform& colab = *FindPlatform("colab");
  const CheckRow early = CheckPlatform(colab, true, absl::Hours(2));
  ExpectRow(early, CheckStatus::kOk, {"Google Colab", "12 h", "10 h 00 min of this session are left"});
  EXPECT_EQ(early.data["session_left_seconds"], 36000);
  ExpectRow(CheckPlatform(colab, true, absl::Hours(11.75)), CheckStatus::kWarn, {"; 15 min of this session are left"},
            "new session");
  const CheckRow machine = CheckPlatform(*FindPlatform("machine"), false, absl::Hours(1000));
  ExpectRow(machine, CheckStatus::kOk, {"a machine of your own"});
  EXPECT_FALSE(machine.data.contains("session_left_seconds"));
}

TEST(DoctorLocalTest, ARuleThatRestrictsIsAWarningWithItsSourceAndDate) {
  const Platform& colab = *FindPlatform("colab");
  ExpectRow(CheckRule(colab), CheckStatus::kWarn, {"distributed computing workers", colab.source, colab.dated},
            "--confirm-platform-rules");
  ExpectRow(CheckRule(*FindPlatform("jupyter")), CheckStatus::kOk, {"belongs to somebody"});
  ExpectRow(CheckRule(*FindPlatform("machine")), CheckStatus::kOk, {"no rule"});
}

TEST(DoctorLocalTest, TheMachineIsDescribedAndWhatIsScarceIsAWarning) {
  ExpectRow(CheckSystem(), CheckStatus::kOk, {"Linux", "glibc"});
  DeviceSpec cpu;
  cpu.name = "Good CPU";
  cpu.dispatch = "avx2";
  ExpectRow(CheckCpu(cpu), CheckStatus::kOk, {"Good CPU", "avx2"});
  cpu.dispatch = "scalar";
  ExpectRow(CheckCpu(cpu), CheckStatus::kWarn, {"scalar"}, "AVX2");
  ExpectRow(CheckThreads(2, 2), CheckStatus::kOk, {"2 are usable here"});
  ExpectRow(CheckThreads(1, 4), CheckStatus::kOk, {"1 is usable here, of 4"});
  ExpectRow(CheckMemory(uint64_t{16} << 30, uint64_t{8} << 30), CheckStatus::kOk, {"16 GiB, 8 GiB available"});
  ExpectRow(CheckMemory(uint64_t{16} << 30, uint64_t{1} << 29), CheckStatus::kWarn, {"0.5 GiB"}, "1 GiB");
  ExpectRow(CheckClock(absl::FromUnixSeconds(1800000000)), CheckStatus::kOk, {"2027"});
  ExpectRow(CheckClock(absl::FromUnixSeconds(0)), CheckStatus::kWarn, {}, "set this machine's clock");
}

TEST(DoctorLocalTest, ACacheThatCannotBeWrittenFails) {
  const Folder folder("doctor-cache");
  const CheckRow row = CheckCache(folder.path());
  EXPECT_NE(row.status, CheckStatus::kFail) << RowText(row);  // A nearly full disk may be a warning.
  EXPECT_GT(row.data["free_bytes"], 0);
  EXPECT_TRUE(fs::is_empty(folder.path()));
  ExpectRow(CheckCache(folder / "not-there"), CheckStatus::kFail, {"not-there", "cannot be written"}, "XDG_CACHE_HOME");
  ExpectRow(CheckCache(""), CheckStatus::kWarn, {"no home"}, "XDG_CACHE_HOME");
}

TEST(DoctorLocalTest, ADevicesTryIsToldWithItsRate) {
  DeviceRate rate;
  rate.self_test = absl::Milliseconds(250);
  rate.n = 14;
  rate.seconds = 0.5;
  rate.nodes_per_second = 2e9;
  rate.solutions_per_second = 7e5;
  const CheckRow row = CheckDeviceRate("cpu-test", "Good CPU", rate);
  ExpectRow(row, CheckStatus::kOk, {"self-test passed in 0.25 s", "14 queens", "2.00 G", "700 k"});
  EXPECT_EQ(row.data["nodes_per_second"], 2e9);
  ExpectRow(CheckDeviceRate("gpu-test", "GPU 0", absl::InternalError("2 + 2 is 5 on this device.")), CheckStatus::kFail,
            {"GPU 0 fails its self-test: 2 + 2 is 5 on this device"}, "do not join");
}

TEST(DoctorLocalTest, TheCpuPluginIsThereOrNotOrDoesNotLoad) {
  ExpectRow(CheckOnednn(true, "/opt/libpotluck_onednn.so", "onednn/avx2"), CheckStatus::kOk, {"onednn/avx2"});
  ExpectRow(CheckOnednn(false, "/opt/libpotluck_onednn.so", ""), CheckStatus::kWarn, {"is not there"}, "libdnnl");
  ExpectRow(CheckOnednn(true, "/opt/libpotluck_onednn.so", "reference"), CheckStatus::kWarn, {"does not load"},
            "libdnnl");
}

TEST(DoctorGpuTest, WithoutADriverTheCpuIsUsedAndThatIsNormal) {
  GpuFindings findings;
  std::vector<CheckRow> rows = CheckGpus(findings);
  ASSERT_EQ(rows.size(), 1u);
  ExpectRow(rows[0], CheckStatus::kOk, {"no NVIDIA driver", "the CPU is used"});
  findings.is_hosted = true;
  ExpectRow(CheckGpus(findings)[0], CheckStatus::kWarn, {"without a GPU"}, "settings");
  findings.has_hardware = true;
  ExpectRow(CheckGpus(findings)[0], CheckStatus::kWarn, {"there is no driver"}, "525");
}

TEST(DoctorGpuTest, AGpuThatFitsIsWell) {
  const std::vector<CheckRow> rows = CheckGpus(OneGpu());
  ASSERT_EQ(rows.size(), 3u);
  ExpectRow(rows[0], CheckStatus::kOk, {"535.104.05", "CUDA 12.2"});
  ExpectRow(rows[1], CheckStatus::kOk, {"/opt/libpotluck_cuda.so"});
  ExpectRow(rows[2], CheckStatus::kOk, {"GPU 0: Tesla T4, 16 GiB", "7.5", "sm_75"});
}

TEST(DoctorGpuTest, ADriverThatIsTooOldIsTold) {
  GpuFindings findings = OneGpu();
  findings.driver_version = "470.57.02";
  ExpectRow(CheckGpus(findings)[0], CheckStatus::kWarn, {"470.57.02", "too old"}, "525 or newer");
  findings.driver_version = "";
  findings.driver.cuda_version = 11040;
  ExpectRow(CheckGpus(findings)[0], CheckStatus::kWarn, {"CUDA 11.4", "too old"}, "525 or newer");
  findings = OneGpu();
  findings.driver.gpus.clear();
  findings.driver.note = "The NVIDIA driver does not start (cuInit gives 999).";
  const std::vector<CheckRow> rows = CheckGpus(findings);
  ASSERT_EQ(rows.size(), 1u);
  ExpectRow(rows[0], CheckStatus::kWarn, {"cuInit gives 999"}, "nvidia-smi");
}

TEST(DoctorGpuTest, APluginThatIsMissingOrDoesNotFitIsToldWithTheBuildAsRemedy) {
  GpuFindings findings = OneGpu();
  findings.has_plugin = false;
  findings.plugin.gpus.clear();
  ExpectRow(CheckGpus(findings)[1], CheckStatus::kWarn, {"no GPU plug-in at /opt/"}, "--build-plugin");
  ExpectRow(CheckGpus(findings)[2], CheckStatus::kWarn, {"Tesla T4"}, "--build-plugin");
  findings = OneGpu();
  findings.plugin.gpus[0].code_sm = 0;
  findings.plugin.gpus[0].error = "This GPU is sm_75, and ...";
  ExpectRow(CheckGpus(findings)[2], CheckStatus::kWarn, {"no machine code that fits it", "the CPU is used"},
            "--build-plugin");
  findings.plugin.gpus.clear();
  findings.plugin.note = "The GPU plug-in /opt/libpotluck_cuda.so has interface version 7; this program needs 1.";
  ExpectRow(CheckGpus(findings)[1], CheckStatus::kWarn, {"interface version 7"}, "same release");
}

TEST(DoctorGpuTest, AGpuThatFailsOrIsTakenIsTold) {
  GpuFindings findings = OneGpu();
  findings.plugin.gpus[0].error = "cuMemAlloc failed: out of memory (2).";
  ExpectRow(CheckGpus(findings)[2], CheckStatus::kWarn, {"out of memory", "the CPU is used"}, "nvidia-smi");
  findings = OneGpu();
  findings.user = [](const ProbedGpu& gpu) { return gpu.index == 0 ? "another potluck worker (process 4711)" : ""; };
  ExpectRow(CheckGpus(findings)[2], CheckStatus::kWarn, {"(process 4711) uses it already"}, "one worker a GPU");
}

TEST(DoctorGpuTest, DriverAndGpuAreReadFromTheSystem) {
  const Folder root("doctor-root");
  EXPECT_EQ(DriverVersion(root.path()), "");
  EXPECT_FALSE(HasNvidiaGpu(root.path()));
  root.Write(
      "proc/driver/nvidia/version",
      "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version: 11\n");
  EXPECT_EQ(DriverVersion(root.path()), "535.104.05");
  root.Write("sys/bus/pci/devices/0000:00:03.0/vendor", "0x10de\n");
  root.Write("sys/bus/pci/devices/0000:00:03.0/class", "0x020000\n");
  EXPECT_FALSE(HasNvidiaGpu(root.path()));
  root.Write("sys/bus/pci/devices/0000:00:04.0/vendor", "0x10de\n");
  root.Write("sys/bus/pci/devices/0000:00:04.0/class", "0x030200\n");
  EXPECT_TRUE(HasNvidiaGpu(root.path()));
}

TEST(PluginBuildTest, ArchitecturesAreReadAndWhatIsNoneIsRefused) {
  EXPECT_EQ(ParseArchitectures("75,80").value(), (std::vector<int>{75, 80}));
  for (const char* list : {"", "75,", "sm_75", "7.5", "75 80", "12"}) {
    EXPECT_EQ(ParseArchitectures(list).status().code(), absl::StatusCode::kInvalidArgument) << list;
  }
}

TEST(PluginBuildTest, EachGpuGetsTheNewestCodeThatItRuns) {
  const std::vector<int> known = {50, 70, 75, 80, 86, 90};
  EXPECT_EQ(FittingArchitectures({75, 80, 75}, known, "NVRTC").value(), (std::vector<int>{75, 80}));
  EXPECT_EQ(FittingArchitectures({89, 72}, known, "NVRTC").value(), (std::vector<int>{70, 86}));
  EXPECT_EQ(FittingArchitectures({35}, known, "NVRTC 12.8").status().message(),
            "NVRTC 12.8 makes no code for sm_35; it knows sm_50, sm_70, sm_75, sm_80, sm_86, sm_90");
}

TEST(PluginBuildTest, SourcesAreBesideTheProgramOrAboveIt) {
  const Folder folder("doctor-sources");
  fs::create_directories(folder / "a/build/release");
  EXPECT_EQ(FindKernelSources(folder / "a/build/release").status().code(), absl::StatusCode::kNotFound);
  folder.Write("a/kernels/cuda/plugin_sources.txt", "x");
  EXPECT_EQ(FindKernelSources(folder / "a/build/release").value(), folder / "a");
  EXPECT_EQ(FindKernelSources(folder / "a").value(), folder / "a");
}

TEST(GpuCompilerTest, WithoutNvccAndNvrtcItSaysWhatToInstall) {
  const Folder folder("doctor-compilers");
  GpuCompilerPlaces places;
  places.nvcc = {folder / "bin/nvcc"};
  places.python = {folder.path()};
  const absl::Status none = FindGpuCompiler(places, "auto", 0).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(absl::StrContains(none.message(), "neither nvcc nor NVRTC")) << none;
  EXPECT_TRUE(absl::StrContains(none.message(), "pip install nvidia-cuda-nvrtc-cu12")) << none;
  folder.Write("nvidia/cuda_nvrtc/lib/libnvrtc.so.12", "not a library");
  EXPECT_TRUE(absl::StrContains(FindGpuCompiler(places, "auto", 0).status().message(), "cuda.h is not"));
  folder.Write("nvidia/cuda_runtime/include/cuda.h", "");
  EXPECT_TRUE(absl::StrContains(FindGpuCompiler(places, "nvrtc", 0).status().message(), "no NVRTC"));
}

}  // namespace
}  // namespace potluck
