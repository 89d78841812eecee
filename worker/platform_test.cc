#include "worker/platform.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace potluck {
namespace {

// A machine that shows nothing but what a test gives it: its files are below root_, the environment's markers are gone
// and come back at the end.
class PlatformTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "potluck_platform_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    root_ = folder;
    for (const Platform& platform : KnownPlatforms()) {
      for (const std::string& variable : platform.variables) {
        if (const char* value = std::getenv(variable.c_str()); value != nullptr) former_.emplace_back(variable, value);
        unsetenv(variable.c_str());
      }
    }
  }
  void TearDown() override {
    for (const auto& [variable, value] : former_) setenv(variable.c_str(), value.c_str(), 1);
    std::filesystem::remove_all(root_);
  }

  std::string Here() const { return ThisPlatform(root_).name; }
  void Put(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  std::string root_;
  std::vector<std::pair<std::string, std::string>> former_;
};

TEST_F(PlatformTest, AMachineWithoutMarkersIsOnesOwn) {
  EXPECT_EQ(Here(), "machine");
  EXPECT_FALSE(ThisPlatform(root_).restricts);
}

TEST_F(PlatformTest, EachMarkerAloneIsEnough) {
  for (const Platform& platform : KnownPlatforms()) {
    for (const std::string& variable : platform.variables) {
      setenv(variable.c_str(), "", 1);  // Set to whatever.
      EXPECT_EQ(Here(), platform.name) << variable;
      unsetenv(variable.c_str());
    }
    for (const std::string& folder : platform.folders) {
      std::filesystem::create_directories(root_ + folder);
      EXPECT_EQ(Here(), platform.name) << folder;
      std::filesystem::remove_all(root_ + "/" + folder.substr(1, folder.find('/', 1) - 1));
    }
  }
  EXPECT_EQ(Here(), "machine");
}

TEST_F(PlatformTest, TheMoreParticularPlatformWins) {
  // Kaggle's image is built from Colab's, and all of them run Jupyter.
  setenv("JPY_PARENT_PID", "1", 1);
  EXPECT_EQ(Here(), "jupyter");
  setenv("COLAB_RELEASE_TAG", "release-colab", 1);
  EXPECT_EQ(Here(), "colab");
  setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive", 1);
  EXPECT_EQ(Here(), "kaggle");
  for (const char* variable : {"JPY_PARENT_PID", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"}) unsetenv(variable);
  // A Binder is a JupyterHub.
  setenv("JUPYTERHUB_USER", "jovyan", 1);
  setenv("BINDER_LAUNCH_HOST", "https://mybinder.org/", 1);
  EXPECT_EQ(Here(), "binder");
  for (const char* variable : {"JUPYTERHUB_USER", "BINDER_LAUNCH_HOST"}) unsetenv(variable);
}

TEST_F(PlatformTest, WhoeverSteersAPlatformFromElsewhereIsNotOnIt) {
  setenv("PAPERSPACE_API_KEY", "secret", 1);
  setenv("KAGGLE_KEY", "secret", 1);
  EXPECT_EQ(Here(), "machine");
  unsetenv("PAPERSPACE_API_KEY");
  unsetenv("KAGGLE_KEY");
}

TEST_F(PlatformTest, EveryFactHasItsSourceAndDate) {
  std::set<std::string> names;
  for (const Platform& platform : KnownPlatforms()) {
    SCOPED_TRACE(platform.name);
    EXPECT_TRUE(names.insert(platform.name).second);
    // As a worker may tell its coordinator.
    EXPECT_TRUE(!platform.name.empty() && platform.name.size() <= 32 &&
                std::all_of(platform.name.begin(), platform.name.end(), absl::ascii_islower));
    EXPECT_FALSE(platform.title.empty());
    const bool has_limit = platform.gpu_session != absl::InfiniteDuration() ||
                           platform.cpu_session != absl::InfiniteDuration();
    if (has_limit) EXPECT_FALSE(platform.limits.empty());
    if (platform.limits.empty() && !platform.restricts) continue;
    EXPECT_FALSE(platform.rule.empty());
    EXPECT_TRUE(absl::StartsWith(platform.source, "https://"));
    EXPECT_FALSE(platform.dated.empty());
  }
  // One sentence each: what is shown of it is shown in one.
  for (const Platform& platform : KnownPlatforms()) {
    for (const std::string& sentence : {platform.rule, platform.limits}) {
      EXPECT_EQ(sentence.find(". "), std::string::npos) << sentence;
      EXPECT_TRUE(sentence.empty() || sentence.back() == '.') << sentence;
    }
  }
  EXPECT_EQ(FindPlatform("colab")->title, "Google Colab");
  EXPECT_EQ(FindPlatform("nowhere"), nullptr);
  EXPECT_EQ(KnownPlatforms().back().name, "machine");
}

TEST_F(PlatformTest, TheHostedOnesThatRestrictWorkersAskForAConfirmation) {
  for (const char* name : {"colab", "kaggle", "paperspace", "studiolab", "binder"}) {
    EXPECT_TRUE(FindPlatform(name)->restricts) << name;
  }
  EXPECT_TRUE(absl::StrContains(FindPlatform("colab")->rule, "\"running distributed computing workers\""));
  EXPECT_FALSE(FindPlatform("jupyter")->restricts);
}

TEST_F(PlatformTest, ASessionIsAsOldAsItsFirstProcess) {
  EXPECT_EQ(SessionAge(root_), absl::ZeroDuration());  // Not known.
  Put("/proc/uptime", "5000.50 9000.00\n");
  Put("/proc/1/stat", "1 (tini) of mine) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 140050 99 100\n");
  EXPECT_EQ(SessionAge(root_), absl::Seconds(3600));
  Put("/proc/1/stat", "1 (sh) S 0\n");
  EXPECT_EQ(SessionAge(root_), absl::ZeroDuration());
  EXPECT_GE(SessionAge(), absl::ZeroDuration());
}

TEST_F(PlatformTest, WhatIsLeftDependsOnTheGpu) {
  const Platform& lab = *FindPlatform("studiolab");
  EXPECT_EQ(SessionLeft(lab, /*has_gpu=*/true, absl::Hours(1)), absl::Hours(3));
  EXPECT_EQ(SessionLeft(lab, /*has_gpu=*/false, absl::Hours(1)), absl::Hours(11));
  EXPECT_EQ(SessionLeft(lab, true, absl::Hours(5)), absl::ZeroDuration());
  EXPECT_EQ(SessionLeft(*FindPlatform("machine"), true, absl::Hours(5)), absl::InfiniteDuration());
  EXPECT_FALSE(HasNvidiaDevice(root_));
  Put("/dev/nvidiactl", "");
  EXPECT_TRUE(HasNvidiaDevice(root_));
}

TEST_F(PlatformTest, AKnownEndIsSaid) {
  const Platform& colab = *FindPlatform("colab");
  ExpectedEnd end = KnownEnd(colab, true, absl::Minutes(20));
  EXPECT_EQ(end.in, absl::Hours(12) - absl::Minutes(20));
  EXPECT_EQ(end.sentence,
            "this session is expected to end in 11 h 40 min: Google Colab gives 12 h with a GPU and it is 20 min old; "
            "--ends-in says otherwise");
  end = KnownEnd(colab, false, absl::Hours(11) + absl::Seconds(90));
  EXPECT_EQ(end.sentence,
            "this session is expected to end in 58 min: Google Colab gives 12 h and it is 11 h 1 min old; --ends-in "
            "says otherwise");
  end = KnownEnd(*FindPlatform("machine"), true, absl::Hours(1000));
  EXPECT_EQ(end.in, absl::InfiniteDuration());
  EXPECT_EQ(end.sentence, "");
}

TEST_F(PlatformTest, ASessionThatHasOutlivedItsLimitHasNoKnownEnd) {
  const ExpectedEnd end = KnownEnd(*FindPlatform("colab"), true, absl::Hours(13));
  EXPECT_EQ(end.in, absl::InfiniteDuration());
  EXPECT_EQ(end.sentence,
            "this session has outlived the 12 h that Google Colab is known to give, so its end is not known; --ends-in "
            "says when it comes");
}

}  // namespace
}  // namespace potluck
