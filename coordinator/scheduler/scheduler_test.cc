// The scheduler by itself, with a fake clock. Orders are compared as one readable string, so that nothing else was
// sent.
#include "coordinator/scheduler/scheduler.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/simulation/fake_training.h"
#include "tests/simulation/fake_workload.h"

namespace potluck {
namespace {

using simulation::FakePlan;

const RoundKey kRound{JobId{1}, 0};
const SessionId kAnna{1}, kBert{2};

std::string ToString(const Orders& orders) {
  std::string text;
  for (const Grant& grant : orders.granted) {
    absl::StrAppend(&text, "grant ", ToString(grant.lease), " slot ", grant.slot, " ", ToString(grant.interval), "; ");
  }
  for (const Shrink& shrink : orders.shrunk)
    absl::StrAppend(&text, "shrink ", ToString(shrink.lease), " to ", shrink.end, "; ");
  for (const LeaseId lease : orders.revoked) absl::StrAppend(&text, "revoke ", ToString(lease), "; ");
  return text;
}

class SchedulerTest : public testing::Test {
 protected:
  SchedulerTest() : scheduler_(Options()) {}

  static SchedulerOptions Options() {
    SchedulerOptions options;
    options.epoch = Epoch{7};
    options.lease_time = absl::Seconds(60);
    options.disconnect_grace = absl::Seconds(5);
    options.min_unit = absl::Seconds(1);
    return options;
  }
  void Open(uint64_t size, IntervalSet committed = {}, RoundKey key = kRound, JobShare share = {}) {
    scheduler_.OpenRound(key, std::make_shared<FakePlan>(size), std::move(committed), share);
  }
  void Join(SessionId session, absl::Time ends_at = absl::InfiniteFuture(), std::vector<SlotInfo> slots = {{}}) {
    // A worker has the number of its session.
    scheduler_.AddSession(now_, session, {WorkerId{static_cast<uint64_t>(session)}, std::move(slots), ends_at});
  }
  static WorkerReport Holding(std::vector<HeldLease> held, uint32_t free = 0) {
    WorkerReport report;
    report.held = std::move(held);
    report.free_capacity = {free};
    return report;
  }
  static WorkerReport Idle(uint32_t free = 1) { return Holding({}, free); }
  std::string Exchange(SessionId session, const WorkerReport& report) {
    return ToString(scheduler_.Exchange(now_, session, report));
  }
  std::string Free(RoundKey key = kRound) { return ToString(scheduler_.Inspect(key).free); }
  // The session reports [begin, end) of its lease; the store takes it.
  void Commit(SessionId session, LeaseId lease, Interval interval, double seconds = 1) {
    ASSERT_EQ(scheduler_.Accept(kRound, interval, lease), Acceptance::kStore);
    scheduler_.Committed(session, 0, kRound, interval, seconds);
  }

  absl::Time now_ = absl::FromUnixSeconds(1000);
  Scheduler scheduler_;
};

TEST_F(SchedulerTest, AnUnknownWorkerGetsOneProbe) {
  Open(100);
  Join(kAnna);
  EXPECT_EQ(Exchange(kAnna, Idle(2)), "grant 7.1 slot 0 [0, 4); ");
  EXPECT_EQ(Free(), "[4, 100)");
}

TEST_F(SchedulerTest, AMeasuredWorkerGetsHalfOfItsShareOfTheRest) {
  Open(1000);
  Join(kAnna);
  Exchange(kAnna, Idle());
  Commit(kAnna, {7, 1}, {0, 4}, 0.4);  // 10 a second: the rest of 996 takes 99.6 s, half of it is more than 20 s.
  EXPECT_EQ(Exchange(kAnna, Idle()), "grant 7.2 slot 0 [4, 204); ");
}

TEST_F(SchedulerTest, UnitsFitIntoWhatIsLeftOfTheSession) {
  Open(1000);
  Join(kAnna, now_ + absl::Seconds(10));
  Exchange(kAnna, Idle());
  Commit(kAnna, {7, 1}, {0, 4}, 0.4);
  EXPECT_EQ(Exchange(kAnna, Idle()), "grant 7.2 slot 0 [4, 84); ");
  now_ += absl::Seconds(9.5);
  EXPECT_EQ(Exchange(kAnna, Idle()), "");
}

TEST_F(SchedulerTest, ExpiredLeaseIsGrantedAgain) {
  Open(4);
  Join(kAnna);
  Join(kBert);
  EXPECT_EQ(Exchange(kAnna, Idle()), "grant 7.1 slot 0 [0, 4); ");
  now_ += absl::Seconds(59);
  EXPECT_EQ(Exchange(kBert, Idle()), "");
  now_ += absl::Seconds(1);
  scheduler_.Tick(now_);
  EXPECT_EQ(scheduler_.TakeWakeups(), std::vector<SessionId>{kBert});
  EXPECT_EQ(ToString(scheduler_.Poll(now_, kBert)), "grant 7.2 slot 0 [0, 4); ");
}

TEST_F(SchedulerTest, ABrokenConnectionExpiresSooner) {
  Open(4);
  Join(kAnna);
  Exchange(kAnna, Idle());
  scheduler_.Disconnected(now_, kAnna);
  EXPECT_EQ(scheduler_.NextDeadline(), now_ + absl::Seconds(5));
  scheduler_.Tick(now_ + absl::Seconds(5));
  EXPECT_EQ(Free(), "[0, 4)");
}

TEST_F(SchedulerTest, ALeaseThatIsNotListedAnyMoreIsFree) {
  Open(4);
  Join(kAnna);
  Exchange(kAnna, Idle());
  WorkerReport leaving = Idle(0);
  leaving.draining = true;
  EXPECT_EQ(Exchange(kAnna, leaving), "");
  EXPECT_EQ(Free(), "[0, 4)");
}

TEST_F(SchedulerTest, AWorkerThatWasSilentGoesOnIfNobodyTookItsWork) {
  Open(4);
  Join(kAnna);
  Exchange(kAnna, Idle());
  scheduler_.Tick(now_ + absl::Seconds(60));
  EXPECT_EQ(Exchange(kAnna, Holding({{{7, 1}, kRound, 0, {1, 4}}})), "");
  EXPECT_EQ(Free(), "[0, 1)");
}

TEST_F(SchedulerTest, ALeaseOfAnEarlierEpochIsAdopted) {
  Open(10, {{0, 2}});
  Join(kAnna);
  EXPECT_EQ(Exchange(kAnna, Holding({{{3, 9}, kRound, 0, {2, 5}}})), "");
  EXPECT_EQ(Free(), "[5, 10)");
}

TEST_F(SchedulerTest, AnAdoptedLeaseMayBearAnIdThatIsYetToBeGiven) {
  Open(10);
  Join(kAnna);
  Join(kBert);
  EXPECT_EQ(Exchange(kAnna, Holding({{{7, 1}, kRound, 0, {0, 2}}})), "");
  EXPECT_EQ(Exchange(kBert, Idle()), "grant 7.2 slot 0 [2, 6); ");
  EXPECT_EQ(scheduler_.Inspect(kRound).leases.size(), 2u);
}

TEST_F(SchedulerTest, AJobThatWasPausedDoesNotCatchUpAtTheCostOfOthers) {
  const RoundKey other{JobId{2}, 0};
  Open(1000);
  Open(1000, {}, other);
  scheduler_.SetShare(kRound.job, {true, 0, 1});
  Join(kAnna);
  std::map<RoundKey, int> units;
  const auto compute = [&](int count) {
    for (int i = 0; i < count; ++i) {
      const Orders orders = scheduler_.Exchange(now_, kAnna, Idle());
      ASSERT_EQ(orders.granted.size(), 1u);
      const Grant& grant = orders.granted[0];
      ++units[grant.round];
      scheduler_.Accept(grant.round, grant.interval, grant.lease);
      scheduler_.Committed(kAnna, 0, grant.round, grant.interval, 10.0 * static_cast<double>(grant.interval.size()));
    }
  };
  compute(20);
  EXPECT_EQ(units[kRound], 0);
  scheduler_.SetShare(kRound.job, {false, 0, 1});
  units.clear();
  compute(20);
  EXPECT_NEAR(units[kRound], units[other], 4);
}

TEST_F(SchedulerTest, ALeaseWhoseWorkIsTakenIsRevoked) {
  Open(10, {{0, 5}});
  Join(kAnna);
  EXPECT_EQ(Exchange(kAnna, Holding({{{3, 9}, kRound, 0, {2, 6}}})), "revoke 3.9; ");
  EXPECT_EQ(Free(), "[5, 10)");
}

TEST_F(SchedulerTest, ALateSliceIsCutOutOfTheNewLease) {
  Open(4);
  Join(kAnna);
  Join(kBert);
  Exchange(kAnna, Idle());
  now_ += absl::Seconds(60);
  scheduler_.Tick(now_);
  EXPECT_EQ(Exchange(kBert, Idle()), "grant 7.2 slot 0 [0, 4); ");
  Commit(kAnna, {7, 1}, {2, 3});
  const RoundState state = scheduler_.Inspect(kRound);
  ASSERT_EQ(state.leases.size(), 1u);
  EXPECT_EQ(ToString(state.leases[0].rest), "[0, 2) [3, 4)");
  EXPECT_EQ(ToString(scheduler_.Poll(now_, kBert)), "shrink 7.2 to 2; ");
}

TEST_F(SchedulerTest, ATailIsGivenAwayOnlyAfterItsWorkerAgreed) {
  Open(84);
  Join(kAnna);
  Exchange(kAnna, Idle());
  Commit(kAnna, {7, 1}, {0, 4}, 0.4);  // 10 a second.
  EXPECT_EQ(Exchange(kAnna, Idle()), "grant 7.2 slot 0 [4, 44); ");
  ASSERT_EQ(scheduler_.Accept(kRound, {44, 84}, {}), Acceptance::kStore);  // Somebody's, on its way to the store.
  Join(kBert);
  EXPECT_EQ(Exchange(kBert, Idle()), "");  // Nothing is free: the tail of Anna's lease is asked for.
  EXPECT_EQ(ToString(scheduler_.Poll(now_, kAnna)), "shrink 7.2 to 24; ");
  EXPECT_EQ(ToString(scheduler_.Poll(now_, kBert)), "");
  HeldLease held{{7, 2}, kRound, 0, {4, 30}};
  held.shrunk_to = 24;  // It was computing up to 30 already.
  EXPECT_EQ(Exchange(kAnna, Holding({held})), "");
  EXPECT_EQ(ToString(scheduler_.Poll(now_, kBert)), "grant 7.3 slot 0 [30, 34); ");
}

TEST_F(SchedulerTest, HigherPriorityGoesFirstAndEqualOnesShareByWeight) {
  const RoundKey other{JobId{2}, 0}, urgent{JobId{3}, 0};
  Open(1000, {}, kRound, {false, 0, 3});
  Open(1000, {}, other, {false, 0, 1});
  Join(kAnna);
  std::map<RoundKey, uint64_t> granted;
  for (int i = 0; i < 40; ++i) {
    const Orders orders = scheduler_.Exchange(now_, kAnna, Idle());
    ASSERT_EQ(orders.granted.size(), 1u);
    const Grant& grant = orders.granted[0];
    granted[grant.round] += grant.interval.size();
    scheduler_.Accept(grant.round, grant.interval, grant.lease);
    scheduler_.Committed(kAnna, 0, grant.round, grant.interval, static_cast<double>(grant.interval.size()));
  }
  EXPECT_NEAR(static_cast<double>(granted[kRound]) / static_cast<double>(granted[other]), 3.0, 0.5);
  Open(10, {}, urgent, {false, 1, 1});
  EXPECT_EQ(scheduler_.Exchange(now_, kAnna, Idle()).granted[0].round, urgent);
}

TEST_F(SchedulerTest, APausedJobGetsNothingAndFinishesWhatIsBeingComputed) {
  Open(8);
  Join(kAnna);
  EXPECT_EQ(Exchange(kAnna, Idle()), "grant 7.1 slot 0 [0, 4); ");
  scheduler_.SetShare(kRound.job, {true, 0, 1});
  EXPECT_EQ(ToString(scheduler_.Poll(now_, kAnna)), "shrink 7.1 to 0; ");
  HeldLease held{{7, 1}, kRound, 0, {0, 2}};
  held.shrunk_to = 0;  // [0, 2) is being computed.
  EXPECT_EQ(Exchange(kAnna, Holding({held}, 1)), "");
  EXPECT_EQ(Free(), "[2, 8)");
  scheduler_.SetShare(kRound.job, {false, 0, 1});
  EXPECT_NE(Exchange(kAnna, Idle()), "");
}

TEST_F(SchedulerTest, AClosedRoundIsRevokedAtOnce) {
  Open(8);
  Join(kAnna);
  Exchange(kAnna, Idle());
  scheduler_.TakeWakeups();
  scheduler_.CloseRound(kRound);
  EXPECT_EQ(scheduler_.TakeWakeups(), std::vector<SessionId>{kAnna});
  EXPECT_EQ(ToString(scheduler_.Poll(now_, kAnna)), "revoke 7.1; ");
  EXPECT_EQ(scheduler_.Accept(kRound, {0, 1}, {7, 1}), Acceptance::kClosed);
}

TEST_F(SchedulerTest, WhatTheStoreCouldNotTakeIsComputedAgain) {
  Open(4);
  Join(kAnna);
  Exchange(kAnna, Idle());
  EXPECT_EQ(scheduler_.Accept(kRound, {0, 2}, {7, 1}), Acceptance::kStore);
  EXPECT_EQ(scheduler_.Accept(kRound, {1, 2}, {7, 1}), Acceptance::kJudge);
  scheduler_.Dropped(kRound, {0, 2});
  EXPECT_EQ(Free(), "[0, 2)");
}

TEST_F(SchedulerTest, ARetractedSliceIsFree) {
  Open(4, {{0, 4}});
  EXPECT_TRUE(scheduler_.IsComplete(kRound));
  scheduler_.Retract(kRound, {1, 3});
  EXPECT_FALSE(scheduler_.IsComplete(kRound));
  EXPECT_EQ(Free(), "[1, 3)");
}

// ---- Trials

const CheckTerms kAfterAnna{{WorkerId{1}}, {Way{"cpu", "fast"}}};

TEST_F(SchedulerTest, ACheckIsGrantedToAnotherWorkerAndMovesNoIndex) {
  Open(8, {{0, 4}});
  Join(kAnna);
  Join(kBert);
  scheduler_.AddCheck(CheckId{1}, kRound, {0, 4}, kAfterAnna);
  EXPECT_EQ(Exchange(kAnna, Idle()), "grant 7.1 slot 0 [4, 8); ");
  EXPECT_EQ(Exchange(kBert, Idle()), "grant 7.2 slot 0 [0, 4); ");
  const RoundState state = scheduler_.Inspect(kRound);
  EXPECT_EQ(ToString(state.committed), "[0, 4)");
  EXPECT_EQ(state.leases.size(), 1u);
  ASSERT_EQ(state.checks.size(), 1u);
  EXPECT_EQ(state.checks[0].session, kBert);
  EXPECT_EQ(scheduler_.AcceptTrial(kAnna, kRound, {0, 4}, {7, 2}, 1).fate, TrialSlice::Fate::kNotOfATrial);
  EXPECT_EQ(scheduler_.AcceptTrial(kBert, kRound, {2, 5}, {7, 2}, 1).fate, TrialSlice::Fate::kHadBefore);
  const TrialSlice slice = scheduler_.AcceptTrial(kBert, kRound, {0, 4}, {7, 2}, 1);
  EXPECT_TRUE(slice.is_last);
  EXPECT_EQ(slice.check, CheckId{1});
  EXPECT_FALSE(scheduler_.HasChecks(kRound));
  EXPECT_EQ(scheduler_.LeaseCount(kBert), 0u);
}

TEST_F(SchedulerTest, AnIdleWorkerIsWokenForACheckThatItMayRun) {
  Open(4, {{0, 4}});
  Join(kAnna);
  Join(kBert);
  EXPECT_EQ(Exchange(kBert, Idle()), "");
  EXPECT_EQ(scheduler_.ChecksWithoutWorker(kRound).size(), 0u);
  scheduler_.AddCheck(CheckId{1}, kRound, {0, 4}, kAfterAnna);
  EXPECT_EQ(scheduler_.TakeWakeups(), std::vector<SessionId>{kBert});
  EXPECT_EQ(ToString(scheduler_.Poll(now_, kBert)), "grant 7.1 slot 0 [0, 4); ");
  scheduler_.DropCheck(CheckId{1}, kRound);
  EXPECT_EQ(ToString(scheduler_.Poll(now_, kBert)), "revoke 7.1; ");
  scheduler_.AddCheck(CheckId{2}, kRound, {0, 4}, {{WorkerId{1}, WorkerId{2}}, {{}, {}}});
  EXPECT_EQ(scheduler_.ChecksWithoutWorker(kRound).size(), 1u);
}

TEST_F(SchedulerTest, ADisputeGoesFirstThenWhatThisDeviceChecksBest) {
  Open(12, {{0, 12}});
  Join(kBert, absl::InfiniteFuture(), {{"cpu", {"fast", "slow"}}});
  scheduler_.AddCheck(CheckId{1}, kRound, {0, 4}, {{WorkerId{1}}, {Way{"cpu", "fast"}}});
  scheduler_.AddCheck(CheckId{2}, kRound, {4, 8}, {{WorkerId{3}}, {Way{"gpu", "cuda"}}});
  scheduler_.AddCheck(CheckId{3}, kRound, {8, 12}, {{WorkerId{1}, WorkerId{3}}, {{"cpu", "fast"}, {"cpu", "slow"}}});
  std::string order;
  for (int i = 0; i < 3; ++i) {
    const Orders orders = scheduler_.Exchange(now_, kBert, Idle());
    ASSERT_EQ(orders.granted.size(), 1u);
    const Grant& grant = orders.granted[0];
    absl::StrAppend(&order, ToString(grant.interval), " ", grant.implementation, "; ");
    EXPECT_TRUE(scheduler_.AcceptTrial(kBert, kRound, grant.interval, grant.lease, 1).is_last);
  }
  EXPECT_EQ(order, "[8, 12) fast; [4, 8) fast; [0, 4) slow; ");
}

TEST_F(SchedulerTest, ACheckThatDoesNotFitIntoTheSessionIsLeftToOthers) {
  Open(1000, {{0, 500}});
  Join(kBert, now_ + absl::Seconds(10));
  Exchange(kBert, Idle());
  ASSERT_EQ(scheduler_.Accept(kRound, {500, 504}, {7, 1}), Acceptance::kStore);
  scheduler_.Committed(kBert, 0, kRound, {500, 504}, 0.4);  // 10 a second.
  scheduler_.AddCheck(CheckId{1}, kRound, {0, 100}, kAfterAnna);
  EXPECT_EQ(Exchange(kBert, Idle()), "grant 7.2 slot 0 [504, 584); ");
}

TEST_F(SchedulerTest, APausedJobsChecksWaitAndAreNotSplit) {
  Open(4, {{0, 4}});
  Join(kBert);
  scheduler_.AddCheck(CheckId{1}, kRound, {0, 4}, kAfterAnna);
  EXPECT_EQ(Exchange(kBert, Idle()), "grant 7.1 slot 0 [0, 4); ");
  scheduler_.SetShare(kRound.job, {true, 0, 1});
  EXPECT_EQ(ToString(scheduler_.Poll(now_, kBert)), "");
  EXPECT_EQ(Exchange(kBert, Idle()), "");  // Handed back.
  scheduler_.SetShare(kRound.job, {false, 0, 1});
  EXPECT_EQ(Exchange(kBert, Idle()), "grant 7.2 slot 0 [0, 4); ");
  Join(SessionId{3});
  EXPECT_EQ(Exchange(SessionId{3}, Idle()), "");
  EXPECT_EQ(ToString(scheduler_.Poll(now_, kBert)), "");  // No tail of it is asked for.
}

TEST_F(SchedulerTest, KnownAnswersComeFirstAndThenRarely) {
  scheduler_.OpenRound(kRound, std::make_shared<FakePlan>(4'000'000), {}, {}, {{0, 1}, {5, 7}});
  Join(kAnna);
  int known = 0, leases = 0;
  double known_cost = 0, cost = 0;
  for (; leases < 4000; ++leases) {
    const Orders orders = scheduler_.Exchange(now_, kAnna, Idle());
    ASSERT_EQ(orders.granted.size(), 1u);
    const Grant& grant = orders.granted[0];
    if (scheduler_.IsTrial(grant.lease)) {
      ++known;
      known_cost += static_cast<double>(grant.interval.size());
      EXPECT_TRUE(scheduler_.AcceptTrial(kAnna, kRound, grant.interval, grant.lease, 1).is_last);
      continue;
    }
    EXPECT_GT(leases, 0);  // The first is a known-answer unit.
    cost += static_cast<double>(grant.interval.size());
    Commit(kAnna, grant.lease, grant.interval, static_cast<double>(grant.interval.size()) / 10);
  }
  EXPECT_GT(known, 40);
  EXPECT_LT(known, 120);
  EXPECT_LE(known_cost, 0.02 * cost + 2);
}

// ---- Even rounds

class EvenTest : public SchedulerTest {
 protected:
  void OpenEven(uint64_t size, uint32_t number, RoundTerms terms = {}) {
    if (number > 0) scheduler_.CloseRound({JobId{1}, number - 1});
    scheduler_.OpenRound(Key(number), std::make_shared<simulation::FakeTrainingPlan>(size), {}, {}, {}, terms);
  }
  static RoundKey Key(uint32_t number) { return {JobId{1}, number}; }
  // The session's only lease is computed, at this speed, and handed in.
  void Finish(SessionId session, uint32_t number, double speed) {
    for (const RoundState::LeaseView& lease : scheduler_.Inspect(Key(number)).leases) {
      if (lease.session != session) continue;
      const Interval interval = lease.rest.front();
      ASSERT_EQ(scheduler_.Accept(Key(number), interval, lease.id), Acceptance::kStore);
      scheduler_.Committed(session, 0, Key(number), interval, static_cast<double>(interval.size()) / speed);
      return;
    }
    FAIL() << "it holds nothing";
  }
  // Sizes of what is leased, by session.
  std::string Leased(uint32_t number) {
    std::map<SessionId, uint64_t> sizes;
    for (const RoundState::LeaseView& lease : scheduler_.Inspect(Key(number)).leases) {
      sizes[lease.session] += lease.rest.size();
    }
    std::string text;
    for (const auto& [session, size] : sizes) absl::StrAppend(&text, static_cast<uint64_t>(session), ": ", size, "; ");
    return text;
  }
  void LearnSpeeds(const std::vector<double>& speeds) {
    OpenEven(100, 0);
    for (uint64_t i = 1; i <= speeds.size(); ++i) {
      Join(SessionId{i});
      Exchange(SessionId{i}, Idle());
      Finish(SessionId{i}, 0, speeds[i - 1]);
    }
  }
};

TEST_F(EvenTest, UnknownSlotsGetAProbeOrTheirShareIfThatIsLess) {
  OpenEven(100, 0);
  for (uint64_t i = 1; i <= 3; ++i) Join(SessionId{i});
  EXPECT_EQ(Exchange(kAnna, Idle(2)), "grant 7.1 slot 0 [0, 2); ");
  OpenEven(3, 1);
  for (uint64_t i = 1; i <= 3; ++i) Exchange(SessionId{i}, Idle(2));
  EXPECT_EQ(Leased(1), "1: 1; 2: 1; 3: 1; ");
}

TEST_F(EvenTest, EqualSlotsGetEqualSharesAndNothingBehindThem) {
  LearnSpeeds({5, 5, 5, 5});
  OpenEven(64, 1);
  for (uint64_t i = 1; i <= 4; ++i) Exchange(SessionId{i}, Idle(2));
  EXPECT_EQ(Leased(1), "1: 16; 2: 16; 3: 16; 4: 16; ");
  EXPECT_EQ(ToString(scheduler_.Inspect(Key(1)).free), "");
}

TEST_F(EvenTest, SharesAreAsLargeAsSpeedsHoweverLongTheRound) {
  LearnSpeeds({1, 3});
  OpenEven(400, 1);
  Exchange(kBert, Idle());
  Exchange(kAnna, Idle());
  EXPECT_EQ(Leased(1), "1: 100; 2: 300; ");
}

TEST_F(EvenTest, AfterItsProbeASlotGetsItsShareOfTheRest) {
  OpenEven(100, 0);
  Join(kAnna);
  Join(kBert);
  Exchange(kAnna, Idle());
  Exchange(kBert, Idle());
  Finish(kAnna, 0, 4);
  Exchange(kAnna, Idle());
  Finish(kBert, 0, 4);
  Exchange(kBert, Idle());
  EXPECT_EQ(Leased(0), "1: 48; 2: 48; ");
}

TEST_F(EvenTest, WhoIsGoneOrTakesNothingIsNotReckonedWith) {
  LearnSpeeds({5, 5, 5, 5});
  Exchange(SessionId{3}, Idle(0));
  Exchange(SessionId{3}, Idle(0));
  scheduler_.Disconnected(now_, SessionId{4});
  OpenEven(64, 1);
  Exchange(kAnna, Idle());
  Exchange(kBert, Idle());
  EXPECT_EQ(Leased(1), "1: 32; 2: 32; ");
}

TEST_F(EvenTest, TheShareOfOneThatDoesNotComeGoesToWhoeverIsDone) {
  LearnSpeeds({5, 5, 5});
  OpenEven(60, 1);
  Exchange(kAnna, Idle());
  Exchange(kBert, Idle());
  Finish(kAnna, 1, 5);
  Exchange(kAnna, Idle());
  EXPECT_EQ(Leased(1), "1: 20; 2: 20; ");
}

TEST_F(EvenTest, AUnitIsSplitOnlyIfThatSavesMuch) {
  LearnSpeeds({5, 5});
  OpenEven(40, 1);
  Exchange(kAnna, Idle());
  Exchange(kBert, Idle());  // Four seconds each.
  now_ += absl::Seconds(3);
  Finish(kAnna, 1, 5);
  EXPECT_EQ(Exchange(kAnna, Idle()), "");
  EXPECT_EQ(Exchange(kBert, Holding({{{7, 4}, Key(1), 0, {20, 40}}})), "");
  OpenEven(40, 2);
  Exchange(kAnna, Idle());
  scheduler_.Disconnected(now_, kBert);
  Exchange(kBert, Idle());
  EXPECT_EQ(Leased(2), "1: 20; 2: 20; ");
  now_ += absl::Seconds(1);
  Finish(kAnna, 2, 5);  // Faster than thought; Bert has three seconds to go, of which two would save more than one.
  EXPECT_EQ(Exchange(kAnna, Idle()), "");
  EXPECT_NE(Exchange(kBert, Holding({{{7, 6}, Key(2), 0, {20, 40}}})).find("shrink"), std::string::npos);
}

TEST_F(EvenTest, OnlySlotsOfTheClassGetAnyOfARoundThatAsksForOne) {
  LearnSpeeds({5});
  Join(kBert, absl::InfiniteFuture(), {{"avx512", {}}});
  EXPECT_TRUE(scheduler_.HasWorkerFor(Key(0)));
  OpenEven(40, 1, {true, "avx512"});
  EXPECT_EQ(Exchange(kAnna, Idle()), "");
  EXPECT_EQ(Exchange(kBert, Idle()), "grant 7.2 slot 0 [0, 2); ");
  scheduler_.RemoveSession(kBert);
  EXPECT_FALSE(scheduler_.HasWorkerFor(Key(1)));
}

TEST_F(EvenTest, ALeaseOfAVolatileRoundIsNotAdoptedFromAnEarlierEpoch) {
  Join(kAnna);
  OpenEven(40, 0, {true, ""});
  EXPECT_EQ(Exchange(kAnna, Holding({{{6, 9}, Key(0), 0, {4, 8}}})), "revoke 6.9; ");
  EXPECT_EQ(Exchange(kAnna, Holding({{{7, 9}, Key(0), 0, {4, 8}}})), "");
}

}  // namespace
}  // namespace potluck
