// Volatile rounds by the core: slices that are counted at once, results handed over, saved states and what becomes of
// them after a crash.
#include <map>

#include "coordinator/core/core_testing.h"
#include "tests/simulation/fake_training.h"

namespace potluck {
namespace {

using simulation::BlockAt;
using simulation::BlockGradient;
using simulation::BytesOf;
using simulation::FakeTrainingPlanner;
using simulation::Floats;
using simulation::FloatsOf;
using simulation::TrainAlone;

constexpr SessionId kBert{12}, kCarl{13};
constexpr uint32_t kRounds = 3;
constexpr uint64_t kSize = 6;

class VolatileTest : public CoreTest {
 protected:
  VolatileTest() { Restart(); }

  std::unique_ptr<Core> NewCore() {
    CoreOptions options;
    options.scheduler.epoch = Epoch{++epoch_};
    options.save_interval = save_interval_;
    return std::make_unique<Core>(
        options,
        [this](const std::string&, const std::string&, const BlobReader&) {
          return Result<std::unique_ptr<Planner>>(
              std::make_unique<FakeTrainingPlanner>(kRounds, kSize, numerics_class_));
        },
        [this](std::string_view digest) -> Result<std::string> {
          const auto it = blobs_.find(std::string(digest));
          if (it == blobs_.end()) return Status::Error("the blob is damaged");
          return it->second;
        });
  }
  void Restart() {
    core_ = NewCore();
    Perform(core_->Recover(now_, facts_.Contents()));
    last_.clear();
    seq_.clear();
  }

  // Handle, and what is special here.
  void Perform(Outbox outbox) {
    std::vector<Outbox::SaveState> saves = std::move(outbox.saves);
    for (const Outbox::AppendFacts& append : outbox.appends) {
      for (const Fact& fact : append.facts) ++stored_[fact.index()];
    }
    Handle(std::move(outbox));
    for (const Outbox::SaveState& save : saves) {
      ++saves_;
      if (hold_saves_) {
        held_saves_.push_back(save);
      } else {
        Write(save);
      }
    }
  }
  void Store(const Outbox::AppendFacts& append) = delete;
  void Write(const Outbox::SaveState& save) {
    if (!save_failure_.ok()) return Perform(core_->StateWritten(now_, save.id, save_failure_));
    const std::string bytes = Concatenate(save.parts);
    const std::string digest = BlobDigest(DescribeBlob(bytes));
    blobs_[digest] = bytes;
    Perform(core_->StateWritten(now_, save.id, digest));
  }

  void Come(SessionId session, const std::string& name, const std::string& numerics_class = "class") {
    JoinRequest join;
    join.session = session;
    join.installation = join.name = name;
    join.devices.resize(1);
    join.devices[0].numerics_class = numerics_class;
    Outbox outbox;
    ASSERT_TRUE(core_->Join(now_, join, outbox).ok());
    Perform(std::move(outbox));
    seq_[session] = 0;
  }
  // One Exchange; grants and rounds are kept.
  std::string Talk(SessionId session, std::vector<ReportedSlice> slices = {}, std::vector<HeldLease> held = {}) {
    ExchangeRequest request;
    request.session = session;
    request.seq = ++seq_[session];
    request.slices = std::move(slices);
    request.report.held = std::move(held);
    request.report.free_capacity = {1};
    request.no_wait = true;
    const CallId call{++call_};
    Perform(core_->Exchange(now_, call, std::move(request)));
    for (const Outbox::ExchangeAnswer& answer : exchanges_) {
      if (answer.call != call) continue;
      for (const RoundInfo& round : answer.reply.rounds) rounds_.push_back(round);
      last_[session] = answer.reply.orders.granted;
      return Answer(call);
    }
    return "parked";
  }
  // What an honest worker finds in the open round.
  ReportedSlice Honest(Interval block, LeaseId lease) {
    const JobView view = View();
    ReportedSlice slice;
    slice.round = {JobId{1}, view.round};
    slice.interval = block;
    slice.lease = lease;
    slice.busy_seconds = static_cast<double>(block.size());
    slice.payload = BytesOf(BlockGradient(FloatsOf(view.summary), view.round, block));
    slice.digest = Sha256(slice.payload);
    return slice;
  }
  std::vector<ReportedSlice> AllOf(const Grant& grant) {
    std::vector<ReportedSlice> slices;
    for (uint64_t begin = grant.interval.begin; begin < grant.interval.end; begin = slices.back().interval.end) {
      slices.push_back(Honest(BlockAt(begin, grant.interval.end, kSize), grant.lease));
    }
    return slices;
  }
  // Computes all that the session was granted last and asks for more.
  std::string Work(SessionId session) {
    std::vector<ReportedSlice> slices;
    for (const Grant& grant : last_[session]) {
      for (ReportedSlice& slice : AllOf(grant)) slices.push_back(std::move(slice));
    }
    return Talk(session, std::move(slices));
  }
  void WorkUntilDone(SessionId session) {
    for (int i = 0; i < 100 && View().state == JobState::kRunning; ++i) Work(session);
  }
  JobView View() { return *core_->Find(JobId{1}); }
  template <typename T>
  size_t StoredFacts() {
    return stored_[Fact(T{}).index()];
  }

  uint64_t epoch_ = 0;
  absl::Duration save_interval_ = absl::Hours(1);
  std::string numerics_class_;
  std::map<std::string, std::string> blobs_;
  std::map<size_t, size_t> stored_;
  size_t saves_ = 0;
  bool hold_saves_ = false;
  absl::Status save_failure_;
  std::vector<Outbox::SaveState> held_saves_;
  std::map<SessionId, uint64_t> seq_;
  std::map<SessionId, std::vector<Grant>> last_;
  std::vector<RoundInfo> rounds_;
  uint64_t call_ = 0;
};

TEST_F(VolatileTest, AJobIsDoneWithoutASliceBeingStored) {
  Submit();
  Come(kAnna, "anna");
  Come(kBert, "bert");
  Talk(kAnna);
  Talk(kBert);
  for (int i = 0; i < 100 && View().state == JobState::kRunning; ++i) {
    Work(kAnna);
    Work(kBert);
  }
  EXPECT_EQ(View().state, JobState::kDone);
  EXPECT_EQ(View().summary, BytesOf(TrainAlone(kRounds, kSize)));
  EXPECT_EQ(StoredFacts<SliceCommitted>(), 0u);
  ASSERT_EQ(facts_.Contents().jobs.at(0).rounds.size(), 1u);  // The first.
  EXPECT_EQ(facts_.Contents().jobs.at(0).rounds.at(0).planner_state, "");
  EXPECT_EQ(StoredFacts<StateSaved>(), 1u);  // At the end.
  uint64_t indices = 0;
  for (const Contribution& one : View().contributions) indices += one.indices;
  EXPECT_EQ(indices, kRounds * kSize);
}

TEST_F(VolatileTest, TheLedgerInMemoryAnswersAsTheStoreWould) {
  Submit();
  Come(kAnna, "anna");
  Talk(kAnna);
  const LeaseId lease = last_[kAnna].at(0).lease;
  EXPECT_EQ(Talk(kAnna, {Honest({0, 2}, lease)}).substr(0, 8), "slice 0;");
  ReportedSlice other = Honest({0, 2}, lease);
  other.payload[0] ^= 1;
  other.digest = Sha256(other.payload);
  EXPECT_EQ(Talk(kAnna, {Honest({0, 2}, lease), other, Honest({0, 4}, lease), Honest({1, 2}, lease)}).substr(0, 36),
            "slice 1; slice 2; slice 3; slice 3; ");
  EXPECT_EQ(View().committed, 2u);
  EXPECT_EQ(View().disagreements, 1u);
  ReportedSlice old = Honest({2, 4}, lease);
  old.round.round = 7;
  EXPECT_EQ(Talk(kAnna, {old}).substr(0, 8), "slice 4;");
}

TEST_F(VolatileTest, ImpossibleResultsAreRefusedAndRedoneElsewhere) {
  Submit();
  Come(kAnna, "anna");
  Talk(kAnna);
  const LeaseId lease = last_[kAnna].at(0).lease;
  std::vector<ReportedSlice> wrong;
  for (int i = 0; i < 3; ++i) wrong.push_back(Honest({0, 2}, lease));
  wrong[0].payload += "x";
  wrong[1].payload = std::string(1000, 'x');
  wrong[2].payload = BytesOf({1, std::numeric_limits<float>::quiet_NaN(), 1});
  for (ReportedSlice& slice : wrong) slice.digest = Sha256(slice.payload);
  EXPECT_EQ(Talk(kAnna, wrong), "PERMISSION_DENIED");
  EXPECT_EQ(facts_.Contents().quarantined.size(), 1u);
  Come(kBert, "bert");
  Talk(kBert);
  WorkUntilDone(kBert);
  EXPECT_EQ(View().summary, BytesOf(TrainAlone(kRounds, kSize)));
}

TEST_F(VolatileTest, ARoundWithSlicesOfAWorkerFoundWrongIsComputedAgain) {
  Submit();
  Come(kAnna, "anna");
  Come(kBert, "bert");
  Talk(kAnna);
  Talk(kBert);
  const Grant berts = last_[kBert].at(0);
  Work(kBert);
  ReportedSlice wrong = Honest({0, 1}, last_[kAnna].at(0).lease);
  wrong.payload = BytesOf({1, 2, 3});
  wrong.digest = Sha256(wrong.payload);
  Talk(kAnna, {wrong});
  EXPECT_EQ(View().committed, 1 + berts.interval.size());
  ReportedSlice garbage = wrong;
  garbage.digest.clear();
  EXPECT_EQ(Talk(kAnna, {garbage, garbage, garbage}), "PERMISSION_DENIED");
  EXPECT_EQ(View().committed, 0u);
  EXPECT_EQ(View().contributions.size(), 0u);
  Talk(kBert);
  WorkUntilDone(kBert);
  EXPECT_EQ(View().summary, BytesOf(TrainAlone(kRounds, kSize)));
  ASSERT_EQ(View().contributions.size(), 1u);
  EXPECT_EQ(View().contributions[0].indices, kRounds * kSize);  // Not counted twice.
}

TEST_F(VolatileTest, VerificationIsOverBeforeTheRoundClosesAndTheLiarIsFound) {
  Submit({}, 1.0);
  Come(kAnna, "anna");
  Talk(kAnna);
  for (int i = 0; i < 10 && View().committed < kSize; ++i) {
    std::vector<ReportedSlice> slices = AllOf(last_[kAnna].at(0));
    for (ReportedSlice& slice : slices) {
      Floats floats = FloatsOf(slice.payload);
      floats[0] += 1;
      slice.payload = BytesOf(floats);
      slice.digest = Sha256(slice.payload);
    }
    Talk(kAnna, slices);
  }
  EXPECT_EQ(View().committed, kSize);
  EXPECT_EQ(View().round, 0u);
  EXPECT_EQ(
      View().waiting_for,
      "all is computed; what anna computed is yet to be verified by a second worker: let another worker join that "
      "has a device of the numerics class class");
  Come(kBert, "bert");
  Come(kCarl, "carl");
  Talk(kBert);
  Talk(kCarl);
  for (int i = 0; i < 100 && View().state == JobState::kRunning; ++i) {
    Work(kBert);
    Work(kCarl);
  }
  EXPECT_EQ(View().state, JobState::kDone);
  EXPECT_EQ(View().summary, BytesOf(TrainAlone(kRounds, kSize)));
  ASSERT_EQ(facts_.Contents().quarantined.size(), 1u);
  EXPECT_EQ(View().verified_indices, kRounds * kSize);
  EXPECT_EQ(StoredFacts<SliceVerified>(), 0u);
}

TEST_F(VolatileTest, WhatIsNotExactIsCheckedWithinItsNumericsClassOnly) {
  Submit({}, 1.0);
  Come(kAnna, "anna", "avx512");
  Talk(kAnna);
  for (int i = 0; i < 10 && View().committed < kSize; ++i) Work(kAnna);
  Come(kBert, "bert", "avx2");
  EXPECT_EQ(Talk(kBert), "");
  Come(kCarl, "carl", "avx512");
  EXPECT_NE(Talk(kCarl).find("grant"), std::string::npos);
}

TEST_F(VolatileTest, ARoundMayAskForANumericsClass) {
  numerics_class_ = "avx512";
  Submit();
  Come(kAnna, "anna", "avx2");
  EXPECT_EQ(Talk(kAnna), "");
  EXPECT_EQ(
      View().waiting_for,
      "its results must come from devices of the numerics class avx512, and no worker at the table has one: let one "
      "join");
  Come(kBert, "bert", "avx512");
  EXPECT_EQ(View().waiting_for, "");
  EXPECT_NE(Talk(kBert).find("grant"), std::string::npos);
}

TEST_F(VolatileTest, BulkIsNamedReadWhileItsRoundIsOpenAndOthersThen) {
  Submit({"data"});
  Come(kAnna, "anna");
  Talk(kAnna);
  ASSERT_EQ(rounds_.size(), 1u);
  EXPECT_EQ(rounds_[0].blobs, std::vector<std::string>{"data"});
  const std::string digest = rounds_[0].bulk.at(0);
  EXPECT_EQ(digest, BlobDigest(DescribeBlob(BytesOf(Floats{}))));
  const absl::StatusOr<Core::Readable> readable = core_->FindReadable(kAnna, TokenId{}, digest);
  ASSERT_TRUE(readable.ok());
  EXPECT_EQ(readable->bulk->bytes.view(), BytesOf(Floats{}));
  EXPECT_EQ(core_->FindReadable(kAnna, TokenId{}, "data")->bulk, nullptr);
  core_->BlobSent(kAnna, readable->job, 100);
  Work(kAnna);
  while (View().round == 0) Work(kAnna);
  EXPECT_TRUE(absl::IsPermissionDenied(core_->FindReadable(kAnna, TokenId{}, digest).status()));
  EXPECT_EQ(rounds_.back().key.round, 1u);
  EXPECT_TRUE(core_->MayRead(kAnna, TokenId{}, rounds_.back().bulk.at(0)).ok());
  EXPECT_EQ(View().contributions.at(0).bytes_received, 100u);
  EXPECT_EQ(View().contributions.at(0).bytes_sent % sizeof(Floats), 0u);
  EXPECT_GT(View().contributions.at(0).bytes_sent, 0u);
}

TEST_F(VolatileTest, AResultHandedOverIsKeptForItsSliceAndNoLongerThanItsLease) {
  Submit();
  Come(kAnna, "anna");
  Talk(kAnna);
  const Grant grant = last_[kAnna].at(0);
  ReportedSlice slice = Honest({0, 1}, grant.lease);
  const RoundKey key = slice.round;
  EXPECT_TRUE(core_->MayPut(kAnna, TokenId{}, grant.lease, key, sizeof(Floats)).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(core_->MayPut(kAnna, TokenId{}, grant.lease, key, sizeof(Floats) + 1)));
  EXPECT_TRUE(absl::IsPermissionDenied(core_->MayPut(kAnna, TokenId{7}, grant.lease, key, 1)));
  EXPECT_TRUE(absl::IsPermissionDenied(core_->MayPut(kAnna, TokenId{}, {9, 9}, key, 1)));
  EXPECT_TRUE(absl::IsPermissionDenied(core_->MayPut(kBert, TokenId{}, grant.lease, key, 1)));
  auto room = std::make_shared<int>();
  Core::HandedOver result{grant.lease, key, slice.payload, slice.digest, room};
  const std::vector<HeldLease> held = {{grant.lease, key, 0, grant.interval}};
  slice.is_put = true;
  slice.payload.clear();
  EXPECT_EQ(Talk(kAnna, {slice}, held).substr(0, 8), "slice 6;");  // It is not here yet.
  ASSERT_TRUE(core_->ResultPut(now_, kAnna, TokenId{}, result).ok());
  result.room.reset();
  EXPECT_EQ(room.use_count(), 2);
  EXPECT_EQ(Talk(kAnna, {slice}, {{grant.lease, key, 0, {1, grant.interval.end}}}).substr(0, 8), "slice 0;");
  EXPECT_EQ(room.use_count(), 1);
  EXPECT_EQ(View().committed, 1u);
  // One whose lease goes goes with it.
  result = {grant.lease, key, std::string(sizeof(Floats), 'x'), "other digest", room};
  ASSERT_TRUE(core_->ResultPut(now_, kAnna, TokenId{}, std::move(result)).ok());
  EXPECT_EQ(room.use_count(), 2);
  Talk(kAnna);  // It hands the lease back.
  EXPECT_EQ(room.use_count(), 1);
  // One that is not asked for goes, too.
  const Grant again = last_[kAnna].at(0);
  result = {again.lease, key, std::string(sizeof(Floats), 'x'), "other digest", room};
  ASSERT_TRUE(core_->ResultPut(now_, kAnna, TokenId{}, std::move(result)).ok());
  now_.monotonic += absl::Seconds(50);
  Talk(kAnna, {}, {{again.lease, key, 0, again.interval}});
  EXPECT_EQ(room.use_count(), 2);
  now_.monotonic += absl::Seconds(15);
  Talk(kAnna, {}, {{again.lease, key, 0, again.interval}});
  EXPECT_EQ(room.use_count(), 1);
}

TEST_F(VolatileTest, AStateIsSavedBeforeARoundOpensOnceTheIntervalIsOver) {
  save_interval_ = absl::Seconds(30);
  Restart();
  Submit();
  Come(kAnna, "anna");
  Talk(kAnna);
  hold_saves_ = true;
  while (View().round == 0) Work(kAnna);
  EXPECT_EQ(saves_, 0u);
  now_.monotonic += absl::Seconds(31);
  while (saves_ == 0) Work(kAnna);
  EXPECT_EQ(Talk(kAnna), "");  // No round is open.
  hold_saves_ = false;
  Write(held_saves_.at(0));
  EXPECT_EQ(View().round, 2u);
  EXPECT_EQ(View().saved_round, 2u);
  EXPECT_EQ(core_->NamedBlobs(), std::vector<std::string>{View().saved_state});
  Talk(kAnna);
  WorkUntilDone(kAnna);
  EXPECT_EQ(View().summary, BytesOf(TrainAlone(kRounds, kSize)));
  EXPECT_EQ(View().saved_round, kRounds);
  EXPECT_EQ(blobs_.at(View().saved_state), "3 " + BytesOf(TrainAlone(kRounds, kSize)));
  EXPECT_EQ(core_->NamedBlobs().size(), 2u);
}

TEST_F(VolatileTest, AStateThatCannotBeSavedStopsNothingButTheEndSaysSo) {
  save_interval_ = absl::ZeroDuration();
  save_failure_ = absl::ResourceExhaustedError("the disk is full");
  Restart();
  Submit();
  Come(kAnna, "anna");
  Talk(kAnna);
  for (int i = 0; i < 100; ++i) Work(kAnna);
  EXPECT_EQ(View().message, "its state could not be saved and is tried again later: the disk is full");
  EXPECT_EQ(View().state, JobState::kRunning);
  for (int i = 0; i < 3; ++i) {
    now_.monotonic += absl::Seconds(5);
    Perform(core_->Tick(now_));
  }
  EXPECT_EQ(View().state, JobState::kFailed);  // What it came to is lost.
  EXPECT_EQ(View().message,
            "its state could not be saved and is tried again later: the disk is full; the final state could not be "
            "saved: the disk is full");
  EXPECT_EQ(View().summary, BytesOf(TrainAlone(kRounds, kSize)));
}

TEST_F(VolatileTest, AfterACrashItGoesOnFromTheNewestStateThatCanBeRead) {
  save_interval_ = absl::ZeroDuration();
  Restart();
  Submit();
  Come(kAnna, "anna");
  Talk(kAnna);
  while (View().round < 2) Work(kAnna);
  Talk(kAnna);
  const LeaseId old_lease = last_[kAnna].at(0).lease;
  const ReportedSlice late = Honest({0, 1}, old_lease);
  Restart();
  EXPECT_EQ(View().round, 2u);
  ASSERT_EQ(View().contributions.size(), 1u);
  EXPECT_EQ(View().contributions[0].indices, 2 * kSize);
  // Results and leases of before the crash are of no use; what the worker knows of the round is not, either.
  Come(kAnna, "anna");
  rounds_.clear();
  ExchangeRequest request;
  request.session = kAnna;
  request.seq = ++seq_[kAnna];
  request.slices = {late};
  request.report.held = {{old_lease, late.round, 0, {1, 2}}};
  request.report.free_capacity = {1};
  request.known_rounds = {late.round};
  Perform(core_->Exchange(now_, CallId{1}, request));
  const ExchangeReply reply = exchanges_.back().reply;
  EXPECT_EQ(reply.answers.at(0).verdict, SliceVerdict::kClosed);
  EXPECT_EQ(reply.orders.revoked, std::vector<LeaseId>{old_lease});
  EXPECT_EQ(reply.rounds.size(), 1u);
  // The newest one is damaged: from the one before.
  blobs_.erase(View().saved_state);
  Restart();
  EXPECT_EQ(View().round, 1u);
  EXPECT_NE(log_.back().find("its state saved at the opening of round 2 cannot be used: the blob is damaged"),
            std::string::npos);
  // Both are.
  blobs_.clear();
  Restart();
  EXPECT_EQ(View().round, 0u);
  EXPECT_EQ(View().message, "none of its saved states could be read: it was begun anew");
  Come(kAnna, "anna");
  Talk(kAnna);
  WorkUntilDone(kAnna);
  EXPECT_EQ(View().summary, BytesOf(TrainAlone(kRounds, kSize)));
  // It has ended, and its states stay.
  const std::string state = View().saved_state;
  Restart();
  EXPECT_EQ(View().state, JobState::kDone);
  EXPECT_EQ(View().saved_state, state);
  EXPECT_TRUE(core_->IsNamed(JobId{1}, state).ok());
}

TEST_F(VolatileTest, ACrashBetweenTheFinalStateAndTheEndIsMadeUpFor) {
  Submit();
  Come(kAnna, "anna");
  Talk(kAnna);
  hold_saves_ = true;
  for (int i = 0; i < 100 && saves_ == 0; ++i) Work(kAnna);
  const std::string bytes = Concatenate(held_saves_.at(0).parts);
  const std::string digest = BlobDigest(DescribeBlob(bytes));
  blobs_[digest] = bytes;
  facts_.Write(StateSaved{{JobId{1}, kRounds}, digest, "", now_.wall});
  Restart();
  EXPECT_EQ(View().state, JobState::kDone);
  EXPECT_EQ(View().summary, BytesOf(TrainAlone(kRounds, kSize)));
}

TEST_F(VolatileTest, ACancelledJobKeepsItsState) {
  Submit();
  Come(kAnna, "anna");
  Talk(kAnna);
  while (View().round == 0) Work(kAnna);
  Perform(core_->Cancel(now_, CallId{77}, JobId{1}));
  EXPECT_EQ(View().state, JobState::kCancelled);
  EXPECT_EQ(View().saved_round, 1u);
  EXPECT_TRUE(blobs_.contains(View().saved_state));
  Perform(core_->Delete(now_, CallId{78}, JobId{1}));
  EXPECT_TRUE(core_->NamedBlobs().empty());
}

}  // namespace
}  // namespace potluck
