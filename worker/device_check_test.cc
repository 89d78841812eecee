// A device as a diagnosis tries it, and the driver as it is asked without a plug-in.
#include "worker/device_check.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "worker/cache_directory.h"
#include "worker/driver_probe.h"

namespace potluck {
namespace {

DeviceSpec Cpu(const std::string& dispatch) {
  DeviceSpec cpu;
  cpu.threads = 1;
  cpu.dispatch = dispatch;
  return cpu;
}

DeviceCheckOptions Quick() {
  DeviceCheckOptions options;
  options.program = POTLUCK_EXECUTOR_TEST_CHILD;
  options.about = absl::ZeroDuration();  // The smallest board only.
  return options;
}

TEST(DeviceCheckTest, ACpuCountsRightlyAndHasARate) {
  const absl::StatusOr<DeviceRate> rate = CheckDevice(Cpu("auto"), Quick());
  ASSERT_TRUE(rate.ok()) << rate.status();
  EXPECT_EQ(rate->n, 12);
  EXPECT_GT(rate->seconds, 0);
  EXPECT_GT(rate->nodes_per_second, rate->solutions_per_second);
  EXPECT_GT(rate->solutions_per_second, 0);
  EXPECT_GT(rate->self_test, absl::ZeroDuration());
  EXPECT_NE(rate->backend_class, "");
}

TEST(DeviceCheckTest, AFailedSelfTestIsToldInItsOwnWords) {
  const absl::StatusOr<DeviceRate> rate = CheckDevice(Cpu("sick"), Quick());
  EXPECT_EQ(rate.status(), absl::InternalError("2 + 2 is 5 on this device."));
}

TEST(DeviceCheckTest, AChildThatDiesIsAborted) {
  EXPECT_EQ(CheckDevice(Cpu("exit"), Quick()).status().code(), absl::StatusCode::kAborted);
}

TEST(DriverProbeTest, WithoutADriverThatIsSaid) {
  const std::vector<nlohmann::json> lines = DescribeDriver("libno-such-driver.so.1");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["error"], "There is no NVIDIA driver (libno-such-driver.so.1 was not found).");
}

TEST(DriverProbeTest, TheDriverTellsOfItsGpus) {
  setenv("FAKE_COMPUTE", "8.6", 1);
  const std::vector<nlohmann::json> lines = DescribeDriver(POTLUCK_FAKE_DRIVER);
  unsetenv("FAKE_COMPUTE");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], (nlohmann::json{{"has_driver", 1}, {"cuda_version", 12080}}));
  EXPECT_EQ(
      lines[1],
      (nlohmann::json{{"index", 0}, {"name", "Fake GPU"}, {"memory_bytes", uint64_t{16} << 30}, {"compute", "8.6"}}));
}

TEST(DriverProbeTest, ADriverWithoutGpusSaysSo) {
  setenv("FAKE_GPUS", "0", 1);
  const std::vector<nlohmann::json> lines = DescribeDriver(POTLUCK_FAKE_DRIVER);
  unsetenv("FAKE_GPUS");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1]["error"], "The NVIDIA driver finds no GPU.");
}

TEST(PluginPathTest, TheNewerOfBesideAndBuiltIsTaken) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(testing::TempDir()) / "plugin-path-test";
  fs::remove_all(folder);
  fs::create_directories(folder / "bin");
  const char* const before = std::getenv("XDG_CACHE_HOME");
  const std::string kept = before == nullptr ? "" : before;
  setenv("XDG_CACHE_HOME", folder.c_str(), 1);
  const std::string program = (fs::canonical(folder) / "bin/potluck").string();
  std::ofstream(program) << "x";
  const std::string beside = (fs::canonical(folder) / "bin/libpotluck_cuda.so").string();
  EXPECT_EQ(GpuPluginPath(program), beside);  // Neither is there.
  const std::string built = BuiltPluginDirectory() + "/libpotluck_cuda.so";
  fs::create_directories(BuiltPluginDirectory());
  std::ofstream(built) << "x";
  EXPECT_EQ(GpuPluginPath(program), built);
  std::ofstream(beside) << "x";
  const auto now = fs::file_time_type::clock::now();
  fs::last_write_time(built, now);
  fs::last_write_time(beside, now - std::chrono::hours(1));
  EXPECT_EQ(GpuPluginPath(program), built);
  fs::last_write_time(beside, now + std::chrono::hours(1));
  EXPECT_EQ(GpuPluginPath(program), beside);
  if (before == nullptr) {
    unsetenv("XDG_CACHE_HOME");
  } else {
    setenv("XDG_CACHE_HOME", kept.c_str(), 1);
  }
  fs::remove_all(folder);
}

}  // namespace
}  // namespace potluck
