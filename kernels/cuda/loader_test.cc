#include "kernels/cuda/loader.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "kernels/cuda/gpu_runner.h"
#include "kernels/nqueens/known.h"
#include "kernels/nqueens/payload.h"
#include "kernels/workload/registry.h"

namespace potluck::cuda {
namespace {

TEST(LoaderTest, MissingFileIsOneSentence) {
  const auto devices = ListDevices("/nowhere/libpotluck_cuda.so");
  ASSERT_FALSE(devices.ok());
  EXPECT_EQ(devices.status().message(),
            "There is no GPU plug-in at /nowhere/libpotluck_cuda.so; the CPU is used instead.");
}

TEST(LoaderTest, FileThatIsNoLibraryIsOneSentence) {
  const auto devices = ListDevices(POTLUCK_KERNELS_LIBRARY);
  ASSERT_FALSE(devices.ok());
  EXPECT_NE(devices.status().message().find("cannot be loaded"), std::string::npos) << devices.status().message();
}

TEST(LoaderTest, OtherInterfaceVersionIsRefused) {
  const auto plugin = Plugin::Load(POTLUCK_OTHER_VERSION_PLUGIN);
  ASSERT_FALSE(plugin.ok());
  EXPECT_NE(plugin.status().message().find(
                "has interface version 1002; this program needs 2: take both from the same release"),
            std::string::npos)
      << plugin.status().message();
}

TEST(LoaderTest, RunnerFromMissingPluginFailsWithTheLoadersSentence) {
  const auto runner = potluck::MakeGpuRunner("nqueens", "/nowhere/p.so", 0);
  ASSERT_FALSE(runner.ok());
  EXPECT_EQ(runner.status().message(), "There is no GPU plug-in at /nowhere/p.so; the CPU is used instead.");
}

#ifdef POTLUCK_PLUGIN
constexpr char kPlugin[] = POTLUCK_PLUGIN;
#else
constexpr char kPlugin[] = "";
#endif

class PluginTest : public testing::Test {
 protected:
  void SetUp() override {
    if (*kPlugin == '\0') GTEST_SKIP() << "no GPU plug-in was built: see POTLUCK_CUDA";
  }
};

TEST_F(PluginTest, LoadsWithoutDriver) {
  const auto plugin = Plugin::Load(kPlugin);
  ASSERT_TRUE(plugin.ok()) << plugin.status().message();
  EXPECT_EQ((*plugin)->api().abi_version, POTLUCK_CUDA_ABI_VERSION);
}

TEST_F(PluginTest, SaysThatThereIsNoDriver) {
  if (void* const driver = dlopen("libcuda.so.1", RTLD_LAZY); driver != nullptr) {
    dlclose(driver);
    GTEST_SKIP() << "this machine has a driver";
  }
  const auto devices = ListDevices(kPlugin);
  ASSERT_FALSE(devices.ok());
  EXPECT_EQ(devices.status().message(),
            "There is no NVIDIA driver on this machine (libcuda.so.1 was not found); the CPU is used instead.");
  const auto runner = potluck::MakeGpuRunner("nqueens", kPlugin, 0);
  ASSERT_FALSE(runner.ok());
  EXPECT_EQ(runner.status().message(), devices.status().message());
}

TEST_F(PluginTest, GpuReachesTheCpusTotalsAndChecksum) {
  const auto devices = ListDevices(kPlugin);
  if (!devices.ok()) GTEST_SKIP() << devices.status().message();
  auto runner = potluck::MakeGpuRunner("nqueens", kPlugin, 0);
  ASSERT_TRUE(runner.ok()) << runner.status().message();
  const Status status = (*runner)->SelfTest();
  EXPECT_TRUE(status.ok()) << status.message();
}

}  // namespace
}  // namespace potluck::cuda
