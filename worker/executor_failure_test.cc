// What an executor does when its child dies, hangs or is not what it should be.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>

#include <set>
#include <string>
#include <vector>

#include "worker/child_process.h"
#include "worker/executor_main.h"
#include "worker/executor_testing.h"
#include "worker/frames.h"

namespace potluck {
namespace {

using ExecutorFailureTest = ExecutorTest;

TEST_F(ExecutorFailureTest, ACrashFailsItsRunOnlyAndTheNextChildGoesOn) {
  Start(Options());
  Run(kLease, "crash:2", {0, 5});
  Run(kNextLease, "good", {0, 1}, kOtherRound);
  EXPECT_EQ(events_.WaitFor("over 1.1"), "over 1.1 ABORTED: The executor of cpu 0 was killed by signal 6 (Aborted).");
  EXPECT_EQ(events_.WaitFor("died"), "died: The executor of cpu 0 was killed by signal 6 (Aborted).");
  EXPECT_EQ(events_.WaitFor("ready"), "ready");
  EXPECT_EQ(events_.WaitFor("over 1.2"), "over 1.2 OK");
  EXPECT_EQ(events_.Starting("slice 1.1").size(), 2u);
  EXPECT_EQ(events_.Starting("over").size(), 2u);
}

TEST_F(ExecutorFailureTest, AHungRunIsCancelledByKillingTheChild) {
  ExecutorOptions options = Options();
  options.cancel_limit = absl::Milliseconds(50);
  Start(options);
  Run(kLease, "hang:1", {0, 5});
  events_.WaitFor("slice 1.1");
  const pid_t pid = events_.pid();
  executor_->Cancel(kLease);
  EXPECT_EQ(events_.WaitFor("over").substr(0, 18), "over 1.1 CANCELLED");
  EXPECT_EQ(events_.WaitFor("died"), "died: The executor of cpu 0 was ended: it did not obey a cancel within 50ms.");
  EXPECT_TRUE(IsGone(pid));
  ExpectWorks();
  EXPECT_EQ(events_.Starting("over 1.1").size(), 1u);
}

TEST_F(ExecutorFailureTest, ARunThatFallsSilentIsGivenBack) {
  ExecutorOptions options = Options();
  options.silence_limit = absl::Seconds(2);
  Start(options);
  Run(kLease, "hang:1", {0, 5});
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 ABORTED: The executor of cpu 0 was ended: it reported nothing for 2s.");
  ExpectWorks();
}

TEST_F(ExecutorFailureTest, AChildKilledFromOutsideIsReplaced) {
  Start(Options());
  Run(kLease, "gate:1", {0, 5});
  events_.WaitFor("slice 1.1");
  kill(events_.pid(), SIGKILL);
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 ABORTED: The executor of cpu 0 was killed by signal 9 (Killed).");
  ExpectWorks();
  // Idle, too.
  kill(events_.pid(), SIGKILL);
  events_.WaitFor("died");
  events_.WaitFor("ready");
}

TEST_F(ExecutorFailureTest, TerminalAndTerminationSignalsLeaveTheChildAlone) {
  Start(Options());
  events_.WaitFor("ready");
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) kill(events_.pid(), number);
  ExpectWorks();
  EXPECT_TRUE(events_.Starting("died").empty());
}

TEST_F(ExecutorFailureTest, AChildThatExitsAtOnceFailsTheWaitingRunAndIsTriedAgain) {
  std::vector<int> deaths;
  ExecutorOptions options = Options("exit");
  options.back_off = [&deaths](int n) {
    deaths.push_back(n);
    return absl::Milliseconds(1);
  };
  Start(options);
  Run(kLease, "good", {0, 5});
  const std::string sentence = "The executor of cpu 0 exited with status 7.";
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 ABORTED: " + sentence);
  EXPECT_EQ(events_.WaitFor("died"), "died: " + sentence);
  EXPECT_EQ(events_.WaitFor("died"), "died: " + sentence);
  executor_->Stop();
  ASSERT_GE(deaths.size(), 2u);
  EXPECT_EQ(deaths[0], 1);
  EXPECT_EQ(deaths[1], 2);
  EXPECT_EQ(events_.Starting("over").size(), 1u);
}

TEST_F(ExecutorFailureTest, AChildOfAnotherVersionIsRefused) {
  Start(HangingOptions("old-hello"));
  EXPECT_EQ(events_.WaitFor("died"),
            absl::StrCat("died: The executor of cpu 0 was ended: it speaks version 99 of the protocol; this program ",
                         "speaks ", kExecutorProtocolVersion, ". Install one version of Potluck."));
}

TEST_F(ExecutorFailureTest, AChildThatWritesGarbageIsRefused) {
  Start(HangingOptions("garbage"));
  EXPECT_EQ(events_.WaitFor("died"),
            "died: The executor of cpu 0 was ended: A frame has 1835492691 bytes; allowed: 53 to 8388608.");
}

TEST_F(ExecutorFailureTest, AChildThatIsNotReadyInTimeIsKilled) {
  ExecutorOptions options = Options("hang-at-start");
  options.start_limit = absl::Milliseconds(50);
  Start(options);
  EXPECT_EQ(events_.WaitFor("died"), "died: The executor of cpu 0 was ended: it was not ready within 50ms.");
}

TEST_F(ExecutorFailureTest, AProgramThatIsNotThereIsSaid) {
  ExecutorOptions options = Options();
  options.program = "/nowhere/potluck";
  Start(options);
  EXPECT_EQ(events_.WaitFor("died"),
            "died: The program /nowhere/potluck cannot be started: No such file or directory.");
}

TEST_F(ExecutorFailureTest, SlicesThatLeaveAGapEndTheChild) {
  Start(Options());
  Run(kLease, "skip:2", {0, 5});
  EXPECT_EQ(events_.WaitFor("over"),
            "over 1.1 ABORTED: The executor of cpu 0 was ended: it reported [3, 4) where [2, 5) is left.");
  ExpectWorks();
}

TEST_F(ExecutorFailureTest, AnEndBeforeTheEndIsAFailure) {
  Start(Options());
  Run(kLease, "lose:2", {0, 5});
  EXPECT_EQ(events_.WaitFor("over"), "over 1.1 INTERNAL: It stopped before [2, 5).");
}

TEST(ExecutorChildTest, ItEndsWithItsParentEvenWhileItComputes) {
  absl::StatusOr<ChildProcess> child = ChildProcess::Spawn(
      POTLUCK_EXECUTOR_TEST_CHILD, {"executor", "--device", "cpu", "--dispatch", "fake"}, kExecutorFd);
  ASSERT_TRUE(child.ok()) << child.status();
  Frame open;
  open.kind = FrameKind::kOpen;
  open.text = "fake";
  open.bytes = "hang:1";
  Frame run;
  run.kind = FrameKind::kRun;
  run.lease = kLease;
  run.interval = {0, 5};
  ASSERT_TRUE(WriteFrame(child->fd(), open).ok());
  ASSERT_TRUE(WriteFrame(child->fd(), run).ok());
  FrameDecoder decoder;
  std::set<FrameKind> kinds;
  while (kinds.count(FrameKind::kSlice) == 0) {
    char buffer[256];
    const ssize_t got = recv(child->fd(), buffer, sizeof buffer, 0);
    ASSERT_GT(got, 0);
    decoder.Append(std::string_view(buffer, static_cast<size_t>(got)));
    for (auto frame = decoder.Next(); frame.ok() && frame->has_value(); frame = decoder.Next()) {
      kinds.insert((*frame)->kind);
    }
  }
  child->CloseInput();
  EXPECT_EQ(child->WaitForExit(kPatience), "exited with status 0");
}

TEST(ExecutorChildTest, WrongArgumentsAreNamed) {
  absl::StatusOr<ChildProcess> child =
      ChildProcess::Spawn(POTLUCK_EXECUTOR_TEST_CHILD, {"executor", "--device", "abacus"}, kExecutorFd);
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_EQ(child->WaitForExit(kPatience), "exited with status 2");
}

TEST(ExecutorBackOffTest, ThePauseDoublesUpToAMinute) {
  EXPECT_EQ(DefaultBackOff(1), absl::Milliseconds(100));
  EXPECT_EQ(DefaultBackOff(4), absl::Milliseconds(800));
  EXPECT_EQ(DefaultBackOff(11), absl::Minutes(1));
  EXPECT_EQ(DefaultBackOff(1000), absl::Minutes(1));
}

}  // namespace
}  // namespace potluck
