#include "cli/mirror_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/blob.h"
#include "cli/mirrored_run.h"
#include "cli/train_flags.h"

namespace potluck {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class MirrorFolderTest : public testing::Test {
 protected:
  MirrorFolderTest() {
    std::string pattern = testing::TempDir() + "/potluck-mirror-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    spec_ = *MakeSpec(TrainFlags());
    spec_.train = {.name = "digits",
                   .shape = {1, 28, 28},
                   .classes = 10,
                   .samples = 64,
                   .samples_a_shard = 64,
                   .shards = {std::string(32, 'a')}};
    spec_.test = spec_.train;
  }
  ~MirrorFolderTest() override { fs::remove_all(directory_); }

  static MirroredState StateOf(const cnn::Spec& spec, const std::string& bytes) {
    MirroredState state;
    state.job_name = "a run";
    state.round = 7;
    state.digest = BlobDigest(DescribeBlob(bytes));
    state.size = bytes.size();
    state.spec = spec;
    return state;
  }
  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(mirror_path())) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  std::string mirror_path() const { return directory_ + "/drive/mirror"; }

  std::string directory_;
  cnn::Spec spec_;
};

TEST_F(MirrorFolderTest, TheNewestTwoStatesAreKeptAndReadBack) {
  absl::StatusOr<MirrorFolder> mirror = MirrorFolder::Create(mirror_path());
  ASSERT_TRUE(mirror.ok()) << mirror.status();
  for (const char* bytes : {"first", "second", "third"}) {
    ASSERT_EQ(mirror->Add(StateOf(spec_, bytes), bytes), absl::OkStatus());
  }
  EXPECT_THAT(Files(), ElementsAre("state-000002.bin", "state-000002.json", "state-000003.bin", "state-000003.json"));
  const std::vector<MirroredState> states = MirrorFolder::Existing(mirror_path()).States();
  ASSERT_EQ(states.size(), 2u);
  EXPECT_EQ(states[0].number, 3u);
  EXPECT_EQ(states[0].job_name, "a run");
  EXPECT_EQ(states[0].round, 7u);
  EXPECT_EQ(states[0].spec, spec_);
  EXPECT_EQ(mirror->Read(states[0]).value_or(""), "third");
  EXPECT_EQ(mirror->Read(states[1]).value_or(""), "second");
}

TEST_F(MirrorFolderTest, WhatIsDamagedIsToldApart) {
  absl::StatusOr<MirrorFolder> mirror = MirrorFolder::Create(mirror_path());
  for (const char* bytes : {"first", "second"}) {
    ASSERT_EQ(mirror->Add(StateOf(spec_, bytes), bytes), absl::OkStatus());
  }
  const std::vector<MirroredState> states = mirror->States();
  std::ofstream(mirror_path() + "/state-000002.bin") << "sec0nd";
  EXPECT_EQ(mirror->Read(states[0]).status().code(), absl::StatusCode::kDataLoss);
  std::ofstream(mirror_path() + "/state-000002.bin") << "sec";
  EXPECT_THAT(std::string(mirror->Read(states[0]).status().message()), HasSubstr("has 3 bytes"));
  fs::remove(mirror_path() + "/state-000002.bin");
  EXPECT_EQ(mirror->Read(states[0]).status().code(), absl::StatusCode::kDataLoss);
  // Every description cut short, or with another digit in it, is none, or of the same.
  const std::string path = mirror_path() + "/state-000001.json";
  std::ifstream file(path);
  const std::string description{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  for (size_t length = 0; length < description.size() - 2; length += 37) {
    std::ofstream(path) << description.substr(0, length);
    EXPECT_EQ(mirror->States().size(), 1u) << length;
  }
  const size_t at = description.find("\"spec\": \"") + 20;
  std::string changed = description;
  changed[at] = changed[at] == 'A' ? 'B' : 'A';
  std::ofstream(path) << changed;
  EXPECT_EQ(mirror->States().size(), 1u);
  std::ofstream(path) << "[1, 2]";
  EXPECT_EQ(mirror->States().size(), 1u);
  // Numbers go on after what is damaged.
  ASSERT_EQ(mirror->Add(StateOf(spec_, "new"), "new"), absl::OkStatus());
  EXPECT_EQ(mirror->States().front().number, 3u);
}

TEST_F(MirrorFolderTest, StatesOfAnotherTrainingGoWithTheFirstNewOne) {
  absl::StatusOr<MirrorFolder> mirror = MirrorFolder::Create(mirror_path());
  cnn::Spec other = spec_;
  other.seed = 99;
  ASSERT_EQ(mirror->Add(StateOf(other, "other"), "other"), absl::OkStatus());
  EXPECT_EQ(CheckMirrorFits(*mirror, spec_).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckMirrorIsFree(*mirror).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_EQ(mirror->Add(StateOf(spec_, "own"), "own"), absl::OkStatus());
  ASSERT_EQ(mirror->States().size(), 1u);
  EXPECT_EQ(mirror->States()[0].spec.seed, spec_.seed);
  EXPECT_EQ(CheckMirrorFits(*mirror, spec_), absl::OkStatus());
  cnn::Spec longer = spec_;
  longer.epochs += 5;
  longer.initial_state = std::string(32, 's');
  EXPECT_EQ(CheckMirrorFits(*mirror, longer), absl::OkStatus());
}

TEST_F(MirrorFolderTest, FilesAreCopiedWhole) {
  absl::StatusOr<MirrorFolder> mirror = MirrorFolder::Create(mirror_path());
  EXPECT_FALSE(mirror->HasResult());
  std::ofstream(directory_ + "/model.safetensors") << "a model";
  ASSERT_EQ(mirror->Copy(directory_ + "/model.safetensors"), absl::OkStatus());
  EXPECT_TRUE(mirror->HasResult());
  EXPECT_THAT(Files(), ElementsAre("model.safetensors"));
  EXPECT_EQ(CheckMirrorIsFree(*mirror).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(mirror->Copy(directory_ + "/nothing").ok());
}

TEST_F(MirrorFolderTest, AFolderThatWentIsNotMadeAnew) {
  absl::StatusOr<MirrorFolder> mirror = MirrorFolder::Create(mirror_path());
  fs::remove_all(mirror_path());
  EXPECT_EQ(mirror->Add(StateOf(spec_, "state"), "state").code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(fs::exists(mirror_path()));
}

TEST_F(MirrorFolderTest, DataAreTheSameWhateverTheirFolderIsCalled) {
  cnn::Spec now = spec_;
  now.train.name = "elsewhere";
  EXPECT_EQ(AdoptSameData(spec_, "mirror", "data", now), absl::OkStatus());
  EXPECT_EQ(now, spec_);
  now.test.shards = {std::string(32, 'b')};
  EXPECT_THAT(std::string(AdoptSameData(spec_, "mirror", "data", now).message()), HasSubstr("whose test set"));
}

}  // namespace
}  // namespace potluck
