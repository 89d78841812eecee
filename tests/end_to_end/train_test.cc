// Training over real processes and TLS: the model has the same bits whoever did the work, and whatever was killed.
//
// A small network and digits that were drawn, so that a test takes seconds. Faults follow the job's progress.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "kernels/cnn/payload.h"
#include "tests/end_to_end/forwarder.h"
#include "tests/end_to_end/process.h"
#include "tests/end_to_end/table.h"
#include "tests/end_to_end/training.h"

namespace potluck::end_to_end {
namespace {

using testing::HasSubstr;

constexpr int kShortLease = 2;

const std::vector<std::string> kLocal = {"--local-steps", "4", "--replicas", "4",   "--batch", "32",
                                         "--seed",        "3", "--lr",       "0.05"};

TEST(TrainTest, TheModelIsTheSameWithOneTwoAndFiveWorkers) {
  Training table;
  ASSERT_TRUE(table.Serve(kShortLease));
  table.Join("first");
  const std::string one = table.Model(table.Train("one", 1), "one");
  const std::string one_local =
      table.Model(table.Train("one-local", 2, kLocal + std::vector<std::string>{"--compress", "int4"}), "one-local");
  EXPECT_NE(one, one_local);
  table.Join("second");
  EXPECT_EQ(table.Model(table.Train("two", 3), "two"), one);
  for (const char* name : {"third", "fourth", "fifth"}) table.Join(name);
  EXPECT_EQ(table.Model(table.Train("five", 4), "five"), one);
  EXPECT_EQ(
      table.Model(table.Train("five-local", 5, kLocal + std::vector<std::string>{"--compress", "int4"}), "five-local"),
      one_local);
  // And it has learned something.
  const auto json = nlohmann::json::parse(ReadAll(table.Out("five") + "/run.json"), nullptr, false);
  ASSERT_TRUE(json.is_object());
  EXPECT_GT(json["result"]["test_accuracy"].get<double>(), 0.8);
  EXPECT_EQ(json["result"]["history"].size(), 2u);
}

TEST(TrainTest, TheModelIsTheSameWhileWorkersAreKilled) {
  Training table;
  ASSERT_TRUE(table.Serve(kShortLease));
  table.Join("steady");
  const std::string expected = table.Model(table.Train("calm", 1, {"--epochs", "4"}), "calm");
  Process* victim = &table.Join("victim 0");
  Process& client = table.Train("faults", 2, {"--epochs", "4"});
  for (int kill = 1; kill <= 3; ++kill) {
    ASSERT_TRUE(table.WaitForStep(2, static_cast<uint64_t>(8 * kill)));
    ASSERT_TRUE(victim->Signal(SIGKILL));
    ASSERT_EQ(victim->WaitForExit(kPatience), (Exit{.signal = SIGKILL}));
    victim = &table.Join(absl::StrCat("victim ", kill));
  }
  EXPECT_EQ(table.Model(client, "faults"), expected);
}

TEST(TrainTest, TheModelIsTheSameWhileTheCoordinatorIsKilled) {
  Training table;
  table.SetServeFlags({"--save-every", "1s"});
  ASSERT_TRUE(table.Serve());
  table.Join("first");
  table.Join("second");
  for (const auto& [name, flags] :
       {std::pair<std::string, std::vector<std::string>>{"sync", {"--epochs", "6"}},
        {"local", kLocal + std::vector<std::string>{"--epochs", "8", "--compress", "ternary"}}}) {
    const uint64_t job = name == "sync" ? 1 : 3;
    const std::string expected = table.Model(table.Train(name, job, flags), name);
    Process& client = table.Train(name + "-killed", job + 1, flags);
    for (int kill = 1; kill <= 3; ++kill) {
      ASSERT_TRUE(table.WaitForStep(job + 1, static_cast<uint64_t>(12 * kill)));
      table.coordinator().Kill();
      ASSERT_TRUE(table.Serve());
    }
    EXPECT_EQ(table.Model(client, name + "-killed"), expected) << name;
  }
}

TEST(TrainTest, ADiskThatFillsWhileAStateIsSavedLeavesTheOldOneWhole) {
  Training table;
  table.SetServeFlags({"--save-every", "1s"});
  const auto before = signal(SIGXFSZ, SIG_IGN);  // Inherited: beyond the limit below, writing fails as on a full disk.
  ASSERT_TRUE(table.Serve());
  signal(SIGXFSZ, before);
  table.Join("worker");
  const std::vector<std::string> flags = {"--epochs", "30"};
  const std::string expected = table.Model(table.Train("calm", 1, flags), "calm");
  Process& client = table.Train("full", 2, flags);
  ASSERT_TRUE(WaitUntil("a state is saved", [&] {
    const absl::StatusOr<v1::JobStatus> status = table.Job(2);
    return client.has_ended() || (status.ok() && !status->saved_state().empty());
  }));
  const rlimit full{1 << 19, RLIM_INFINITY};  // The first piece of a state that takes 1.3 MB has a MiB.
  ASSERT_EQ(prlimit(table.coordinator().pid(), RLIMIT_FSIZE, &full, nullptr), 0);
  ASSERT_TRUE(table.coordinator().WaitForLine("could not be saved", kPatience)) << "the job ended before";
  const std::string saved = table.Job(2).value_or(v1::JobStatus()).saved_state();
  EXPECT_NE(saved, "");
  table.coordinator().Kill();
  ASSERT_TRUE(table.Serve());
  EXPECT_EQ(table.coordinator().errors().find("cannot be used"), std::string::npos);
  EXPECT_EQ(table.Model(client, "full"), expected);
}

TEST(TrainTest, EveryCompressionGivesTheSameModelWhoeverWorks) {
  Training table;
  ASSERT_TRUE(table.Serve(kShortLease));
  table.Join("first");
  uint64_t job = 0;
  std::map<std::string, std::string> models;
  const std::vector<std::string> compressions = {"none", "fp16", "int8", "int4", "ternary"};
  for (const std::string& compression : compressions) {
    models[compression] = table.Model(
        table.Train(compression, ++job, kLocal + std::vector<std::string>{"--compress", compression}), compression);
  }
  table.Join("second");
  table.Join("third");
  for (const std::string& compression : compressions) {
    const std::string name = compression + "-3";
    EXPECT_EQ(table.Model(table.Train(name, ++job, kLocal + std::vector<std::string>{"--compress", compression}), name),
              models[compression])
        << compression;
  }
}

TEST(TrainTest, AnInterruptedRunOnThisMachineGoesOnToTheSameBits) {
  Training table;
  const auto train = [&](const std::string& out, const std::vector<std::string>& more) -> Process& {
    return table.Run(std::vector<std::string>{"train", table.directory() + "/small.txt", "--data", table.Data(),
                                              "--out", table.Out(out), "--epochs", "30", "--batch", "256",
                                              "--local-workers", "2", "--threads", "1"} +
                     more);
  };
  const std::string expected = table.Model(train("whole", {}), "whole");
  Process& interrupted = train("parts", {});
  ASSERT_TRUE(interrupted.WaitForLine("step", kPatience));
  ASSERT_TRUE(interrupted.Signal(SIGINT));
  EXPECT_EQ(interrupted.WaitForExit(kPatience), (Exit{.code = 130})) << interrupted.errors();
  EXPECT_THAT(interrupted.errors(), HasSubstr("--resume 1 --out"));
  // Not by accident into the same folder.
  Process& again = train("parts", {});
  EXPECT_EQ(again.WaitForExit(kPatience), (Exit{.code = 2}));
  EXPECT_THAT(again.errors(), HasSubstr("left unfinished"));
  Process& resumed = table.Run({"train", "--resume", "1", "--out", table.Out("parts"), "--local-workers", "1"});
  EXPECT_EQ(table.Model(resumed, "parts"), expected);
  EXPECT_FALSE(std::filesystem::exists(table.Out("parts") + "/.potluck-train"));
}

TEST(TrainTest, ImpossibleResultsAreRefusedAndDoneAgainElsewhere) {
  Training table;
  ASSERT_TRUE(table.Serve(kShortLease));
  table.Join("honest");
  const std::string expected = table.Model(table.Train("calm", 1), "calm");
  uint64_t job = 1;
  for (const char* lie : {"nan", "inf", "short"}) {
    const std::string name = absl::StrCat("liar-", lie);
    Process& liar = table.JoinLiar(name, absl::StrCat(lie, ":2/3"), 0.1);
    Process& client = table.Train(lie, ++job, {"--epochs", "4"});
    EXPECT_TRUE(WaitUntil("the liar is sent home", [&] { return liar.has_ended() || client.has_ended(); }));
    table.Model(client, lie);
    const auto worker = table.FindWorker(name);
    EXPECT_TRUE(worker && !worker->quarantined().empty()) << name;
  }
  EXPECT_EQ(table.Model(table.Train("after", ++job), "after"), expected);
}

TEST(TrainTest, AGradientThatAReRunDoesNotConfirmIsRejectedBeforeItsRoundCloses) {
  Training table;
  ASSERT_TRUE(table.Serve(kShortLease));
  table.Join("honest");
  table.Join("second");
  const std::string expected = table.Model(table.Train("calm", 1), "calm");
  table.JoinLiar("liar", "3/7", 0.1);
  Process& client = table.Train("verified", 2, {"--verify", "1"});
  EXPECT_EQ(table.Model(client, "verified"), expected);
  const auto worker = table.FindWorker("liar");
  ASSERT_TRUE(worker.has_value());
  EXPECT_NE(worker->quarantined(), "");
}

TEST(TrainTest, DivergedTrainingSaysSoAndStops) {
  Training table;
  ASSERT_TRUE(table.Serve());
  table.Join("worker");
  Process& client = table.Train("diverged", 1, {"--optimizer", "sgd", "--lr", "1000", "--epochs", "50"});
  EXPECT_EQ(client.WaitForExit(kPatience), (Exit{.code = 1})) << client.errors();
  EXPECT_THAT(client.errors(), HasSubstr("diverged"));
  EXPECT_EQ(table.FindWorker("worker")->quarantined(), "");
}

TEST(TrainTest, WithoutOneDnnThePortableKernelsServeAndThatIsSaidOnce) {
  Training table;
  const std::string alone = table.directory() + "/potluck";
  std::filesystem::copy_file(POTLUCK_BINARY, alone);
  Process& client = table.RunProgram(
      alone, {"train", table.directory() + "/small.txt", "--data", table.Data(), "--out", table.Out("portable"),
              "--epochs", "1", "--batch", "256", "--local-workers", "1", "--json"});
  table.Model(client, "portable");
  EXPECT_THAT(client.errors(), HasSubstr("portable kernels"));
  EXPECT_EQ(client.errors().find("portable kernels"), client.errors().rfind("portable kernels"));
  const auto json = nlohmann::json::parse(client.output(), nullptr, false);
  ASSERT_TRUE(json.is_object());
  EXPECT_THAT(json["contributions"][0]["numerics_class"].get<std::string>(), HasSubstr("reference"));
}

TEST(TrainTest, AWorkerThatJoinsLateFetchesWhatItLacksAndHelps) {
  Training table;
  ASSERT_TRUE(table.Serve(kShortLease));
  table.Join("early");
  Process& client = table.Train("late", 1, {"--epochs", "20", "--max-steps", "200"});
  ASSERT_TRUE(table.WaitForStep(1, 10));
  table.Join("late");
  ASSERT_TRUE(WaitUntil("the late one helps", [&] {
    const absl::StatusOr<v1::JobStatus> status = table.Job(1);
    if (!status.ok()) return false;
    for (const v1::Contribution& contribution : status->contributions()) {
      if (contribution.worker() == "late" && contribution.cost() > 0) return true;
    }
    return status->state() != v1::JobStatus::RUNNING;
  }));
  table.Model(client, "late");
  const auto json = nlohmann::json::parse(ReadAll(table.Out("late") + "/run.json"), nullptr, false);
  ASSERT_TRUE(json.is_object());
  EXPECT_EQ(json["result"]["contributions"].size(), 2u);
  EXPECT_EQ(json["result"]["stopped_by"], "max-steps");
}

TEST(TrainTest, TheServersJobIsTakenUpByAnotherClient) {
  Training table;
  ASSERT_TRUE(table.Serve());
  table.Join("worker");
  Process& client = table.Train("first", 1, {"--epochs", "6"});
  ASSERT_TRUE(table.WaitForStep(1, 5));
  ASSERT_TRUE(client.Signal(SIGINT));
  EXPECT_EQ(client.WaitForExit(kPatience), (Exit{.code = 130}));
  Process& second = table.Run({"train", "--resume", "1", "--coordinator", table.Admin(), "--out", table.Out("second")});
  const std::string model = table.Model(second, "second");
  EXPECT_EQ(table.Model(table.Train("whole", 2, {"--epochs", "6"}), "whole"), model);
  // One that is done is fetched once more; or goes on for two epochs more.
  Process& again = table.Run({"train", "--resume", "1", "--coordinator", table.Admin(), "--out", table.Out("again")});
  EXPECT_EQ(table.Model(again, "again"), model);
  Process& more = table.Run(
      {"train", "--resume", "1", "--coordinator", table.Admin(), "--out", table.Out("more"), "--epochs", "8"});
  const std::string longer = table.Model(more, "more");
  EXPECT_EQ(table.Model(table.Train("eight", 4, {"--epochs", "8"}), "eight"), longer);
}

}  // namespace
}  // namespace potluck::end_to_end
