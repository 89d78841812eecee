// Verification by the core: checks, third runs, known-answer units, quarantine and pardon.
#include <map>

#include "coordinator/core/core_testing.h"

namespace potluck {
namespace {

using simulation::PayloadOf;
using simulation::SumOf;

constexpr SessionId kBert{12}, kCarl{13};
const char* const kNames[] = {"anna", "bert", "carl"};

std::string NameOf(SessionId session) { return kNames[static_cast<size_t>(session) - static_cast<size_t>(kAnna)]; }

class VerificationTest : public CoreTest {
 protected:
  void Come(SessionId session) { Join(session, NameOf(session)); }

  // One Exchange of a worker that holds nothing more and wants one lease: "slice V; ... grant [a, b); ...".
  std::string Talk(SessionId session, std::vector<ReportedSlice> slices = {}, std::vector<HeldLease> held = {},
                   uint32_t capacity = 1) {
    ExchangeRequest request = Request(++seq_[session], std::move(slices), std::move(held));
    request.session = session;
    request.no_wait = true;
    request.report.free_capacity = {capacity};
    const uint64_t call = ++call_;
    const std::string text = Exchange(call, std::move(request));
    for (const Outbox::ExchangeAnswer& answer : exchanges_) {
      if (answer.call != CallId{call}) continue;
      for (const Grant& grant : answer.reply.orders.granted) last_grant_[session] = grant;
    }
    return text.substr(0, text.find("round "));
  }
  // The lease that the session was given last.
  const Grant& Given(SessionId session) { return last_grant_.at(session); }
  ReportedSlice Result(SessionId session, Interval interval, uint64_t error = 0) {
    ReportedSlice slice = Slice(interval, Given(session).lease);
    slice.payload = PayloadOf(SumOf(0, interval) + error);
    slice.digest = Sha256(slice.payload);
    return slice;
  }
  // Reports all of the lease given last.
  std::string Finish(SessionId session, uint64_t error = 0) {
    return Talk(session, {Result(session, Given(session).interval, error)}, {}, 0);
  }
  // Anna computes all eight indices, with this error in each slice.
  void AnnaComputesAll(uint64_t error = 0) {
    Come(kAnna);
    while (Talk(kAnna).find("grant") != std::string::npos) Finish(kAnna, error);
    EXPECT_EQ(View().committed, 8u);
  }
  JobView View() { return *core_->Find(JobId{1}); }
  void Restart() {
    core_ = MakeCore();
    Handle(core_->Recover(now_, facts_.Contents()));
    seq_.clear();
  }
  std::string Quarantined() {
    std::string text;
    for (const WorkerView& worker : core_->Workers(now_)) {
      if (!worker.quarantined.empty()) absl::StrAppend(&text, worker.name, ": ", worker.quarantined);
    }
    return text;
  }

  std::map<SessionId, uint64_t> seq_;
  std::map<SessionId, Grant> last_grant_;
  uint64_t call_ = 5000;
};

TEST_F(VerificationTest, AJobEndsWhenAnotherWorkerHasFoundTheSame) {
  Submit({}, 1);
  AnnaComputesAll();
  EXPECT_EQ(View().state, JobState::kRunning);
  EXPECT_EQ(View().waiting_for,
            "all is computed; what anna computed is yet to be verified by a second worker: let another worker join");
  Come(kBert);
  EXPECT_EQ(View().waiting_for, "all is computed; the last slices are being verified by a second worker");
  EXPECT_EQ(Talk(kBert), "grant [0, 4); ");
  EXPECT_EQ(View().verified_slices, 0u);
  EXPECT_EQ(Finish(kBert), "slice 0; ");
  EXPECT_EQ(View().verified_slices, 1u);
  EXPECT_EQ(View().verified_indices, 4u);
  EXPECT_EQ(View().state, JobState::kRunning);
  while (Talk(kBert).find("grant") != std::string::npos) Finish(kBert);
  const JobView job = View();
  EXPECT_EQ(job.state, JobState::kDone);
  EXPECT_EQ(job.verified_indices, 8u);
  EXPECT_EQ(job.verified_cost, 8);
  EXPECT_EQ(job.disagreements, 0u);
  EXPECT_EQ(job.message, "");
  EXPECT_EQ(job.waiting_for, "");
  EXPECT_EQ(job.summary, PayloadOf(SumOf(0, {0, 8})));
  ASSERT_EQ(job.contributions.size(), 1u);  // What is computed a second time does not count.
  Restart();
  EXPECT_EQ(View().verified_slices, job.verified_slices);
  EXPECT_EQ(View().verified_indices, 8u);
  EXPECT_EQ(View().contributions.size(), 1u);
}

TEST_F(VerificationTest, WithoutItNothingIsChecked) {
  Submit();
  AnnaComputesAll();
  EXPECT_EQ(View().state, JobState::kDone);
  EXPECT_EQ(View().verified_slices, 0u);
}

TEST_F(VerificationTest, ChecksGoBeforeNewWork) {
  Submit({}, 1);
  Come(kAnna);
  Come(kBert);
  EXPECT_EQ(Talk(kAnna), "grant [0, 4); ");
  EXPECT_EQ(Finish(kAnna), "slice 0; ");
  EXPECT_EQ(Talk(kAnna), "grant [4, 6); ");
  EXPECT_EQ(Talk(kBert), "grant [0, 4); ");
}

TEST_F(VerificationTest, AResultIsComparedHoweverItIsCut) {
  Submit({}, 1);
  AnnaComputesAll();
  Come(kBert);
  EXPECT_EQ(Talk(kBert), "grant [0, 4); ");
  const LeaseId lease = Given(kBert).lease;
  EXPECT_EQ(Talk(kBert, {Result(kBert, {0, 1})}, {{lease, kRound, 0, {1, 4}}}, 0), "slice 0; ");
  // Sent twice, and overlapping: neither confuses it.
  EXPECT_EQ(Talk(kBert, {Result(kBert, {0, 1}), Result(kBert, {0, 2})}, {{lease, kRound, 0, {1, 4}}}, 0),
            "slice 1; slice 3; ");
  EXPECT_EQ(Talk(kBert, {Result(kBert, {1, 3}), Result(kBert, {3, 4})}, {}, 0), "slice 0; slice 0; ");
  EXPECT_EQ(View().verified_indices, 4u);
  EXPECT_EQ(View().disagreements, 0u);
}

TEST_F(VerificationTest, AnotherDeviceOrCodePathIsPreferredAndNamed) {
  device_.numerics_class = "cpu/avx512";
  device_.implementations = {"avx512", "scalar"};
  Submit({}, 1);
  AnnaComputesAll();
  EXPECT_EQ(Given(kAnna).implementation, "avx512");
  Come(kBert);
  Talk(kBert);
  EXPECT_EQ(Given(kBert).implementation, "scalar");
  Finish(kBert);
  std::string implementation;
  facts_.ForEachVerification(kRound, [&](const SliceVerified& verified) { implementation = verified.implementation; });
  EXPECT_EQ(implementation, "scalar");
  device_ = {};
  device_.numerics_class = "cuda/sm_90";
  device_.implementations = {"cuda"};
  Come(kCarl);
  Talk(kCarl);
  EXPECT_EQ(Given(kCarl).implementation, "cuda");
}

TEST_F(VerificationTest, TheMajorityDecidesAgainstTheFirstWorkerWhoseSlicesAreDoneAgain) {
  Submit({}, 1);
  AnnaComputesAll(/*error=*/7);
  Come(kBert);
  Talk(kBert);
  Finish(kBert);
  EXPECT_EQ(View().disagreements, 1u);
  EXPECT_EQ(View().message,
            "workers anna and bert disagree about [0, 4) of job 1: no third worker is at the table to decide, so this "
            "waits for one");
  EXPECT_EQ(View().waiting_for,
            "workers anna and bert disagree, and a third one must decide who is right: let another worker join");
  EXPECT_EQ(log_.back(), View().message);
  Come(kCarl);
  EXPECT_EQ(Talk(kCarl), "grant [0, 4); ");
  EXPECT_EQ(Finish(kCarl), "slice 0; ");
  EXPECT_EQ(Quarantined(), "anna: its result for [0, 4) of job 1 differs from that of bert and carl, who agree");
  EXPECT_EQ(View().committed, 0u);
  EXPECT_EQ(Talk(kAnna), "NOT_FOUND");
  while (Talk(kBert).find("grant") != std::string::npos) Finish(kBert);
  while (Talk(kCarl).find("grant") != std::string::npos) Finish(kCarl);
  EXPECT_EQ(View().state, JobState::kDone);
  EXPECT_EQ(View().summary, PayloadOf(SumOf(0, {0, 8})));
  EXPECT_EQ(View().message.substr(0, 49), "workers anna and bert disagree about [0, 4) of jo");
  EXPECT_NE(View().message.find("worker anna was found wrong"), std::string::npos);
}

TEST_F(VerificationTest, TheMajorityDecidesAgainstTheSecondWorkerAndTheSliceStays) {
  Submit({}, 1);
  AnnaComputesAll();
  Come(kBert);
  Talk(kBert);
  Come(kCarl);
  Finish(kBert, /*error=*/7);
  EXPECT_EQ(View().message, "workers anna and bert disagree about [0, 4) of job 1: a third worker decides");
  EXPECT_EQ(Talk(kBert).substr(0, 12), "grant [4, 6)");  // Not the one about itself.
  EXPECT_EQ(Talk(kCarl), "grant [0, 4); ");
  Finish(kCarl);
  EXPECT_EQ(Quarantined(), "bert: its result for [0, 4) of job 1 differs from that of anna and carl, who agree");
  EXPECT_EQ(View().committed, 8u);
  EXPECT_EQ(View().verified_indices, 4u);
  while (Talk(kCarl).find("grant") != std::string::npos) Finish(kCarl);
  EXPECT_EQ(View().state, JobState::kDone);
  facts_.ForEachVerification(kRound, [](const SliceVerified& verified) { EXPECT_NE(verified.second, WorkerId{2}); });
}

TEST_F(VerificationTest, WhereAllThreeDifferTheSliceIsComputedAnewAndCheckedAgain) {
  Submit({}, 1);
  AnnaComputesAll(/*error=*/1);
  Come(kBert);
  Come(kCarl);
  Talk(kBert);
  Finish(kBert, 2);
  Talk(kCarl);
  Finish(kCarl, 3);
  EXPECT_EQ(Quarantined(), "");
  EXPECT_EQ(View().message,
            "workers anna, bert and carl disagree about [0, 4) of job 1, each with another result: it is computed "
            "anew");
  EXPECT_EQ(ToString(core_->scheduler().Inspect(kRound).free), "[0, 4)");
  EXPECT_EQ(View().state, JobState::kRunning);
}

TEST_F(VerificationTest, ASliceThatALateWorkerContestsIsCheckedAlthoughItWasNotDrawn) {
  Submit({}, 1e-9);
  Come(kAnna);
  Come(kBert);
  Talk(kAnna);
  now_.monotonic += absl::Seconds(60);
  Handle(core_->Tick(now_));
  EXPECT_EQ(Talk(kBert), "grant [0, 4); ");
  Finish(kBert, /*error=*/9);  // Counted, and not drawn.
  EXPECT_FALSE(core_->scheduler().HasChecks(kRound));
  EXPECT_EQ(Finish(kAnna), "slice 2; ");
  EXPECT_EQ(View().disagreements, 1u);
  EXPECT_EQ(Talk(kBert).substr(0, 8), "grant [4");
  EXPECT_EQ(Talk(kAnna), "grant [0, 4); ");
  Finish(kAnna);
  Come(kCarl);
  EXPECT_EQ(Talk(kCarl), "grant [0, 4); ");
  Finish(kCarl);
  EXPECT_EQ(Quarantined(), "bert: its result for [0, 4) of job 1 differs from that of anna and carl, who agree");
}

TEST_F(VerificationTest, ALostCheckIsRunFromItsBeginByAnother) {
  Submit({}, 1);
  AnnaComputesAll();
  Come(kBert);
  Talk(kBert);
  Talk(kBert, {Result(kBert, {0, 2}, /*error=*/5)}, {{Given(kBert).lease, kRound, 0, {2, 4}}}, 0);
  now_.monotonic += absl::Seconds(60);
  Handle(core_->Tick(now_));
  Come(kCarl);
  EXPECT_EQ(Talk(kCarl), "grant [0, 4); ");
  EXPECT_EQ(Finish(kCarl), "slice 0; ");
  EXPECT_EQ(View().verified_indices, 4u);
  EXPECT_EQ(View().disagreements, 0u);
  EXPECT_EQ(Quarantined(), "");
}

TEST_F(VerificationTest, ACheckOfWhichAPartIsHandedBackStartsAnew) {
  Submit({}, 1);
  AnnaComputesAll();
  Come(kBert);
  Talk(kBert);
  const LeaseId lease = Given(kBert).lease;
  Talk(kBert, {Result(kBert, {0, 2})}, {{lease, kRound, 0, {2, 3}}}, 0);
  const RoundState state = core_->scheduler().Inspect(kRound);
  ASSERT_FALSE(state.checks.empty());
  EXPECT_FALSE(state.checks[0].session.has_value());
  EXPECT_EQ(Talk(kBert), "grant [0, 4); ");
}

TEST_F(VerificationTest, ARestartGoesOnWithWhatIsNotVerifiedYet) {
  Submit({}, 1);
  AnnaComputesAll();
  Come(kBert);
  Talk(kBert);
  Finish(kBert);
  Talk(kBert);  // The next one is in flight.
  Restart();
  EXPECT_EQ(View().verified_indices, 4u);
  EXPECT_EQ(View().state, JobState::kRunning);
  Come(kAnna);
  EXPECT_EQ(Talk(kAnna), "");
  Come(kBert);
  EXPECT_EQ(Talk(kBert).substr(0, 9), "grant [4,");
  Finish(kBert);
  while (Talk(kBert).find("grant") != std::string::npos) Finish(kBert);
  EXPECT_EQ(View().state, JobState::kDone);
  EXPECT_EQ(View().verified_indices, 8u);
}

TEST_F(VerificationTest, AJobWaitsForTheStoreToTakeWhatWasFound) {
  Submit({}, 1);
  AnnaComputesAll();
  Come(kBert);
  while (View().verified_indices < 6 && Talk(kBert).find("grant") != std::string::npos) Finish(kBert);
  for (;;) {
    Talk(kBert);
    hold_store_ = Given(kBert).interval.end == 8;
    held_.clear();
    Finish(kBert);
    if (hold_store_) break;
  }
  ASSERT_FALSE(held_.empty());
  Handle(core_->Stored(now_, held_.back().id, absl::ResourceExhaustedError("the disk is full"), {}));
  EXPECT_EQ(View().state, JobState::kRunning);
  hold_store_ = false;
  now_.monotonic += absl::Seconds(5);
  Handle(core_->Tick(now_));
  EXPECT_EQ(View().state, JobState::kDone);
}

TEST_F(VerificationTest, AWrongKnownAnswerQuarantinesAtOnce) {
  known_answers_ = 1;
  Submit();
  Come(kAnna);
  EXPECT_EQ(Talk(kAnna, {}, {}, 2), "grant [0, 1); grant [0, 4); ");  // The first one is not of the job's own work.
  const std::vector<Grant> granted = exchanges_.back().reply.orders.granted;
  ReportedSlice wrong = Slice({0, 1}, granted.at(0).lease);
  wrong.payload = PayloadOf(1);
  wrong.digest = Sha256(wrong.payload);
  EXPECT_EQ(Talk(kAnna, {wrong, Slice({0, 4}, granted.at(1).lease)}), "PERMISSION_DENIED");
  EXPECT_EQ(Quarantined(),
            "anna: its result for [0, 1) of job 1 is not the known one, which the coordinator counted itself");
  EXPECT_EQ(View().committed, 0u);
  EXPECT_EQ(ToString(core_->scheduler().Inspect(kRound).free), "[0, 8)");
}

TEST_F(VerificationTest, ARightKnownAnswerDoesNotCount) {
  known_answers_ = 1;
  Submit();
  Come(kAnna);
  EXPECT_EQ(Talk(kAnna), "grant [0, 1); ");
  EXPECT_EQ(Finish(kAnna), "slice 0; ");
  EXPECT_EQ(View().committed, 0u);
  EXPECT_EQ(Talk(kAnna), "grant [0, 4); ");
  Finish(kAnna);
  while (Talk(kAnna).find("grant") != std::string::npos) Finish(kAnna);
  EXPECT_EQ(View().state, JobState::kDone);
  EXPECT_EQ(View().summary, PayloadOf(SumOf(0, {0, 8})));
}

TEST_F(VerificationTest, AQuarantineLastsOverARestartUntilItIsPardoned) {
  known_answers_ = 1;
  Submit();
  Come(kAnna);
  Talk(kAnna);
  Finish(kAnna, 1);
  const auto join = [this] {
    JoinRequest request;
    request.session = SessionId{99};
    request.installation = request.name = "anna";
    request.devices.resize(1);
    Outbox outbox;
    const absl::Status joined = core_->Join(now_, request, outbox);
    Handle(std::move(outbox));
    return std::string(joined.message());
  };
  const std::string refusal =
      "worker anna is quarantined: its result for [0, 1) of job 1 is not the known one, which the coordinator counted "
      "itself; check that machine's memory and GPU, then let it in again with `potluck workers pardon`";
  EXPECT_EQ(join(), refusal);
  Restart();
  EXPECT_EQ(join(), refusal);
  Handle(core_->Pardon(now_, CallId{1}, "bert"));
  EXPECT_TRUE(absl::IsNotFound(requests_.back().status));
  Handle(core_->Pardon(now_, CallId{2}, "anna"));
  EXPECT_TRUE(requests_.back().status.ok());
  EXPECT_EQ(Quarantined(), "");
  EXPECT_EQ(join(), "");
  Restart();
  EXPECT_EQ(join(), "");
}

TEST_F(VerificationTest, SlicesThatACrashKeptFromBeingRetractedAreRetractedAtTheStart) {
  Submit();
  Come(kAnna);
  Talk(kAnna);
  Finish(kAnna);
  EXPECT_EQ(View().committed, 4u);
  facts_.Write(WorkerQuarantined{WorkerId{1}, "found wrong", now_.wall});  // And then it crashed.
  Restart();
  EXPECT_EQ(View().committed, 0u);
  EXPECT_EQ(ToString(core_->scheduler().Inspect(kRound).free), "[0, 8)");
}

TEST_F(VerificationTest, ACancelledJobHasNoChecks) {
  Submit({}, 1);
  AnnaComputesAll();
  Come(kBert);
  Talk(kBert);
  Handle(core_->Cancel(now_, CallId{1}, JobId{1}));
  EXPECT_EQ(View().state, JobState::kCancelled);
  EXPECT_EQ(Finish(kBert), "slice 4; ");
  EXPECT_EQ(Talk(kBert), "");
}

TEST(JudgeTest, TwoAgreeOrAThirdDecides) {
  const CheckRun right{WorkerId{1}, {}, "right"}, wrong{WorkerId{2}, {}, "wrong"}, odd{WorkerId{3}, {}, "odd"};
  EXPECT_EQ(Judge({right}), Finding::kNeedsAnotherRun);
  EXPECT_EQ(Judge({right, right}), Finding::kAgreed);
  EXPECT_EQ(Judge({right, wrong}), Finding::kNeedsAnotherRun);
  EXPECT_EQ(Judge({right, wrong, right}), Finding::kSecondWrong);
  EXPECT_EQ(Judge({wrong, right, right}), Finding::kFirstWrong);
  EXPECT_EQ(Judge({wrong, right, odd}), Finding::kAllDiffer);
}

TEST(IsDrawnTest, DrawsTheShareThatIsWantedAndAlwaysTheSame) {
  for (const double share : {0.0, 0.01, 0.1, 0.5, 1.0}) {
    int drawn = 0;
    for (uint64_t i = 0; i < 20000; ++i) {
      const Interval interval{7 * i, 7 * i + 7};
      drawn += IsDrawn(share, "request", 0, interval);
      EXPECT_EQ(IsDrawn(share, "request", 0, interval), IsDrawn(share, "request", 0, interval));
    }
    EXPECT_NEAR(drawn / 20000.0, share, 0.01) << share;
  }
  int same = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    same += IsDrawn(0.5, "one secret", 0, {i, i + 1}) == IsDrawn(0.5, "another secret", 0, {i, i + 1});
  }
  EXPECT_NEAR(same, 500, 60);
}

}  // namespace
}  // namespace potluck
