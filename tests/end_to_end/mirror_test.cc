// Trainings whose states are mirrored, and what happens when the machine is lost, or the mirror, or a part of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "cli/mirror_folder.h"
#include "tests/end_to_end/process.h"
#include "tests/end_to_end/table.h"
#include "tests/end_to_end/training.h"

namespace potluck::end_to_end {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;
using Environment = std::map<std::string, std::string>;

// On this machine alone, its states saved often.
class Mirrored : public Training {
 public:
  std::string Mirror() const { return directory() + "/drive/mirror"; }

  Process& TrainHere(const std::string& out, const std::vector<std::string>& more,
                     const Environment& environment = {}) {
    return Run(std::vector<std::string>{"train", directory() + "/small.txt", "--data", Data(), "--out", Out(out),
                                        "--batch", "256", "--local-workers", "2", "--threads", "1", "--json"} +
                   WithDefaults(more),
               environment);
  }

  static std::vector<std::string> WithDefaults(std::vector<std::string> flags) {
    for (const auto& [flag, value] : {std::pair("--epochs", "40"), std::pair("--save-seconds", "0.3")}) {
      if (std::find(flags.begin(), flags.end(), flag) == flags.end()) flags.insert(flags.end(), {flag, value});
    }
    return flags;
  }

  // From the mirror, in a folder that is new.
  Process& ResumeHere(const std::string& out, const std::vector<std::string>& more = {}) {
    return Run(std::vector<std::string>{"train", "--resume", Mirror(), "--data", Data(), "--out", Out(out),
                                        "--local-workers", "1", "--threads", "1", "--json"} +
               more);
  }

  std::vector<MirroredState> States() const { return MirrorFolder::Existing(Mirror()).States(); }

  // Waits until so many states have been mirrored since the beginning.
  bool WaitForStates(Process& process, uint64_t count) {
    WaitUntil(absl::StrCat(count, " states are mirrored"), [&] {
      const std::vector<MirroredState> states = States();
      return process.has_ended() || (!states.empty() && states.front().number >= count);
    });
    EXPECT_FALSE(process.has_ended()) << "it ended before the faults came: " << process.errors();
    return !process.has_ended();
  }

  // The machine is gone, and all that was on it.
  void Lose(Process& process, const std::string& out) {
    process.Kill();
    fs::remove_all(Out(out));
  }
};

void Damage(const std::string& path) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(fs::file_size(path) / 2));
  file << "damaged";
}

std::string StateFile(const Mirrored& table, uint64_t number, const char* suffix) {
  return absl::StrCat(table.Mirror(), "/state-", std::string(6 - absl::StrCat(number).size(), '0'), number, suffix);
}

TEST(MirrorTest, AfterTheMachineIsLostTheRunGoesOnElsewhereToTheSameBits) {
  Mirrored table;
  const std::string expected = table.Model(table.TrainHere("calm", {}), "calm");
  Process* process = &table.TrainHere("lost", {"--mirror", table.Mirror()});
  ASSERT_TRUE(table.WaitForStates(*process, 2));
  table.Lose(*process, "lost");
  ASSERT_LE(table.States().size(), 2u);
  // Once more on the way.
  process = &table.ResumeHere("lost again", {"--save-seconds", "0.3"});
  const uint64_t newest = table.States().front().number;
  ASSERT_TRUE(table.WaitForStates(*process, newest + 1));
  table.Lose(*process, "lost again");
  Process& resumed = table.ResumeHere("resumed");
  EXPECT_EQ(table.Model(resumed, "resumed"), expected);
  EXPECT_THAT(resumed.errors(), HasSubstr("going on from step"));
  // What the end left is there too.
  for (const char* file : {"model.safetensors", "model.onnx", "metrics.jsonl", "metrics.csv", "run.json"}) {
    EXPECT_EQ(ReadAll(absl::StrCat(table.Mirror(), "/", file)), ReadAll(table.Out("resumed") + "/" + file)) << file;
  }
  const auto json = nlohmann::json::parse(resumed.output(), nullptr, false);
  ASSERT_TRUE(json.is_object()) << resumed.output();
  EXPECT_EQ(json["mirror"], table.Mirror());
  EXPECT_EQ(json["mirror_lacks"], "");
  EXPECT_EQ(json["history"].size(), 40u);
  // A run that is done goes on for longer from there, as one that was meant to from the beginning.
  EXPECT_EQ(table.Model(table.ResumeHere("longer", {"--epochs", "42"}), "longer"),
            table.Model(table.TrainHere("whole", {"--epochs", "42"}), "whole"));
}

TEST(MirrorTest, LocalStepsGoOnToTheSameBitsToo) {
  Mirrored table;
  const std::vector<std::string> local = {"--local-steps", "4",    "--replicas", "4",   "--batch", "32",
                                          "--lr",          "0.05", "--compress", "int4"};
  const std::string expected = table.Model(table.TrainHere("calm", local), "calm");
  Process& process = table.TrainHere("lost", local + std::vector<std::string>{"--mirror", table.Mirror()});
  ASSERT_TRUE(table.WaitForStates(process, 1));
  table.Lose(process, "lost");
  EXPECT_EQ(table.Model(table.ResumeHere("resumed"), "resumed"), expected);
}

TEST(MirrorTest, DamagedStatesGiveWayToOlderOnes) {
  Mirrored table;
  const std::string expected = table.Model(table.TrainHere("calm", {}), "calm");
  Process& process = table.TrainHere("lost", {"--mirror", table.Mirror()});
  ASSERT_TRUE(table.WaitForStates(process, 3));
  table.Lose(process, "lost");
  const std::vector<MirroredState> states = table.States();
  ASSERT_EQ(states.size(), 2u);
  const auto bytes_before = ReadAll(StateFile(table, states[0].number, ".bin"));
  Damage(StateFile(table, states[0].number, ".bin"));
  // And a newer one of which half was written.
  std::ofstream(StateFile(table, states[0].number + 1, ".json")) << "{\"mirror\": 1, \"rou";
  Process& resumed = table.ResumeHere("resumed", {"--mirror", table.Out("another mirror")});
  EXPECT_EQ(table.Model(resumed, "resumed"), expected);
  EXPECT_THAT(resumed.errors(), HasSubstr("is damaged"));
  // Cut short.
  fs::resize_file(StateFile(table, states[0].number, ".bin"), bytes_before.size() / 2);
  fs::remove(StateFile(table, states[1].number, ".bin"));
  Process& none = table.ResumeHere("none");
  EXPECT_EQ(none.WaitForExit(kPatience), (Exit{.code = 2}));
  EXPECT_THAT(none.errors(), HasSubstr("holds no state that can be read"));
}

TEST(MirrorTest, AServersJobIsMirroredAndGoesOnAtAnotherServer) {
  Mirrored table;
  table.SetServeFlags({"--save-every", "1s"});
  ASSERT_TRUE(table.Serve());
  table.Join("worker");
  const std::vector<std::string> flags = {"--epochs", "40"};
  const std::string expected = table.Model(table.Train("calm", 1, flags), "calm");
  Process& client = table.Train("lost", 2, flags + std::vector<std::string>{"--mirror", table.Mirror()});
  ASSERT_TRUE(table.WaitForStates(client, 1));
  client.Kill();
  table.coordinator().Kill();
  fs::remove_all(table.directory() + "/state");
  fs::remove_all(table.Out("lost"));
  Table other;
  ASSERT_TRUE(other.Serve());
  other.Join("another");
  Process& resumed = table.Run({"train", "--resume", table.Mirror(), "--data", table.Data(), "--out",
                                table.Out("resumed"), "--coordinator", other.directory() + "/state/admin.join"});
  EXPECT_EQ(table.Model(resumed, "resumed"), expected);
  EXPECT_EQ(ReadAll(table.Mirror() + "/model.safetensors"), ReadAll(table.Out("resumed") + "/model.safetensors"));
}

TEST(MirrorTest, AnInterruptedRunLeavesItsLastStateInTheMirror) {
  Mirrored table;
  const std::string expected = table.Model(table.TrainHere("calm", {}), "calm");
  // The first state by itself would come after an hour.
  Process& interrupted = table.TrainHere("parts", {"--mirror", table.Mirror(), "--save-seconds", "3600"});
  ASSERT_TRUE(interrupted.WaitForLine("step", kPatience));
  ASSERT_TRUE(interrupted.Signal(SIGINT));
  EXPECT_EQ(interrupted.WaitForExit(kPatience), (Exit{.code = 130})) << interrupted.errors();
  ASSERT_EQ(table.States().size(), 1u);
  EXPECT_EQ(table.Model(table.ResumeHere("resumed"), "resumed"), expected);
}

TEST(MirrorTest, AMirrorThatVanishesIsSaidOnceAndTrainingGoesOn) {
  Mirrored table;
  const std::string expected = table.Model(table.TrainHere("calm", {}), "calm");
  Process& process = table.TrainHere("gone", {"--mirror", table.Mirror()});
  ASSERT_TRUE(table.WaitForStates(process, 1));
  fs::rename(table.Mirror(), table.Mirror() + "-elsewhere");
  ASSERT_TRUE(process.WaitForLine("is not there any more", kPatience)) << process.errors();
  EXPECT_EQ(table.Model(process, "gone"), expected);
  const std::string errors = process.errors();
  const size_t first = errors.find("lacks the last state");
  EXPECT_EQ(first, errors.rfind("lacks the last state")) << errors;
  EXPECT_THAT(errors, HasSubstr("is not complete"));
  EXPECT_FALSE(fs::exists(table.Mirror())) << "it was made anew where nothing is mounted any more";
}

// ---- File systems that promise little

Environment Restricted(const std::string& folder, const std::string& full = "") {
  return {{"LD_PRELOAD", POTLUCK_RESTRICTED_LIBRARY}, {"POTLUCK_RESTRICTED", folder}, {"POTLUCK_FULL", full}};
}

TEST(MirrorTest, ItNeedsNoRenamingNorSyncingAndAFullOneIsWrittenAgainOnceThereIsRoom) {
  Mirrored table;
  const std::string expected = table.Model(table.TrainHere("calm", {"--epochs", "120"}), "calm");
  const std::string full = table.directory() + "/full";
  Process& process = table.TrainHere("restricted", {"--mirror", table.Mirror(), "--epochs", "120"},
                                     Restricted(table.directory() + "/drive", full));
  ASSERT_TRUE(table.WaitForStates(process, 1));
  std::ofstream(full) << "so it is";
  ASSERT_TRUE(process.WaitForLine("No space left on device", kPatience)) << process.errors();
  EXPECT_GE(table.States().size(), 1u) << "the newest state went to make room";
  fs::remove(full);
  ASSERT_TRUE(process.WaitForLine("is written again", kPatience)) << process.errors();
  table.Lose(process, "restricted");
  EXPECT_EQ(table.Model(table.ResumeHere("resumed"), "resumed"), expected);
}

TEST(MirrorTest, AWorkersCacheMayBeThereToo) {
  Training table;
  ASSERT_TRUE(table.Serve());
  Process& usual = table.Join("usual");
  const std::string expected = table.Model(table.Train("calm", 1), "calm");
  ASSERT_TRUE(usual.Signal(SIGTERM));
  EXPECT_EQ(usual.WaitForExit(kPatience), Exit{});
  const std::string cache = table.directory() + "/drive/cache";
  const auto join = [&](const std::string& name) -> Process& {
    return table.Run({"join", table.directory() + "/state/worker.join", "--name", name, "--device", "cpu", "--threads",
                      "1", "--dispatch", "scalar", "--slice-seconds", "0.1", "--cache", cache},
                     Restricted(table.directory() + "/drive"));
  };
  Process& restricted = join("restricted");
  ASSERT_TRUE(restricted.WaitForLine("is on a network or FUSE file system", kPatience)) << restricted.errors();
  EXPECT_EQ(table.Model(table.Train("restricted", 2), "restricted"), expected);
  ASSERT_TRUE(restricted.Signal(SIGTERM));
  EXPECT_EQ(restricted.WaitForExit(kPatience), Exit{});
  // The data are there for the next one, and nothing else.
  size_t blobs = 0;
  for (const auto& entry : fs::directory_iterator(cache + "/blobs")) {
    EXPECT_EQ(entry.path().filename().string().find(".part"), std::string::npos) << entry.path();
    ++blobs;
  }
  EXPECT_GT(blobs, 0u);
  const auto before = fs::last_write_time(cache + "/blobs");
  Process& next = join("next");
  EXPECT_EQ(table.Model(table.Train("next", 3), "next"), expected);
  EXPECT_EQ(fs::last_write_time(cache + "/blobs"), before) << "something was fetched again";
  EXPECT_THAT(next.errors(), Not(HasSubstr("cannot be")));
}

}  // namespace
}  // namespace potluck::end_to_end
