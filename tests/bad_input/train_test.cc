// What can be wrong with a training: the network, the flags, the data, the model to begin with. Each told in one
// sentence, and nothing is left behind.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "cli/exit_code.h"
#include "tests/bad_input/program.h"

namespace potluck {
namespace {

using Words = std::vector<std::string>;

class TrainInputTest : public testing::Test {
 protected:
  TrainInputTest() { EXPECT_EQ(RunPotluck({"data", "synth", set_, "--samples", "64", "--test", "32"}).code, kExitOk); }

  Ended Train(Words arguments) const {
    arguments.insert(arguments.begin(), "train");
    arguments.insert(arguments.end(), {"--out", out_});
    return RunPotluck(arguments);
  }

  void ExpectNetworkRefused(const std::string& layers, const Words& parts) const {
    const std::string file = directory_ / "model.txt";
    WriteWholeFile(file, "input { channels: 1 height: 28 width: 28 }\n" + layers);
    ExpectOneSentence(Train({file, "--data", set_}), kExitUsage, parts);
    EXPECT_FALSE(std::filesystem::exists(out_));
  }

  const TemporaryDirectory directory_;
  const std::string set_ = directory_ / "digits", out_ = directory_ / "out";
};

constexpr char kEnd[] = "layers { flatten {} } layers { dense { units: 10 } }";

TEST_F(TrainInputTest, NetworksThatCannotBeAreToldByTheirLayer) {
  ExpectNetworkRefused("layers { conv { filters: 4 kernel: 30 } } " + std::string(kEnd), {"kernel", "30", "Layer 1"});
  ExpectNetworkRefused("layers { dropout { rate: 1.5 } } " + std::string(kEnd), {"1.5", "Layer 1"});
  ExpectNetworkRefused("layers { dropout { rate: -0.1 } } " + std::string(kEnd), {"-0.1", "Layer 1"});
  ExpectNetworkRefused("layers { pooling { size: 2 } } " + std::string(kEnd), {"pooling", "line 2"});
  ExpectNetworkRefused("layers { dense { units: 10 } }", {"Layer 1", "flatten"});
  ExpectNetworkRefused("layers { flatten {} }", {"dense"});
  ExpectNetworkRefused("layers {", {"line 2"});
  ExpectOneSentence(Train({"no-such-model", "--data", set_}), kExitUsage, {"no-such-model", "mnist-cnn"});
}

TEST_F(TrainInputTest, FlagsThatAreNotAllowedAreNamed) {
  const std::vector<std::pair<Words, Words>> cases = {
      {{"--lr", "-0.1"}, {"--lr is \"-0.1\"", "from 0"}},
      {{"--batch", "0"}, {"--batch is \"0\"", "from 1 to 65536"}},
      {{"--optimizer", "adam"}, {"--optimizer is \"adam\"", "adamw"}},
      {{"--precision", "fp8"}, {"--precision is \"fp8\"", "bf16"}},
      {{"--compress", "int4"}, {"--compress", "--local-steps"}},
      {{"--sync", "--local-steps", "4"}, {"--sync", "--local-steps"}},
      {{"--momentum", "0.9"}, {"--momentum", "adadelta"}},
      {{"--rho", "0.9", "--optimizer", "sgd"}, {"--rho", "sgd"}},
      {{"--gamma", "0.9"}, {"--gamma", "exponential"}},
      {{"--target-accuracy", "99"}, {"--target-accuracy is \"99\"", "from 0 to 1"}},
      {{"--time-limit", "10"}, {"--time-limit is \"10\"", "s, min, h or d"}},
      {{"--verify", "0.5", "--local-workers", "1"}, {"--verify is 0.5", "--local-workers is 1"}},
      {{"--resume", "1"}, {"--data", "--resume"}},
      {{"--resume", "-1"}, {"--resume is \"-1\"", "a job's number"}},
      {{"--plan", "--mirror", directory_ / "mirror"}, {"--plan", "--mirror"}}};
  for (const auto& [flags, parts] : cases) {
    Words arguments = {"mnist-cnn", "--data", set_};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    ExpectOneSentence(Train(arguments), kExitUsage, parts);
  }
  ExpectOneSentence(Train({"mnist-cnn"}), kExitUsage, {"--data is missing", "potluck data"});
  ExpectOneSentence(Train({"--resume", "1"}), kExitUsage, {"--resume is 1", "holds no unfinished job"});
  ExpectOneSentence(Train({"--resume", "1", "--lr", "1"}), kExitUsage, {"--lr", "--resume", "--epochs"});
}

TEST_F(TrainInputTest, DataThatCannotBeTrainedOnIsTold) {
  const std::string images = set_ + "/train-images-idx3-ubyte";
  const std::string bytes = ReadWholeFile(images);
  WriteWholeFile(images, bytes.substr(0, 500));
  ExpectOneSentence(Train({"mnist-cnn", "--data", set_}), kExitUsage, {"train-images", "short"});
  std::string wrong = bytes;
  wrong[2] = 9;
  WriteWholeFile(images, wrong);
  ExpectOneSentence(Train({"mnist-cnn", "--data", set_}), kExitUsage, {"train-images", "offset"});
  WriteWholeFile(images, bytes);
  const std::string labels = set_ + "/train-labels-idx1-ubyte";
  std::string many = ReadWholeFile(labels);
  many.back() = 77;
  WriteWholeFile(labels, many);
  ExpectOneSentence(Train({"mnist-cnn", "--data", set_}), kExitUsage, {"train-labels", "77"});
  ExpectOneSentence(Train({"mnist-cnn", "--data", directory_ / "nothing"}), kExitUsage, {"nothing"});
  EXPECT_FALSE(std::filesystem::exists(out_));
}

TEST_F(TrainInputTest, AModelToBeginWithMustFit) {
  const std::string file = directory_ / "model.safetensors";
  WriteWholeFile(file, "nonsense");
  ExpectOneSentence(Train({"mnist-cnn", "--data", set_, "--init", file}), kExitUsage, {"model.safetensors"});
  const std::string small = directory_ / "small.txt";
  WriteWholeFile(small, std::string("input { channels: 1 height: 28 width: 28 }\n") + kEnd);
  const std::string trained = directory_ / "trained";
  const Ended ended =
      RunPotluck({"train", small, "--data", set_, "--epochs", "1", "--local-workers", "1", "--out", trained});
  EXPECT_EQ(ended.code, kExitOk) << ended.err;
  ExpectOneSentence(Train({"mnist-cnn", "--data", set_, "--init", trained + "/model.safetensors"}), kExitUsage,
                    {"model.safetensors", "conv1"});
  // Its own network goes on from it.
  const Ended tuned = RunPotluck({"train", small, "--data", set_, "--epochs", "1", "--local-workers", "1", "--init",
                                  trained + "/model.safetensors", "--out", out_, "--json"});
  EXPECT_EQ(tuned.code, kExitOk) << tuned.err;
  ExpectOneJsonObject(tuned);
  // A finished run is not lost by accident.
  ExpectOneSentence(Train({small, "--data", set_, "--epochs", "1"}), kExitUsage, {"finished run", "--overwrite"});
}

TEST_F(TrainInputTest, AMirrorThatCannotBeWrittenIsNamedBeforeAnythingBegins) {
  WriteWholeFile(directory_ / "file", "not a folder");
  for (const std::string& mirror : {directory_ / "file", directory_ / "file/below", std::string("/proc/potluck")}) {
    ExpectOneSentence(Train({"--data", set_, "--mirror", mirror}), kExitUsage,
                      {"--mirror is \"" + mirror + "\"", "mounted"});
    EXPECT_FALSE(std::filesystem::exists(out_));
  }
}

TEST_F(TrainInputTest, WhatIsNoMirrorCannotBeGoneOnFrom) {
  ExpectOneSentence(Train({"--resume", directory_ / "nowhere"}), kExitUsage, {"--resume", "without --data"});
  WriteWholeFile(directory_ / "file", "not a folder");
  std::filesystem::create_directory(directory_ / "empty");
  for (const char* name : {"nowhere", "file", "empty"}) {
    ExpectOneSentence(Train({"--resume", directory_ / name, "--data", set_}), kExitUsage,
                      {"--resume is \"" + directory_ / name + "\"", "holds no state"});
    EXPECT_FALSE(std::filesystem::exists(out_));
  }
  EXPECT_FALSE(std::filesystem::exists(directory_ / "nowhere"));
}

TEST_F(TrainInputTest, AMirrorOfAnotherRunIsLeftAlone) {
  const std::string mirror = directory_ / "mirror", small = directory_ / "small.txt", wide = directory_ / "wide.txt";
  const std::string input = "input { channels: 1 height: 28 width: 28 }\n";
  WriteWholeFile(small, "name: \"small\"\n" + input + kEnd);
  WriteWholeFile(wide, "name: \"wide\"\n" + input + "layers { flatten {} } layers { dense { units: 20 } } " +
                           "layers { dense { units: 10 } }");
  const Words common = {"--data", set_, "--epochs", "1", "--local-workers", "1", "--threads", "1"};
  const auto with = [&common](Words words, const Words& more) {
    words.insert(words.end(), common.begin(), common.end());
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const Ended first = Train(with({small}, {"--mirror", mirror}));
  ASSERT_EQ(first.code, kExitOk) << first.err;
  const auto before = ReadDirectory(mirror);
  std::filesystem::remove_all(out_);
  // Another run, of the same network or another.
  for (const std::string& model : {small, wide}) {
    ExpectOneSentence(Train(with({model}, {"--mirror", mirror})), kExitUsage,
                      {"--mirror is " + mirror, "holds the states of a run", "--resume", "--overwrite"});
  }
  // Other data.
  const std::string other = directory_ / "other";
  ASSERT_EQ(RunPotluck({"data", "synth", other, "--samples", "64", "--test", "32", "--seed", "9"}).code, kExitOk);
  ExpectOneSentence(Train({"--resume", mirror, "--data", other}), kExitUsage,
                    {"--data is " + other, "another one", mirror});
  ExpectOneSentence(Train({"--resume", mirror, "--data", set_, "--lr", "1"}), kExitUsage, {"--lr", "--resume"});
  // One that goes on, with the mirror of another network for its own.
  const std::string second = directory_ / "second mirror";
  ASSERT_EQ(Train(with({wide}, {"--mirror", second})).code, kExitOk);
  std::filesystem::remove_all(out_);
  ExpectOneSentence(Train({"--resume", second, "--data", set_, "--mirror", mirror, "--epochs", "2"}), kExitUsage,
                    {"--mirror is " + mirror, "another training", "\"small\""});
  EXPECT_EQ(ReadDirectory(mirror), before);
  EXPECT_FALSE(std::filesystem::exists(out_));
}

}  // namespace
}  // namespace potluck
