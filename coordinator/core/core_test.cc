// The core by itself: the conversation's rules (seq, repetition, parking) and the jobs', with a fake clock and store.
#include "base/sha256.h"
#include "coordinator/core/core_testing.h"

namespace potluck {
namespace {

using simulation::PayloadOf;
using simulation::SumOf;

TEST_F(CoreTest, AUnitGoesFromSubmitToResult) {
  Submit();
  Join();
  EXPECT_EQ(Exchange(1, Request(1)), "grant [0, 4); round fake; ");
  EXPECT_EQ(Exchange(2, Request(2, {Slice({0, 4})})), "slice 0; grant [4, 6); round fake; ");
  EXPECT_EQ(Exchange(3, Request(3, {Slice({4, 5}, {1, 2}), Slice({5, 8}, {1, 2})})), "slice 0; slice 0; ");
  const std::optional<JobView> job = core_->Find(JobId{1});
  EXPECT_EQ(job->state, JobState::kDone);
  EXPECT_EQ(job->summary, PayloadOf(SumOf(0, {0, 8})));
  ASSERT_EQ(job->contributions.size(), 1u);
  EXPECT_EQ(job->contributions[0].worker, "anna");
  EXPECT_EQ(job->contributions[0].indices, 8u);
}

TEST_F(CoreTest, NothingIsAcknowledgedBeforeItIsStored) {
  Submit();
  Join();
  Exchange(1, Request(1));
  hold_store_ = true;
  EXPECT_EQ(Exchange(2, Request(2, {Slice({0, 4})})), "parked");
  EXPECT_EQ(core_->Find(JobId{1})->committed, 0u);
  hold_store_ = false;
  Store(held_.at(0));
  EXPECT_EQ(Answer(CallId{2}), "slice 0; grant [4, 6); round fake; ");
}

TEST_F(CoreTest, ARepeatedSeqGetsTheStoredAnswer) {
  Submit();
  Join();
  const std::string first = Exchange(1, Request(1));
  EXPECT_EQ(Exchange(2, Request(1)), first);
  EXPECT_EQ(core_->scheduler().LeaseCount(kAnna), 1u);
}

TEST_F(CoreTest, AnOlderSeqIsRefused) {
  Join();
  Exchange(1, Request(5));
  EXPECT_EQ(Exchange(2, Request(4)), "FAILED_PRECONDITION");
}

TEST_F(CoreTest, ANewerCallTakesOverAHeldOne) {
  Join();
  EXPECT_EQ(Exchange(1, Request(1)), "parked");
  EXPECT_EQ(Exchange(2, Request(2)), "parked");
  EXPECT_EQ(Answer(CallId{1}), "CANCELLED");
  Submit();
  EXPECT_EQ(Answer(CallId{2}), "grant [0, 4); round fake; ");
}

TEST_F(CoreTest, AHeldCallIsAnsweredInTheEnd) {
  Join();
  EXPECT_EQ(Exchange(1, Request(1)), "parked");
  now_.monotonic += absl::Seconds(20);
  Handle(core_->Tick(now_));
  EXPECT_EQ(Answer(CallId{1}), "");
}

TEST_F(CoreTest, ALostCallSentAgainIsAnswered) {
  Join();
  EXPECT_EQ(Exchange(1, Request(1)), "parked");
  Handle(core_->CallLost(now_, CallId{1}));
  Submit();
  EXPECT_EQ(Exchange(2, Request(1)), "grant [0, 4); round fake; ");
}

TEST_F(CoreTest, ASliceSentTwiceIsCountedOnce) {
  Submit();
  Join();
  Exchange(1, Request(1));
  Exchange(2, Request(2, {Slice({0, 4})}));
  EXPECT_EQ(Exchange(3, Request(3, {Slice({0, 4})}, {{{1, 2}, kRound, 0, {4, 5}}})).substr(0, 8), "slice 1;");
  EXPECT_EQ(core_->Find(JobId{1})->committed, 4u);
}

TEST_F(CoreTest, AnotherDigestIsADisagreementAndAnOverlapIsRefused) {
  Submit();
  Join();
  Exchange(1, Request(1));
  Exchange(2, Request(2, {Slice({0, 4})}));
  ReportedSlice other = Slice({0, 4});
  other.payload = PayloadOf(1);
  other.digest = Sha256(other.payload);
  EXPECT_EQ(Exchange(3, Request(3, {other, Slice({3, 6})})).substr(0, 17), "slice 2; slice 3;");
  EXPECT_EQ(core_->Find(JobId{1})->disagreements, 1u);
  EXPECT_EQ(core_->Find(JobId{1})->committed, 4u);
}

TEST_F(CoreTest, ImpossibleSlicesAreRefusedAndTheirWorkerQuarantined) {
  Submit();
  Join();
  Exchange(1, Request(1));
  ReportedSlice outside = Slice({6, 8});
  outside.interval.end = 9;
  ReportedSlice corrupt = Slice({0, 4});
  corrupt.digest.clear();
  ReportedSlice garbage = Slice({0, 4});
  garbage.payload = "\xff\xff";
  garbage.digest = Sha256(garbage.payload);
  EXPECT_EQ(Exchange(2, Request(2, {outside, corrupt})).substr(0, 18), "slice 5; slice 5; ");
  EXPECT_EQ(Exchange(3, Request(3, {garbage})), "PERMISSION_DENIED");
  EXPECT_EQ(core_->Find(JobId{1})->committed, 0u);
  JoinRequest again;
  again.session = SessionId{12};
  again.installation = again.name = "anna";
  again.devices.resize(1);
  Outbox outbox;
  EXPECT_EQ(core_->Join(now_, again, outbox).code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(CoreTest, WhatAQuarantinedWorkerHandedInIsDoneAgain) {
  Submit();
  Join();
  Exchange(1, Request(1));
  ReportedSlice corrupt = Slice({6, 7});
  corrupt.digest.clear();
  EXPECT_EQ(Exchange(2, Request(2, {Slice({0, 4}), corrupt, corrupt, corrupt})), "PERMISSION_DENIED");
  EXPECT_EQ(core_->Find(JobId{1})->committed, 0u);
  EXPECT_EQ(ToString(core_->scheduler().Inspect(kRound).free), "[0, 8)");
}

TEST_F(CoreTest, AJobDoesNotEndWithSlicesOfAQuarantinedWorkerAlthoughTheStoreCannotTakeTheirRetraction) {
  Submit();
  Join();
  Exchange(1, Request(1));
  ReportedSlice corrupt = Slice({6, 7});
  corrupt.digest.clear();
  hold_store_ = true;
  Handle(core_->Exchange(now_, CallId{2}, Request(2, {Slice({0, 8}), corrupt, corrupt, corrupt})));
  const Outbox::AppendFacts slices = held_.at(0);
  held_.clear();
  Store(slices);  // All that the job needs is counted now; its retraction is on its way.
  ASSERT_EQ(held_.size(), 1u);
  Handle(core_->Stored(now_, held_[0].id, absl::ResourceExhaustedError("the disk is full"), {}));
  held_.clear();
  EXPECT_EQ(core_->Find(JobId{1})->state, JobState::kRunning);
  hold_store_ = false;
  now_.monotonic += absl::Seconds(5);  // It is tried again.
  Handle(core_->Tick(now_));
  EXPECT_EQ(core_->Find(JobId{1})->state, JobState::kRunning);
  EXPECT_EQ(core_->Find(JobId{1})->committed, 0u);
  EXPECT_EQ(ToString(core_->scheduler().Inspect(kRound).free), "[0, 8)");
}

TEST_F(CoreTest, ARetractionThatWaitsForTheDiskMayFindItsJobDeletedAndAPardonWaitsForTheQuarantine) {
  Submit();
  Join();
  Exchange(1, Request(1));
  ReportedSlice corrupt = Slice({6, 7});
  corrupt.digest.clear();
  Handle(core_->Exchange(now_, CallId{2}, Request(2, {Slice({0, 4})})));
  hold_store_ = true;
  Handle(core_->Exchange(now_, CallId{3}, Request(3, {corrupt, corrupt, corrupt})));
  const std::string name = "anna";
  const Outbox pardon = core_->Pardon(now_, CallId{9}, name);
  ASSERT_EQ(pardon.requests.size(), 1u);
  EXPECT_EQ(pardon.requests[0].status.code(), absl::StatusCode::kUnavailable) << pardon.requests[0].status;
  while (!held_.empty()) {
    const Outbox::AppendFacts append = held_.front();
    held_.erase(held_.begin());
    Handle(core_->Stored(now_, append.id, absl::ResourceExhaustedError("the disk is full"), {}));
  }
  hold_store_ = false;
  Handle(core_->Cancel(now_, CallId{5}, JobId{1}));
  Handle(core_->Delete(now_, CallId{6}, JobId{1}));
  EXPECT_FALSE(core_->Find(JobId{1}).has_value());
  now_.monotonic += absl::Seconds(5);  // What failed is tried again.
  Handle(core_->Tick(now_));
  EXPECT_TRUE(core_->Pardon(now_, CallId{10}, name).requests.empty()) << "it is on its way to the store";
}

TEST_F(CoreTest, ASliceOnItsWayWhenItsWorkerIsQuarantinedIsRetractedToo) {
  Submit();
  Join();
  Exchange(1, Request(1));
  hold_store_ = true;
  Handle(core_->Exchange(now_, CallId{2}, Request(2, {Slice({0, 4})})));
  hold_store_ = false;
  ReportedSlice corrupt = Slice({6, 7});
  corrupt.digest.clear();
  EXPECT_EQ(Exchange(3, Request(3, {corrupt, corrupt, corrupt})), "PERMISSION_DENIED");
  Store(held_.at(0));
  EXPECT_EQ(core_->Find(JobId{1})->committed, 0u);
  EXPECT_EQ(ToString(core_->scheduler().Inspect(kRound).free), "[0, 8)");
}

TEST_F(CoreTest, ASliceOfARoundThatIsNotOpenIsToldSo) {
  Submit();
  Join();
  ReportedSlice slice = Slice({0, 1});
  slice.round.job = JobId{9};
  EXPECT_EQ(Exchange(1, Request(1, {slice})).substr(0, 8), "slice 4;");
}

TEST_F(CoreTest, JoiningAgainEndsTheFormerSession) {
  Submit();
  Join();
  Exchange(1, Request(1));
  Join(SessionId{12});
  EXPECT_EQ(Exchange(2, Request(2)), "NOT_FOUND");
  EXPECT_EQ(ToString(core_->scheduler().Inspect(kRound).free), "[0, 8)");
}

TEST_F(CoreTest, TheSameRequestMakesOneJob) {
  Submit();
  Submit();
  ASSERT_EQ(requests_.size(), 2u);
  EXPECT_EQ(requests_[1].job, JobId{1});
  EXPECT_EQ(core_->Jobs().size(), 1u);
}

TEST_F(CoreTest, AnUnknownWorkloadIsRefused) {
  JobSubmitted job;
  job.request_id = "request-2";
  job.workload = "bake";
  Handle(core_->Submit(now_, CallId{1}, job));
  EXPECT_EQ(requests_.at(0).status.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CoreTest, ARestartGoesOnFromTheLedger) {
  Submit();
  Join();
  Exchange(1, Request(1));
  Exchange(2, Request(2, {Slice({0, 3})}));
  core_ = MakeCore();
  Handle(core_->Recover(now_, facts_.Contents()));
  EXPECT_EQ(core_->Find(JobId{1})->committed, 3u);
  Join();
  EXPECT_EQ(Exchange(3, Request(1, {Slice({3, 8})})), "slice 0; ");
  EXPECT_EQ(core_->Find(JobId{1})->summary, PayloadOf(SumOf(0, {0, 8})));
}

TEST_F(CoreTest, AnEndedJobIsKnownAfterARestartUntilItsTimeIsOver) {
  Submit();
  Join();
  Exchange(1, Request(1, {Slice({0, 8})}));
  core_ = MakeCore();
  Handle(core_->Recover(now_, facts_.Contents()));
  const std::optional<JobView> job = core_->Find(JobId{1});
  ASSERT_TRUE(job.has_value());
  EXPECT_EQ(job->state, JobState::kDone);
  EXPECT_EQ(job->summary, PayloadOf(SumOf(0, {0, 8})));
  ASSERT_EQ(job->contributions.size(), 1u);
  EXPECT_EQ(job->contributions[0].indices, 8u);
  now_.wall += absl::Hours(24 * 31);
  core_ = MakeCore();
  Handle(core_->Recover(now_, facts_.Contents()));
  EXPECT_TRUE(core_->Jobs().empty());
  EXPECT_TRUE(facts_.Contents().jobs.empty());
}

TEST_F(CoreTest, ARetractedSliceIsComputedAgainAndTheTotalRebuilt) {
  Submit();
  Join();
  Exchange(1, Request(1));
  ReportedSlice wrong = Slice({0, 4});
  wrong.payload = PayloadOf(99);
  wrong.digest = Sha256(wrong.payload);
  Exchange(2, Request(2, {wrong}));
  Handle(core_->Retract(now_, CallId{1}, kRound, {{0, 4}}, "found wrong"));
  EXPECT_EQ(core_->Find(JobId{1})->committed, 0u);
  Exchange(3, Request(3, {Slice({0, 8})}));
  EXPECT_EQ(core_->Find(JobId{1})->summary, PayloadOf(SumOf(0, {0, 8})));
}

TEST_F(CoreTest, AFullDiskAcknowledgesNothingAndLosesNothing) {
  Submit();
  Join();
  Exchange(1, Request(1));
  hold_store_ = true;
  Exchange(2, Request(2, {Slice({0, 4})}));
  Handle(core_->Stored(now_, held_.at(0).id, absl::ResourceExhaustedError("the disk is full"), {}));
  EXPECT_EQ(Answer(CallId{2}), "RESOURCE_EXHAUSTED");
  hold_store_ = false;
  EXPECT_EQ(Exchange(3, Request(3, {Slice({0, 4})})).substr(0, 8), "slice 0;");
}

TEST_F(CoreTest, WhatCouldNotBeStoredIsNotAcknowledgedToTheSameSeqEither) {
  Submit();
  Join();
  Exchange(1, Request(1));
  hold_store_ = true;
  Exchange(2, Request(2, {Slice({0, 4})}));
  Handle(core_->Stored(now_, held_.at(0).id, absl::InternalError("the disk failed"), {}));
  EXPECT_EQ(Answer(CallId{2}), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(Exchange(3, Request(2, {Slice({0, 4})})), "parked");  // On its way to the store once more.
  hold_store_ = false;
  Store(held_.at(1));
  EXPECT_EQ(Answer(CallId{3}).substr(0, 8), "slice 0;");
  EXPECT_EQ(core_->Find(JobId{1})->committed, 4u);
}

TEST_F(CoreTest, AWorkerWhoseCallWasLostIsGivenNothingBehindItsBack) {
  Submit();
  Join();
  Exchange(1, Request(1));
  hold_store_ = true;
  Exchange(2, Request(2, {Slice({0, 4})}));
  Handle(core_->CallLost(now_, CallId{2}));
  hold_store_ = false;
  Store(held_.at(0));
  EXPECT_EQ(core_->scheduler().LeaseCount(kAnna), 0u);
  EXPECT_EQ(Exchange(3, Request(2, {Slice({0, 4})})).substr(0, 14), "slice 0; grant");
}

TEST_F(CoreTest, AJobThatHasNotEndedCannotBeDeleted) {
  Submit();
  Handle(core_->Delete(now_, CallId{1}, JobId{1}));
  EXPECT_EQ(requests_.back().status.code(), absl::StatusCode::kFailedPrecondition);
  Handle(core_->Cancel(now_, CallId{2}, JobId{1}));
  EXPECT_TRUE(requests_.back().status.ok());
  Handle(core_->Delete(now_, CallId{3}, JobId{1}));
  EXPECT_TRUE(requests_.back().status.ok());
  EXPECT_TRUE(core_->Jobs().empty());
}

TEST_F(CoreTest, ABlobIsReadByTheHolderOfALeaseOfAJobThatNamesIt) {
  Submit({"data"});
  Join();
  EXPECT_TRUE(absl::IsPermissionDenied(core_->MayRead(kAnna, TokenId{}, "data")));  // No lease.
  Exchange(1, Request(1));
  EXPECT_TRUE(core_->MayRead(kAnna, TokenId{}, "data").ok());
  EXPECT_TRUE(absl::IsPermissionDenied(core_->MayRead(kAnna, TokenId{7}, "data")));         // Another's session.
  EXPECT_TRUE(absl::IsPermissionDenied(core_->MayRead(SessionId{12}, TokenId{}, "data")));  // No session.
  EXPECT_TRUE(absl::IsPermissionDenied(core_->MayRead(kAnna, TokenId{}, "other")));
  Handle(core_->Cancel(now_, CallId{1001}, JobId{1}));
  EXPECT_TRUE(absl::IsPermissionDenied(core_->MayRead(kAnna, TokenId{}, "data")));
}

TEST_F(CoreTest, BlobsOfJobsAreNamedAfterARestartEvenIfThisBuildCannotContinueThem) {
  Submit({"data", "more"});
  facts_.Write(JobSubmitted{JobId{2}, "request-2", "of another build"});
  facts_.Write(BlobNamed{JobId{2}, "foreign"});
  core_ = MakeCore();
  Handle(core_->Recover(now_, facts_.Contents()));
  EXPECT_EQ(core_->NamedBlobs(), (std::vector<std::string>{"foreign", "data", "more"}));
}

}  // namespace
}  // namespace potluck
