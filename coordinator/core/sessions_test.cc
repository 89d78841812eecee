// Who was at the table and when: what the core tells the store of joining, leaving, silence and restarts.
#include "coordinator/core/core_testing.h"

namespace potluck {
namespace {

constexpr SessionId kSecond{12};

class SessionsTest : public CoreTest {
 protected:
  SessionsTest() { Handle(core_->Recover(now_, facts_.Contents())); }

  void Wait(absl::Duration time) {
    now_.monotonic += time;
    now_.wall += time;
  }
  // So that nobody is missed in between.
  void Tick(absl::Duration time) {
    Wait(time);
    Handle(core_->Tick(now_));
  }
  void Come(SessionId session = kAnna, const std::string& name = "anna", absl::Duration age = absl::Minutes(30)) {
    JoinRequest join;
    join.session = session;
    join.token = TokenId{3};
    join.installation = join.name = name;
    join.place = "colab";
    join.session_age = age;
    join.lacks_gpu = lacks_gpu_;
    join.devices.push_back(device_);
    Outbox outbox;
    ASSERT_TRUE(core_->Join(now_, join, outbox).ok());
    Handle(std::move(outbox));
  }
  void Leave(uint64_t call, uint64_t seq) {
    ExchangeRequest request = Request(seq);
    request.report.free_capacity = {0};
    request.report.draining = true;
    request.no_wait = true;
    Exchange(call, std::move(request));
  }
  // The coordinator is killed, and another one starts.
  void Restart() {
    core_ = MakeCore();
    Handle(core_->Recover(now_, facts_.Contents()));
  }

  // "1 anna 0+30 drained; 2 anna 60+": from which second on, for how long, how it ended.
  std::string Book() const {
    static const char* const kEnds[] = {"", "drained", "lost", "replaced", "revoked", "quarantined", "stopped", "away"};
    std::string text;
    for (const StoredSession& session : facts_.sessions().ReadPage({.max_sessions = 100})) {
      absl::StrAppend(&text, text.empty() ? "" : "; ", session.opened.number, " ", session.opened.name, " ",
                      absl::ToInt64Seconds(session.opened.at - start_), "+");
      if (!session.closed) continue;
      absl::StrAppend(&text, absl::ToInt64Seconds(session.closed->at - session.opened.at), " ",
                      kEnds[static_cast<size_t>(session.closed->end)]);
    }
    return text;
  }
  // "0-60 300-300": when the coordinator ran.
  std::string Runs() const {
    std::string text;
    for (const CoordinatorRan& run : facts_.sessions().Runs(absl::InfinitePast())) {
      absl::StrAppend(&text, text.empty() ? "" : " ", absl::ToInt64Seconds(run.began - start_), "-",
                      absl::ToInt64Seconds(run.until - start_));
    }
    return text;
  }
  SessionOpened First() const { return facts_.sessions().ReadPage({.max_sessions = 1}).at(0).opened; }

  bool lacks_gpu_ = false;
  const absl::Time start_ = now_.wall;
};

TEST_F(SessionsTest, AJoinIsNotedWithWhatTheWorkerSays) {
  device_.numerics_class = "cpu/avx2/x86-64";
  device_.kind = "cpu";
  lacks_gpu_ = true;
  Come();
  EXPECT_EQ(Book(), "1 anna 0+");
  const SessionOpened session = First();
  EXPECT_EQ(session.place, "colab");
  EXPECT_EQ(session.began, start_ - absl::Minutes(30));
  EXPECT_EQ(session.token, TokenId{3});
  EXPECT_EQ(session.gpu, GpuState::kRefused);
  EXPECT_EQ(session.devices, "cpu/avx2/x86-64");
}

TEST_F(SessionsTest, AGpuIsNoted) {
  device_.kind = "cuda";
  Come();
  EXPECT_EQ(First().gpu, GpuState::kHas);
}

TEST_F(SessionsTest, AWorkerOfAnOlderVersionSaysLess) {
  Join();
  EXPECT_EQ(First().place, "");
  EXPECT_EQ(First().began, absl::InfinitePast());
}

TEST_F(SessionsTest, WhoLeavesIsNotedAsDrained) {
  Come();
  Wait(absl::Seconds(30));
  Leave(1, 1);
  EXPECT_EQ(Book(), "1 anna 0+");  // It may still speak.
  const absl::Duration until = core_->NextDeadline() - now_.monotonic;
  EXPECT_LE(until, absl::Seconds(5));
  Tick(until);
  EXPECT_EQ(Book(), "1 anna 0+30 drained");
}

TEST_F(SessionsTest, WhoLeavesAndComesAgainAtOnceHasDrainedToo) {
  Come();
  Wait(absl::Seconds(30));
  Leave(1, 1);
  Wait(absl::Seconds(1));
  Come(kSecond);
  EXPECT_EQ(Book(), "1 anna 0+30 drained; 2 anna 31+");
}

TEST_F(SessionsTest, AKilledWorkerIsLostWhenItWasLastHeard) {
  Come();
  Wait(absl::Seconds(15));
  Exchange(1, Request(1));
  Handle(core_->CallLost(now_, CallId{1}));
  Tick(absl::Seconds(60));
  EXPECT_EQ(Book(), "1 anna 0+");
  Tick(absl::Seconds(60));
  EXPECT_EQ(Book(), "1 anna 0+15 lost");
}

TEST_F(SessionsTest, AHeldCallIsPresenceHoweverLong) {
  Come();
  Exchange(1, Request(1));
  for (int i = 0; i < 10; ++i) {
    Wait(absl::Seconds(20));
    Handle(core_->Tick(now_));
    Exchange(static_cast<uint64_t>(i) + 2, Request(static_cast<uint64_t>(i) + 2));
  }
  EXPECT_EQ(Book(), "1 anna 0+");
  EXPECT_EQ(Runs(), "0-180");
}

TEST_F(SessionsTest, WhoComesBackToItsSessionIsNotedAgain) {
  Come();
  Handle(core_->Tick(now_));
  Tick(absl::Seconds(61));
  Tick(absl::Seconds(61));
  EXPECT_EQ(Book(), "1 anna 0+0 lost");
  Wait(absl::Seconds(100));
  Exchange(1, Request(1));
  EXPECT_EQ(Book(), "1 anna 0+0 lost; 2 anna 222+");
}

TEST_F(SessionsTest, TheSameInstallationReplacesItsOwnSessionAndNoOther) {
  Come();
  Wait(absl::Seconds(20));
  Exchange(1, Request(1));
  Handle(core_->CallLost(now_, CallId{1}));
  Wait(absl::Seconds(5));
  Come(SessionId{13}, "bob");
  Come(kSecond);
  EXPECT_EQ(Book(), "1 anna 0+20 replaced; 2 bob 25+; 3 anna 25+");
}

TEST_F(SessionsTest, ARevokedTokenEndsASession) {
  Come();
  Wait(absl::Seconds(20));
  Exchange(1, Request(1));
  Handle(core_->DropSessionsOf(now_, TokenId{3}));
  EXPECT_EQ(Book(), "1 anna 0+20 revoked");
}

TEST_F(SessionsTest, AStoppedCoordinatorKnowsWhoWasThere) {
  Come();
  Exchange(1, Request(1));
  Wait(absl::Seconds(10));
  Handle(core_->Stop(now_));
  EXPECT_EQ(Book(), "1 anna 0+10 stopped");
  EXPECT_EQ(Runs(), "0-10");
  Exchange(2, Request(2));  // One that was on its way.
  EXPECT_EQ(Book(), "1 anna 0+10 stopped");
}

TEST_F(SessionsTest, AKilledCoordinatorKnewAMinuteAgoWhoWasThere) {
  Come();
  for (int i = 1; i <= 5; ++i) {
    Exchange(static_cast<uint64_t>(i), Request(static_cast<uint64_t>(i)));
    Tick(absl::Seconds(60));
  }
  Wait(absl::Seconds(30));
  Restart();
  EXPECT_EQ(Book(), "1 anna 0+300 away");
  EXPECT_EQ(Runs(), "0-300 330-330");
  Come(kSecond);
  Tick(absl::Seconds(60));
  EXPECT_EQ(Book(), "1 anna 0+300 away; 2 anna 330+");
  EXPECT_EQ(Runs(), "0-300 330-390");
}

TEST_F(SessionsTest, ACoordinatorThatIsKilledSoonRanAtLeastUntilTheLastOneCame) {
  Wait(absl::Seconds(20));
  Come();
  Wait(absl::Seconds(10));
  Restart();
  EXPECT_EQ(Book(), "1 anna 20+0 away");
  EXPECT_EQ(Runs(), "0-20 30-30");
}

TEST_F(SessionsTest, AMachineThatSleptIsAwayAndItsWorkersAreNotLost) {
  Come();
  Exchange(1, Request(1));
  Tick(absl::Hours(2));
  EXPECT_EQ(Book(), "1 anna 0+0 away");
  EXPECT_EQ(Runs(), "0-0 7200-7200");
  EXPECT_EQ(Exchange(2, Request(2)), "NOT_FOUND");
  Come(kSecond);
  EXPECT_EQ(Book(), "1 anna 0+0 away; 2 anna 7200+");
}

TEST_F(SessionsTest, WhatCannotBeStoredIsToldLaterAndInOrder) {
  hold_store_ = true;
  Come();
  Come(kSecond);
  size_t book = 0;
  while (!std::holds_alternative<SessionOpened>(held_.at(book).facts[0])) ++book;
  const Outbox::AppendFacts first = held_[book];
  held_.clear();
  Handle(core_->Stored(now_, first.id, absl::ResourceExhaustedError("the disk is full"), {}));
  EXPECT_TRUE(held_.empty());  // Not at once again.
  hold_store_ = false;
  Tick(absl::Seconds(5));
  EXPECT_EQ(Book(), "1 anna 0+0 replaced; 2 anna 0+");
}

TEST_F(SessionsTest, WhatIsOlderThanFourHundredDaysIsForgotten) {
  Come();
  Tick(absl::Seconds(100));
  EXPECT_EQ(Book(), "1 anna 0+0 lost");
  Tick(absl::Hours(24 * 399));
  EXPECT_NE(Book(), "");
  Tick(absl::Hours(24 * 2));
  EXPECT_EQ(Book(), "");
}

}  // namespace
}  // namespace potluck
