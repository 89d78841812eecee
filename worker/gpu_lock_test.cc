#include "worker/gpu_lock.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"

namespace potluck {
namespace {

class GpuLockTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "potluck_gpu_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string File(const std::string& gpu) const { return absl::StrCat(folder_, "/potluck-", gpu, ".lock"); }
  std::string Text(const std::string& file) const {
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    return text.str();
  }
  // What a machine with these GPUs finds.
  static FoundDevices Found(const std::vector<std::string>& ids) {
    std::string output, note;
    for (size_t i = 0; i < ids.size(); ++i) {
      absl::StrAppend(&output, R"({"index":)", i, R"(,"name":"Tesla T4","memory_bytes":16,"uuid":")", ids[i],
                      R"(","numerics_class":"cuda/sm_75/7.5"})", "\n");
    }
    FoundDevices found;
    found.devices = ParseProbe(output, "plugin", note);
    EXPECT_EQ(note, "");
    found.cpu.name = "a CPU";
    return found;
  }
  static std::string Names(const FoundDevices& found) {
    std::string names;
    for (const DeviceSpec& device : found.devices) absl::StrAppend(&names, device.kind, " ", device.index, "; ");
    return names;
  }
  std::string InUse(int gpu) const {
    return absl::StrCat("GPU ", gpu, " (Tesla T4) is in use by another potluck worker (process ", getpid(), ").");
  }

  std::string folder_;
};

TEST_F(GpuLockTest, ASecondWorkerHearsWhoHasTheGpuUntilThatOneEnds) {
  {
    const absl::StatusOr<GpuLock> first = GpuLock::Take("GPU-1", folder_);
    ASSERT_TRUE(first.ok());
    const absl::Status second = GpuLock::Take("GPU-1", folder_).status();
    EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(second.message(), absl::StrCat("another potluck worker (process ", getpid(), ")"));
    EXPECT_TRUE(GpuLock::Take("GPU-2", folder_).ok());
  }
  EXPECT_TRUE(GpuLock::Take("GPU-1", folder_).ok());
}

TEST_F(GpuLockTest, AWorkerThatIsKilledLeavesItsGpu) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const absl::StatusOr<GpuLock> lock = GpuLock::Take("GPU-1", folder_);
    if (lock.ok() && write(ready[1], "x", 1) == 1) {
      while (true) pause();
    }
    _exit(1);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_EQ(GpuLock::Take("GPU-1", folder_).status().message(),
            absl::StrCat("another potluck worker (process ", child, ")"));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
  EXPECT_TRUE(GpuLock::Take("GPU-1", folder_).ok());
}

TEST_F(GpuLockTest, EveryUserMayTakeIt) {
  const mode_t former = umask(077);
  { ASSERT_TRUE(GpuLock::Take("GPU-1", folder_).ok()); }
  umask(former);
  struct stat status {};
  ASSERT_EQ(stat(File("GPU-1").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0666u);
}

TEST_F(GpuLockTest, LinksAndPipesAndSecondNamesAreNotUsed) {
  const std::string precious = folder_ + "/precious";
  std::ofstream(precious) << "precious";
  std::filesystem::create_symlink(precious, File("GPU-1"));
  std::filesystem::create_hard_link(precious, File("GPU-2"));
  ASSERT_EQ(mkfifo(File("GPU-3").c_str(), 0666), 0);
  std::filesystem::create_directory(File("GPU-4"));
  for (const char* gpu : {"GPU-1", "GPU-2", "GPU-3", "GPU-4"}) {
    EXPECT_TRUE(GpuLock::Take(gpu, folder_).ok()) << gpu;  // Used without a lock.
  }
  EXPECT_EQ(Text(precious), "precious");
  EXPECT_TRUE(GpuLock::Take("GPU-1", folder_ + "/none").ok());
}

TEST_F(GpuLockTest, ANameCannotLeadElsewhere) {
  EXPECT_TRUE(GpuLock::Take("../evil/../../GPU", folder_).ok());
  EXPECT_TRUE(std::filesystem::exists(File("___evil_______GPU")));
}

TEST_F(GpuLockTest, NonsenseInTheFileNamesNobody) {
  std::optional<GpuLock> first(GpuLock::Take("GPU-1", folder_).value());
  std::ofstream(File("GPU-1"), std::ios::trunc) << "1 2 \x1b[2J";
  EXPECT_EQ(GpuLock::Take("GPU-1", folder_).status().message(), "another potluck worker");
}

TEST_F(GpuLockTest, AWorkerTakesTheGpusThatAreFree) {
  FoundDevices first = Found({"GPU-a"});
  const absl::StatusOr<std::vector<GpuLock>> locks = TakeGpus("auto", first, folder_);
  ASSERT_TRUE(locks.ok());
  EXPECT_EQ(locks->size(), 1u);
  EXPECT_EQ(first.gpu_note, "");

  FoundDevices second = Found({"GPU-a", "GPU-b"});
  ASSERT_TRUE(TakeGpus("auto", second, folder_).ok());
  EXPECT_EQ(Names(second), "cuda 1; ");
  EXPECT_EQ(second.gpu_note, InUse(0));
}

TEST_F(GpuLockTest, WithoutAFreeGpuTheCpuIsUsedAndThatIsSaid) {
  FoundDevices first = Found({"GPU-a"});
  const absl::StatusOr<std::vector<GpuLock>> locks = TakeGpus("auto", first, folder_);
  FoundDevices second = Found({"GPU-a"});
  ASSERT_TRUE(TakeGpus("auto", second, folder_).ok());
  EXPECT_EQ(Names(second), "cpu 0; ");
  EXPECT_EQ(second.gpu_note, InUse(0) + " The CPU is used instead.");

  FoundDevices third = Found({"GPU-a"});
  const absl::Status status = TakeGpus("cuda", third, folder_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "device is \"cuda\", but no GPU can be used: " + InUse(0));
}

TEST_F(GpuLockTest, AGpuWithoutANameOfItsOwnGoesByItsNumber) {
  FoundDevices first = Found({"", ""});
  const absl::StatusOr<std::vector<GpuLock>> locks = TakeGpus("auto", first, folder_);
  EXPECT_EQ(locks->size(), 2u);
  EXPECT_TRUE(std::filesystem::exists(File("GPU-1")));
}

TEST_F(GpuLockTest, ACpuNeedsNoLock) {
  FoundDevices found;
  found.devices = {found.cpu};
  const absl::StatusOr<std::vector<GpuLock>> locks = TakeGpus("cpu", found, folder_);
  ASSERT_TRUE(locks.ok());
  EXPECT_TRUE(locks->empty());
  EXPECT_EQ(Names(found), "cpu 0; ");
}

}  // namespace
}  // namespace potluck
