// Where a worker is started: platforms with rules, a disk without space, a GPU plug-in that does not fit.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cli/exit_code.h"
#include "coordinator/coordinator.h"
#include "proto/join_string.h"
#include "tests/bad_input/program.h"
#include "worker/platform.h"

namespace potluck {
namespace {

using Words = std::vector<std::string>;
using Environment = std::map<std::string, std::string>;

class PlaceTest : public testing::Test {
 protected:
  PlaceTest() {
    CoordinatorOptions options;
    options.core.longest_hold = absl::Seconds(1);
    coordinator_ = Coordinator::Start(std::move(options)).value();
  }

  Words Join(Words more = {}) const {
    Words words = {"join", coordinator_->worker_join_string(), "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  nlohmann::json Workers() const {
    const Ended listed = RunPotluck({"workers", "list", "--coordinator", coordinator_->admin_join_string(), "--json"});
    return nlohmann::json::parse(listed.out)["workers"];
  }

  std::unique_ptr<Coordinator> coordinator_;
};

// ---- Rules

TEST_F(PlaceTest, WherePlatformsRestrictWorkersTheRuleIsSaidAndAConfirmationAskedFor) {
  const std::vector<std::pair<std::string, Environment>> places = {
      {"colab", {{"COLAB_RELEASE_TAG", "release-colab"}}},
      {"kaggle", {{"KAGGLE_KERNEL_RUN_TYPE", "Interactive"}, {"COLAB_RELEASE_TAG", "release-colab"}}},
      {"paperspace", {{"PAPERSPACE_FQDN", "n.example"}}},
      {"binder", {{"BINDER_LAUNCH_HOST", "https://mybinder.org/"}, {"JUPYTERHUB_USER", "jovyan"}}},
  };
  for (const auto& [name, environment] : places) {
    SCOPED_TRACE(name);
    const Platform& platform = *FindPlatform(name);
    const Words said = {platform.title, std::string(absl::StripSuffix(platform.rule, ".")), platform.source,
                        platform.dated};
    Words refusal = said;
    refusal.insert(refusal.end(), {"add --confirm-platform-rules", "one an account"});
    ExpectOneSentence(RunPotluck(Join({"--device", "cpu"}), {.environment = environment}), kExitRules, refusal);

    Program worker(Join({"--device", "cpu", "--confirm-platform-rules"}), {.environment = environment});
    ASSERT_TRUE(worker.WaitForError("joined the table")) << worker.err();
    for (const std::string& part : said) EXPECT_NE(worker.err().find(part), std::string::npos) << worker.err();
    EXPECT_NE(worker.err().find("one worker an account is meant"), std::string::npos) << worker.err();
    worker.Signal(SIGTERM);
    EXPECT_EQ(worker.Wait().code, kExitOk);
  }
}

TEST_F(PlaceTest, ANotebookServerOfSomebodysIsWelcomeToAskWithoutAConfirmation) {
  Program worker(Join({"--device", "cpu"}), {.environment = {{"JUPYTERHUB_USER", "me"}}});
  ASSERT_TRUE(worker.WaitForError("joined the table")) << worker.err();
  EXPECT_NE(worker.err().find("ask whoever runs it"), std::string::npos) << worker.err();
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait().code, kExitOk);
}

TEST_F(PlaceTest, ACommandsOwnWorkersAreNotRestricted) {
  const Ended counted =
      RunPotluck({"nqueens", "12", "--local-workers", "2", "--json"}, {.environment = {{"COLAB_GPU", "1"}}});
  ExpectOneJsonObject(counted);
  EXPECT_EQ(nlohmann::json::parse(counted.out)["solutions"], "14200");
}

TEST_F(PlaceTest, AWorkerThatMayNotStayDoesNotSendAwayTheOneThatRuns) {
  const TemporaryDirectory home;
  Program older(Join({"--device", "cpu", "--single"}), {.environment = {{"HOME", home.path()}}});
  ASSERT_TRUE(older.WaitForError("joined the table")) << older.err();
  const Ended refused =
      RunPotluck(Join({"--device", "cpu", "--single"}), {.environment = {{"HOME", home.path()}, {"COLAB_GPU", "1"}}});
  ExpectOneSentence(refused, kExitRules, {"Google Colab"});
  EXPECT_EQ(Workers().size(), 1u);
  older.Signal(SIGTERM);
  EXPECT_EQ(older.Wait().code, kExitOk);
  EXPECT_EQ(older.err().find("asked to leave"), std::string::npos);
}

// ---- The session's end

TEST_F(PlaceTest, TheCoordinatorHearsWhereAWorkerRunsAndWhenItLeaves) {
  Program worker(Join({"--device", "cpu", "--confirm-platform-rules", "--ends-in", "2h", "--name", "guest"}),
                 {.environment = {{"COLAB_GPU", "1"}}});
  ASSERT_TRUE(worker.WaitForError("joined the table")) << worker.err();
  const nlohmann::json guest = Workers().at(0);
  EXPECT_EQ(guest["place"], "colab");
  EXPECT_GT(guest["seconds_left"], 7000);
  EXPECT_LE(guest["seconds_left"], 7140);  // It leaves a minute before the end.
  // What it was told counts, not the platform's limit.
  EXPECT_EQ(worker.err().find("is expected to end"), std::string::npos) << worker.err();
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait().code, kExitOk);
}

TEST_F(PlaceTest, AWorkerLeavesBeforeItsSessionEnds) {
  const Ended left = RunPotluck(Join({"--device", "cpu", "--ends-in", "3s"}));
  EXPECT_EQ(left.code, kExitOk) << left.err;
  EXPECT_NE(left.err.find("leaving (this session is about to end)"), std::string::npos) << left.err;
}

// ---- The disk

TEST_F(PlaceTest, AWorkerWithoutDiskSpaceCountsAndSaysWhatItCannotDo) {
  const TemporaryDirectory cache;
  Program worker(Join({"--device", "cpu", "--single", "--cache", cache / "blobs"}), {.full_disk = true});
  ASSERT_TRUE(worker.WaitForError("joined the table")) << worker.err();
  EXPECT_NE(worker.err().find("cannot take this one's place"), std::string::npos) << worker.err();
  const Ended counted = RunPotluck({"nqueens", "10", "--coordinator", coordinator_->admin_join_string(), "--json"});
  ExpectOneJsonObject(counted);
  EXPECT_EQ(nlohmann::json::parse(counted.out)["solutions"], "724");
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait().code, kExitOk) << worker.err();
}

TEST_F(PlaceTest, ACacheThatCannotBeMadeIsSaidWithAWayOut) {
  const TemporaryDirectory directory;
  WriteWholeFile(directory / "file", "");
  Program worker(Join({"--device", "cpu", "--cache", directory / "file/below"}));
  EXPECT_TRUE(worker.WaitForError("jobs with large data cannot be worked on: No folder can be made in "))
      << worker.err();
  EXPECT_TRUE(worker.WaitForError("choose another by --cache")) << worker.err();
  EXPECT_TRUE(worker.WaitForError("joined the table")) << worker.err();
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait().code, kExitOk);
}

TEST_F(PlaceTest, DataThatDoNotFitOnTheDiskAreSaid) {
  const TemporaryDirectory directory;
  ASSERT_EQ(RunPotluck({"data", "synth", directory / "data", "--samples", "200", "--test", "50"}).code, kExitOk);
  Program worker(Join({"--device", "cpu", "--cache", directory / "cache"}), {.full_disk = true});
  ASSERT_TRUE(worker.WaitForError("joined the table")) << worker.err();
  Program training({"train", "mnist-cnn", "--data", directory / "data", "--epochs", "1", "--out", directory / "run",
                    "--coordinator", coordinator_->admin_join_string()});
  EXPECT_TRUE(worker.WaitForError("choose another folder by --cache", absl::Minutes(2)))
      << worker.err() << training.err();
  training.Signal(SIGINT);
  training.Wait();
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait().code, kExitOk) << worker.err();
}

// ---- The GPU plug-in

// The binary in a folder of its own, with something else where its GPU plug-in should be.
std::string WithPlugin(const TemporaryDirectory& folder, const std::string& plugin) {
  std::filesystem::copy_file(Program::Path(), folder / "potluck");
  if (!plugin.empty()) WriteWholeFile(folder / "libpotluck_cuda.so", plugin);
  return folder / "potluck";
}

TEST_F(PlaceTest, AGpuPluginThatDoesNotLoadCostsTheGpuOnlyAndIsSaid) {
  for (const std::string& plugin : {std::string("this is no library"), std::string()}) {
    const TemporaryDirectory folder;
    const std::string program = WithPlugin(folder, plugin);
    const std::string expected = std::filesystem::canonical(folder.path()) / "libpotluck_cuda.so";
    ExpectOneSentence(RunPotluck(Join({"--device", "cuda"}), {.program = program}), kExitFailed,
                      {"device is \"cuda\", but no GPU can be used", expected});
    Program worker(Join({"--device", "auto"}), {.program = program});
    EXPECT_TRUE(worker.WaitForError(expected)) << worker.err();
    EXPECT_TRUE(worker.WaitForError("the CPU is used instead")) << worker.err();
    EXPECT_TRUE(worker.WaitForError("joined the table")) << worker.err();
    worker.Signal(SIGTERM);
    EXPECT_EQ(worker.Wait().code, kExitOk) << worker.err();
  }
}

}  // namespace
}  // namespace potluck
