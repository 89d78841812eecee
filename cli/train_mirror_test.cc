#include "cli/train_mirror.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/blob.h"
#include "base/notification.h"
#include "cli/train_flags.h"

namespace potluck {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

// States are "state N", fetched when the test lets them.
class TrainMirrorTest : public testing::Test {
 protected:
  TrainMirrorTest() {
    std::string pattern = testing::TempDir() + "/potluck-mirror-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    cnn::Spec spec = *MakeSpec(TrainFlags());
    spec.train = {.name = "digits",
                  .shape = {1, 28, 28},
                  .classes = 10,
                  .samples = 64,
                  .samples_a_shard = 64,
                  .shards = {std::string(32, 'a')}};
    spec.test = spec.train;
    spec_ = cnn::Encode(spec);
  }
  ~TrainMirrorTest() override { fs::remove_all(directory_); }

  static std::string BytesOf(int number) { return absl::StrCat("state ", number); }
  static std::string DigestOf(int number) { return BlobDigest(DescribeBlob(BytesOf(number))); }
  v1::JobStatus Status(int number) const {
    v1::JobStatus status;
    status.set_job(1);
    status.set_spec(spec_);
    status.set_saved_state(DigestOf(number));
    status.set_saved_round(static_cast<uint32_t>(number));
    return status;
  }

  std::unique_ptr<TrainMirror> Make() {
    TrainMirrorOptions options;
    options.fetch = [this](uint64_t, const std::string& digest) -> absl::StatusOr<std::string> {
      MutexLock lock(&mutex_);
      for (int i = 1; i < 100; ++i) {
        if (DigestOf(i) != digest) continue;
        fetched_.push_back(i);
        changed_.SignalAll();
        while (i > allowed_ && !is_cancelled_) changed_.Wait(&mutex_);
        if (i > allowed_) return absl::CancelledError("");
        return BytesOf(i);
      }
      return absl::NotFoundError("");
    };
    options.cancel = [this] {
      MutexLock lock(&mutex_);
      is_cancelled_ = true;
      changed_.SignalAll();
    };
    options.say = [this](const std::string& sentence) {
      MutexLock lock(&mutex_);
      said_.push_back(sentence);
      changed_.SignalAll();
    };
    return std::make_unique<TrainMirror>(*MirrorFolder::Create(path()), std::move(options));
  }
  void Allow(int number) {
    MutexLock lock(&mutex_);
    allowed_ = number;
    changed_.SignalAll();
  }
  void WaitForFetch(int number) {
    MutexLock lock(&mutex_);
    while (fetched_.empty() || fetched_.back() != number) changed_.Wait(&mutex_);
  }
  void WaitForSentences(size_t count) {
    MutexLock lock(&mutex_);
    while (said_.size() < count) changed_.Wait(&mutex_);
  }
  std::vector<int> fetched() {
    MutexLock lock(&mutex_);
    return fetched_;
  }
  std::vector<std::string> said() {
    MutexLock lock(&mutex_);
    return said_;
  }
  std::string path() const { return directory_ + "/mirror"; }
  std::vector<uint32_t> Rounds() const {
    std::vector<uint32_t> rounds;
    for (const MirroredState& state : MirrorFolder::Existing(path()).States()) rounds.push_back(state.round);
    return rounds;
  }

  std::string directory_, spec_;
  Mutex mutex_;
  CondVar changed_;
  int allowed_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<int> fetched_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> said_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(TrainMirrorTest, OfferingDoesNotWaitAndTheNewestStateWins) {
  const std::unique_ptr<TrainMirror> mirror = Make();
  mirror->Offer(Status(1));
  WaitForFetch(1);
  // Meanwhile others come.
  for (int i = 2; i <= 5; ++i) mirror->Offer(Status(i));
  mirror->Offer(Status(5));
  Allow(99);
  WaitForFetch(5);
  ASSERT_EQ(mirror->Finish(Status(6), BytesOf(6), {}), absl::OkStatus());
  EXPECT_THAT(fetched(), ElementsAre(1, 5));
  EXPECT_THAT(Rounds(), ElementsAre(6, 5));
  EXPECT_THAT(said(), ElementsAre());
}

TEST_F(TrainMirrorTest, TheEndDoesNotWaitForAFetchAndWritesTheLastStateAndTheFiles) {
  const std::unique_ptr<TrainMirror> mirror = Make();
  mirror->Offer(Status(1));
  WaitForFetch(1);
  std::ofstream(directory_ + "/model.safetensors") << "a model";
  ASSERT_EQ(mirror->Finish(Status(2), BytesOf(2), {directory_ + "/model.safetensors"}), absl::OkStatus());
  EXPECT_THAT(Rounds(), ElementsAre(2));
  EXPECT_TRUE(fs::exists(path() + "/model.safetensors"));
  mirror->Offer(Status(3));  // Nobody minds it any more.
  EXPECT_THAT(fetched(), ElementsAre(1));
}

TEST_F(TrainMirrorTest, WhatCannotBeWrittenIsSaidOnceAndSoIsItsReturn) {
  const std::unique_ptr<TrainMirror> mirror = Make();
  Allow(99);
  fs::rename(path(), path() + "-away");
  for (int i = 1; i <= 3; ++i) {
    mirror->Offer(Status(i));
    WaitForFetch(i);
  }
  WaitForSentences(1);
  fs::rename(path() + "-away", path());
  mirror->Offer(Status(4));
  WaitForSentences(2);
  EXPECT_THAT(said(), ElementsAre(HasSubstr("is not there any more"), HasSubstr("is written again")));
  fs::remove_all(path());
  EXPECT_EQ(mirror->Finish(Status(5), BytesOf(5), {}).code(), absl::StatusCode::kNotFound);
}

TEST_F(TrainMirrorTest, WithoutOneProgressIsAsItWas) {
  std::unique_ptr<JobProgress> progress = MakeJobProgress();
  JobProgress* const plain = progress.get();
  EXPECT_EQ(WithMirror(std::move(progress), nullptr).get(), plain);
}

}  // namespace
}  // namespace potluck
