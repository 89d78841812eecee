// What an executor does with orders; executor_failure_test.cc has what it does with deaths.
#include "worker/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "kernels/nqueens/payload.h"
#include "kernels/workload/registry.h"
#include "worker/executor_testing.h"
#include "worker/frames.h"

namespace potluck {
namespace {

TEST_F(ExecutorTest, SlicesComeInOrderAndThenOneEnd) {
  Start(Options());
  Run(kLease, "good", {2, 5});
  Run(kNextLease, "other", {0, 1}, kOtherRound);
  events_.WaitFor("over 1.2");
  executor_->Stop();
  EXPECT_EQ(events_.events(), (std::vector<std::string>{"ready", "slice 1.1 [2, 3) good/2", "slice 1.1 [3, 4) good/3",
                                                        "slice 1.1 [4, 5) good/4", "over 1.1 OK",
                                                        "slice 1.2 [0, 1) other/0", "over 1.2 OK"}));
}

TEST_F(ExecutorTest, ManySlicesAllArrive) {
  Start(Options());
  Run(kLease, "good", {0, 20000});
  events_.WaitFor("over 1.1 OK");
  EXPECT_EQ(events_.Starting("slice").size(), 20000u);
}

// ---- Blobs and large results

// With a scratch folder, and a round that has two blobs.
class ExecutorBlobTest : public ExecutorTest {
 protected:
  ExecutorBlobTest() {
    std::string pattern = ::testing::TempDir() + "/potluck-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr) << pattern;
    scratch_ = pattern;
    bulk_ = {std::string(32, 'a'), std::string(32, 'b')};
  }
  ~ExecutorBlobTest() override {
    executor_.reset();
    EXPECT_TRUE(std::filesystem::is_empty(scratch_));
    std::filesystem::remove_all(scratch_);
  }
  void StartWithScratch() {
    ExecutorOptions options = Options();
    options.scratch = scratch_;
    Start(std::move(options));
  }

  std::string scratch_;
};

TEST_F(ExecutorBlobTest, ARunWaitsForTheBlobThatItNeeds) {
  StartWithScratch();
  Run(kLease, "fetch:1", {0, 2});
  EXPECT_EQ(events_.WaitFor("need"), "need 1.1 a");
  executor_->AnswerBlob(kNextLease, bulk_[0], "of another run");
  executor_->AnswerBlob(kLease, bulk_[1], "not asked for");
  executor_->AnswerBlob(kLease, bulk_[0], "path");
  events_.WaitFor("over 1.1 OK");
  EXPECT_EQ(events_.Starting("slice"),
            (std::vector<std::string>{"slice 1.1 [0, 1) fetch:1/0", "slice 1.1 [1, 2) path/1"}));
}

TEST_F(ExecutorBlobTest, ABlobThatCannotBeHadFailsTheRunWithTheSentence) {
  StartWithScratch();
  Run(kLease, "fetch:1", {0, 2});
  events_.WaitFor("need");
  executor_->AnswerBlob(kLease, bulk_[0], absl::NotFoundError("There is none."));
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 INTERNAL: There is none.");
  ExpectWorks();
}

TEST_F(ExecutorBlobTest, ACancelledRunWaitsForNothing) {
  StartWithScratch();
  Run(kLease, "fetch:1", {0, 2});
  events_.WaitFor("need");
  executor_->Cancel(kLease);
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 CANCELLED: The run was cancelled while it waited for a blob.");
  ExpectWorks();
  EXPECT_TRUE(events_.Starting("died").empty());
}

TEST_F(ExecutorBlobTest, WhatIsWantedSoonIsPassedOnInOrder) {
  StartWithScratch();
  Run(kLease, "prefetch:0", {0, 1});
  EXPECT_EQ(events_.WaitFor("need soon"), "need soon 1.1 ab");
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 OK");
}

TEST_F(ExecutorBlobTest, WaitingForABlobIsNotSilence) {
  ExecutorOptions options = Options();
  options.scratch = scratch_;
  options.silence_limit = absl::Seconds(1);
  Start(options);
  Run(kLease, "fetch:0", {0, 1});
  events_.WaitFor("need");
  Recorder other_events;  // Of one that is killed for its silence, which begins after the other's.
  absl::StatusOr<std::unique_ptr<Executor>> other = Executor::Create(options, other_events);
  ASSERT_TRUE(other.ok()) << other.status();
  (*other)->Run(kLease, {kRound, "fake", "hang:0"}, {0, 1});
  other_events.WaitFor("died");
  EXPECT_TRUE(events_.Starting("died").empty());
}

TEST_F(ExecutorBlobTest, ALargeResultComesAsAFileThatHasNoNameAnyMore) {
  StartWithScratch();
  Run(kLease, "large:1", {0, 3});
  EXPECT_EQ(events_.WaitFor("large"), "large slice 1.1 [1, 2) 1200000 bytes large:1/1");
  EXPECT_TRUE(std::filesystem::is_empty(scratch_));
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 OK");
}

TEST_F(ExecutorBlobTest, AResultThatCannotBeWrittenFailsTheRunWithASentence) {
  ExecutorOptions options = Options();
  options.scratch = scratch_ + "/not-there";
  Start(std::move(options));
  Run(kLease, "large:0", {0, 3});
  EXPECT_THAT(events_.WaitFor("over"), ::testing::HasSubstr("cannot be made: No such file or directory."));
  ExpectWorks();
}

TEST_F(ExecutorBlobTest, ResultsOfAChildThatDiedAreRemoved) {
  StartWithScratch();
  events_.WaitFor("ready");
  std::ofstream(absl::StrCat(scratch_, "/", ResultFilePrefix(events_.pid()), "1")) << "half a result";
  Run(kLease, "crash:0", {0, 3});
  events_.WaitFor("died");
  EXPECT_TRUE(std::filesystem::is_empty(scratch_));
}

TEST_F(ExecutorTest, AnEmptyRunIsOverAtOnce) {
  Start(Options());
  Run(kLease, "good", {4, 4});
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 OK");
}

TEST_F(ExecutorTest, ARunningRunIsShrunkAndEndsThere) {
  Start(Options());
  Run(kLease, "gate:10", {0, 100});
  events_.WaitFor("slice 1.1 [9, 10)");
  executor_->Shrink(kLease, 50);
  EXPECT_EQ(events_.WaitFor("shrunk"), "shrunk 1.1 50 50");
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 OK");
  EXPECT_EQ(events_.Starting("slice").size(), 50u);
}

TEST_F(ExecutorTest, WhatIsClaimedStaysWhenItIsShrunkBelow) {
  Start(Options());
  Run(kLease, "gate:10", {0, 100});
  events_.WaitFor("slice 1.1 [9, 10)");
  executor_->Shrink(kLease, 3);
  EXPECT_EQ(events_.WaitFor("shrunk"), "shrunk 1.1 3 10");
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 OK");
  EXPECT_EQ(events_.Starting("slice").size(), 10u);
}

TEST_F(ExecutorTest, AWaitingRunIsShrunkAndCancelledWithoutTheChild) {
  Start(Options());
  Run(kLease, "gate:1", {0, 100});
  Run(kNextLease, "good", {0, 100});
  Run({1, 3}, "good", {0, 100});
  events_.WaitFor("slice 1.1");
  executor_->Shrink(kNextLease, 2);
  EXPECT_EQ(events_.WaitFor("shrunk"), "shrunk 1.2 2 2");
  executor_->Cancel({1, 3});
  EXPECT_EQ(events_.WaitFor("over 1.3"), "over 1.3 CANCELLED: It was cancelled before it began.");
  executor_->Cancel(kLease);
  EXPECT_EQ(events_.WaitFor("over 1.2"), "over 1.2 OK");
  EXPECT_EQ(events_.Starting("slice 1.2").size(), 2u);
  EXPECT_EQ(events_.Starting("over").size(), 3u);
}

TEST_F(ExecutorTest, ACancelledRunIsOverAndTheChildLivesOn) {
  Start(Options());
  Run(kLease, "gate:3", {0, 100});
  events_.WaitFor("slice 1.1 [2, 3)");
  const pid_t pid = events_.pid();
  executor_->Cancel(kLease);
  executor_->Cancel(kLease);
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 CANCELLED: It stopped before [3, 100).");
  ExpectWorks();
  EXPECT_EQ(events_.pid(), pid);
  EXPECT_EQ(events_.Starting("over 1.1").size(), 1u);
}

TEST_F(ExecutorTest, OrdersForARunThatIsOverAreIgnored) {
  Start(Options());
  Run(kLease, "good", {0, 1});
  events_.WaitFor("over 1.1");
  executor_->Shrink(kLease, 0);
  executor_->Cancel(kLease);
  ExpectWorks();
  EXPECT_TRUE(events_.Starting("shrunk").empty());
  EXPECT_EQ(events_.Starting("over 1.1").size(), 1u);
}

TEST_F(ExecutorTest, ARunnersFailureFailsItsRunWithItsSentence) {
  Start(Options());
  Run(kLease, "fail:2", {0, 5});
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 INTERNAL: The device has failed.");
  Run(kNextLease, "bad", {0, 5}, kOtherRound);
  EXPECT_EQ(events_.WaitFor("over"), "over 1.2 INTERNAL: The round is bad.");
  ExpectWorks();
  EXPECT_TRUE(events_.Starting("died").empty());
}

TEST_F(ExecutorTest, ARunIsComputedByTheImplementationThatItNames) {
  Start(Options());
  Run({1, 1}, "good", {0, 1});
  EXPECT_EQ(events_.WaitFor("slice"), "slice 1.1 [0, 1) good/0");
  Run({1, 2}, "good", {1, 2}, kRound, "other");
  EXPECT_EQ(events_.WaitFor("slice"), "slice 1.2 [1, 2) other good/1");
  Run({1, 3}, "good", {2, 3}, kRound, "fake");  // The default, by its name.
  EXPECT_EQ(events_.WaitFor("slice"), "slice 1.3 [2, 3) good/2");
  Run({1, 4}, "next", {3, 4}, kOtherRound, "other");
  EXPECT_EQ(events_.WaitFor("slice"), "slice 1.4 [3, 4) other next/3");
  Run({1, 5}, "next", {4, 5}, kOtherRound);
  EXPECT_EQ(events_.WaitFor("slice"), "slice 1.5 [4, 5) next/4");
  EXPECT_TRUE(events_.Starting("died").empty());
}

TEST_F(ExecutorTest, AnImplementationThatFailsItsSelfTestGivesWayToTheDefaultOne) {
  Start(Options());
  Run(kLease, "good", {0, 1}, kRound, "sick");
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 OK");
  ExpectWorks();
}

TEST_F(ExecutorTest, ADeviceThatFailsItsSelfTestComputesNothing) {
  Start(Options("sick"));
  Run(kLease, "good", {0, 5});
  EXPECT_EQ(events_.WaitFor("ready"), "ready: 2 + 2 is 5 on this device.");
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 FAILED_PRECONDITION: 2 + 2 is 5 on this device.");
}

TEST_F(ExecutorTest, APayloadThatFitsNoFrameIsRefused) {
  Start(Options());
  Run(kLease, std::string(kMaxFramePayload + 1, 'x'), {0, 5});
  EXPECT_EQ(events_.WaitFor("over").substr(0, 25), "over 1.1 INVALID_ARGUMENT");
  Run(kNextLease, std::string(size_t{1} << 20, 'x'), {0, 1}, kOtherRound);
  EXPECT_EQ(events_.WaitFor("over"), "over 1.2 OK");
}

TEST_F(ExecutorTest, StopEndsRunningAndWaitingRunsAndTheChild) {
  Start(Options());
  Run(kLease, "hang:1", {0, 5});
  Run(kNextLease, "good", {0, 5});
  events_.WaitFor("slice 1.1");
  executor_->Stop();
  EXPECT_TRUE(IsGone(events_.pid()));
  EXPECT_EQ(events_.Starting("over"), (std::vector<std::string>{"over 1.1 CANCELLED: The executor was stopped.",
                                                                "over 1.2 CANCELLED: The executor was stopped."}));
  const std::vector<std::string> before = events_.events();
  Run({1, 3}, "good", {0, 5});
  executor_->Stop();
  EXPECT_EQ(events_.events(), before);
}

// Runs are handed over from within an event, as a worker does.
class Chain : public ExecutorEvents {
 public:
  void OnReady(const ExecutorReady&) override {}
  void OnSlice(LeaseId, Interval, std::string, double) override {}
  void OnLargeSlice(LeaseId, Interval, std::shared_ptr<const ResultFile>, double) override {}
  void OnNeed(LeaseId, const std::string&) override {}
  void OnNeedSoon(LeaseId, std::vector<std::string>) override {}
  void OnRunOver(LeaseId lease, const absl::Status& status) override {
    MutexLock lock(&mutex_);
    if (!status.ok()) failure_ = std::string(status.message());
    if (lease.counter == kRuns || !status.ok()) {
      done_ = true;
      changed_.SignalAll();
      return;
    }
    executor_->Run({1, lease.counter + 1}, {kRound, "fake", "good"}, {0, 3});
  }
  void OnShrunk(LeaseId, uint64_t, uint64_t) override {}
  void OnDied(const absl::Status&, absl::Duration) override {}

  // Returns the first failure.
  std::string WaitUntilDone(Executor& executor) {
    {
      MutexLock lock(&mutex_);
      executor_ = &executor;
    }
    executor.Run({1, 1}, {kRound, "fake", "good"}, {0, 3});
    MutexLock lock(&mutex_);
    while (!done_) changed_.Wait(&mutex_);
    return failure_;
  }

 private:
  static constexpr uint64_t kRuns = 100;
  Mutex mutex_;
  CondVar changed_;
  Executor* executor_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::string failure_ ABSL_GUARDED_BY(mutex_);
};

TEST(ExecutorChainTest, EventsMayGiveOrders) {
  Chain chain;
  absl::StatusOr<std::unique_ptr<Executor>> executor = Executor::Create(Options(), chain);
  ASSERT_TRUE(executor.ok()) << executor.status();
  EXPECT_EQ(chain.WaitUntilDone(**executor), "");
}

// Adds up what the real runner reports.
class Adder : public Recorder {
 public:
  void OnSlice(LeaseId lease, Interval interval, std::string payload, double busy_seconds) override {
    const Result<nqueens::Counts> counts = nqueens::DecodeCounts(payload);
    ASSERT_TRUE(counts.ok()) << counts.status().message();
    ASSERT_TRUE(total.Add(*counts));
    Recorder::OnSlice(lease, interval, "", busy_seconds);
  }
  nqueens::Counts total;  // Read it after Stop.
};

TEST(ExecutorRealTest, ACodePathThatIsNotThereGivesWayToTheDefaultOne) {
  Adder events;
  absl::StatusOr<std::unique_ptr<Executor>> executor = Executor::Create(Options("auto"), events);
  ASSERT_TRUE(executor.ok()) << executor.status();
  (*executor)->Run(kLease, {kRound, "nqueens", nqueens::Encode(nqueens::Spec{8, 1, 3})}, {0, 1}, "abacus");
  EXPECT_EQ(events.WaitFor("over 1.1"), "over 1.1 OK");
}

TEST(ExecutorRealTest, TheCpuRunnerCountsEightQueens) {
  auto planner = MakePlanner("nqueens", nqueens::Encode(nqueens::Spec{8}));
  ASSERT_TRUE(planner.ok()) << planner.status().message();
  auto round = (*planner)->NextRound(0);
  ASSERT_TRUE(round.ok() && round->has_value());
  const uint64_t size = (*round)->plan->Size();
  Adder events;
  absl::StatusOr<std::unique_ptr<Executor>> executor = Executor::Create(Options("auto"), events);
  ASSERT_TRUE(executor.ok()) << executor.status();
  (*executor)->Run(kLease, {kRound, "nqueens", (*round)->payload}, {0, size / 2});
  (*executor)->Run(kNextLease, {kRound, "nqueens", (*round)->payload}, {size / 2, size}, "scalar");
  EXPECT_EQ(events.WaitFor("over 1.1"), "over 1.1 OK");
  EXPECT_EQ(events.WaitFor("over 1.2"), "over 1.2 OK");
  (*executor)->Stop();
  EXPECT_EQ(events.total.solutions, Count128(92));
}

}  // namespace
}  // namespace potluck
