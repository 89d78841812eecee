#include "worker/devices.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"

namespace potluck {
namespace {

DeviceRequest Request(const std::string& device, const std::string& plugin) {
  DeviceRequest request;
  request.device = device;
  request.plugin = plugin;
  request.program = POTLUCK_EXECUTOR_TEST_CHILD;
  return request;
}

TEST(DevicesTest, AutoTakesTheGpusThatPassedAndSaysWhyOthersDidNot) {
  const absl::StatusOr<FoundDevices> found = FindDevices(Request("auto", "two"));
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->devices.size(), 1u);
  const DeviceSpec& gpu = found->devices[0];
  EXPECT_EQ(gpu.kind, "cuda");
  EXPECT_EQ(gpu.index, 0);
  EXPECT_EQ(gpu.plugin, "two");
  EXPECT_EQ(gpu.name, "Fake A");
  EXPECT_EQ(gpu.memory_bytes, 16u);
  EXPECT_EQ(gpu.numerics_class, "cuda/sm_75/7.5");
  EXPECT_EQ(found->gpu_note, "GPU 1 (Fake B) is not used: It is broken.");
}

TEST(DevicesTest, AutoTakesTheCpuWhereThereIsNoGpu) {
  const absl::StatusOr<FoundDevices> found = FindDevices(Request("auto", "/nowhere/libpotluck_cuda.so"));
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->devices.size(), 1u);
  EXPECT_EQ(found->devices[0].kind, "cpu");
  EXPECT_GE(found->devices[0].threads, 1);
  EXPECT_GT(found->devices[0].memory_bytes, 0u);
  EXPECT_FALSE(found->devices[0].name.empty());
  EXPECT_EQ(found->gpu_note, "There is no GPU plug-in at /nowhere/libpotluck_cuda.so; the CPU is used instead.");
}

TEST(DevicesTest, AProbeThatHangsOrCrashesCostsTheGpusOnly) {
  DeviceRequest request = Request("auto", "hang");
  request.probe_limit = absl::Milliseconds(100);
  absl::StatusOr<FoundDevices> found = FindDevices(request);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->devices[0].kind, "cpu");
  EXPECT_EQ(found->gpu_note, "The GPU driver did not answer within 100ms; run nvidia-smi to see whether it works.");

  found = FindDevices(Request("auto", "crash"));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->devices[0].kind, "cpu");
  EXPECT_EQ(found->gpu_note,
            "The search for GPUs was killed by signal 6 (Aborted); run nvidia-smi to see whether the driver works.");
}

TEST(DevicesTest, WhatWasFoundBeforeAHangCounts) {
  DeviceRequest request = Request("auto", "two-then-hang");
  request.probe_limit = absl::Seconds(2);
  const absl::StatusOr<FoundDevices> found = FindDevices(request);
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->devices.size(), 1u);
  EXPECT_EQ(found->devices[0].name, "Fake A");
}

TEST(DevicesTest, AskingForAGpuFailsWithTheReason) {
  const absl::Status status = FindDevices(Request("cuda", "/nowhere/plugin.so")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(
      status.message(),
      "device is \"cuda\", but no GPU can be used: There is no GPU plug-in at /nowhere/plugin.so; the CPU is used "
      "instead.");
}

TEST(DevicesTest, AskingForTheCpuDoesNotLookForGpus) {
  DeviceRequest request = Request("cpu", "crash");
  request.threads = 3;
  request.dispatch = "scalar";
  const absl::StatusOr<FoundDevices> found = FindDevices(request);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->devices[0].threads, 3);
  EXPECT_EQ(found->devices[0].dispatch, "scalar");
  EXPECT_EQ(found->devices[0].numerics_class.substr(0, 11), "cpu/scalar/");
  EXPECT_EQ(found->devices[0].implementations, std::vector<std::string>{"scalar"});  // Forced: no other.
  request.dispatch = "auto";
  const std::vector<std::string> all = FindDevices(request)->devices[0].implementations;
  EXPECT_EQ(all.back(), "scalar");
  EXPECT_EQ(all.front(), FindDevices(request)->devices[0].dispatch);
  EXPECT_EQ(found->gpu_note, "");
}

TEST(DevicesTest, WrongRequestsNameFieldValueAndWhatIsAllowed) {
  EXPECT_EQ(FindDevices(Request("gpu", "")).status().message(), "device is \"gpu\"; allowed: auto, cpu, cuda.");
  DeviceRequest request = Request("cpu", "");
  request.threads = 5000;
  EXPECT_EQ(FindDevices(request).status().message(), "threads is 5000; allowed: 0 (all cores) to 4096.");
  request = Request("cpu", "");
  request.dispatch = "warp";
  EXPECT_TRUE(absl::StartsWith(FindDevices(request).status().message(), "dispatch is \"warp\"; allowed: auto, "));
}

TEST(DevicesTest, ProbeOutputThatIsNotOursIsSaid) {
  std::string note;
  EXPECT_TRUE(ParseProbe("[1]\nhello\n{\"error\":\"No driver.\"}\n", "p", note).empty());
  EXPECT_EQ(note,
            "The search for GPUs printed a line that is not a JSON object. The search for GPUs printed a line that is "
            "not a JSON object. No driver.");
}

// A /proc and /sys of the test's own.
class HostTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string folder = ::testing::TempDir() + "potluck_devices_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    root_ = folder;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Put(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  std::string root_;
};

TEST_F(HostTest, TheTightestControlGroupLimitsThreadsAndMemory) {
  Put("/proc/self/cgroup", "0::/user.slice/me.scope\n");
  Put("/proc/meminfo", "MemTotal:        1024 kB\nMemFree: 1 kB\n");
  EXPECT_EQ(UsableMemory(root_), 1048576u);
  Put("/sys/fs/cgroup/user.slice/cpu.max", "50000 100000\n");
  Put("/sys/fs/cgroup/user.slice/me.scope/cpu.max", "max 100000\n");
  Put("/sys/fs/cgroup/user.slice/memory.max", "65536\n");
  Put("/sys/fs/cgroup/user.slice/me.scope/memory.max", "max\n");
  EXPECT_EQ(UsableThreads(root_), 1);
  EXPECT_EQ(UsableMemory(root_), 65536u);
}

TEST_F(HostTest, LimitsOfTheFirstControlGroupVersionCountToo) {
  Put("/proc/meminfo", "MemTotal: 1024 kB\n");
  Put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  Put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  Put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n");
  EXPECT_EQ(UsableThreads(root_), 1);
  EXPECT_EQ(UsableMemory(root_), 4096u);
}

TEST_F(HostTest, NoLimitsAndNoFilesAreFine) {
  EXPECT_GE(UsableThreads(root_), 1);
  EXPECT_EQ(UsableMemory(root_), 0u);
  EXPECT_NE(CpuName(root_), "");
  Put("/proc/cpuinfo", "processor\t: 0\nmodel name\t: Abacus: 2000\n");
  EXPECT_EQ(CpuName(root_), "Abacus: 2000");
}

}  // namespace
}  // namespace potluck
