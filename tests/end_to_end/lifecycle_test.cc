// Leaving, stopping and steering, on real processes: what ends by itself ends cleanly, and nothing is lost.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "tests/end_to_end/process.h"
#include "tests/end_to_end/table.h"

namespace potluck::end_to_end {
namespace {

constexpr int kInterrupted = 130;

// Children, their children and so on.
std::vector<pid_t> DescendantsOf(pid_t parent) {
  std::vector<pid_t> all = ChildrenOf(parent);
  for (size_t i = 0; i < all.size(); ++i) {
    const std::vector<pid_t> children = ChildrenOf(all[i]);
    all.insert(all.end(), children.begin(), children.end());
  }
  return all;
}

double DoneFraction(Table& table, uint64_t job) {
  const absl::StatusOr<v1::JobStatus> status = table.Job(job);
  return status.ok() && status->cost() > 0 ? status->committed_cost() / status->cost() : 0;
}

v1::JobStatus::State StateOf(Table& table, uint64_t job) {
  const absl::StatusOr<v1::JobStatus> status = table.Job(job);
  return status.ok() ? status->state() : v1::JobStatus::STATE_UNSPECIFIED;
}

TEST(LeavingTest, OneInterruptDrainsAWorkerAndLosesNothing) {
  Table table;
  // The lease outlasts the test: what the leaver held can only be done because it was handed back.
  ASSERT_TRUE(table.Serve(/*lease_seconds=*/600));
  Process& leaver = table.Join("leaver");
  table.Join("other");
  Process& client = table.Count(16, 1);
  ASSERT_TRUE(table.WaitForProgress(1, 0.2));
  ASSERT_TRUE(leaver.Signal(SIGINT));
  EXPECT_EQ(leaver.WaitForExit(kPatience), Exit{});
  EXPECT_TRUE(leaver.WaitForLine("all that was computed is handed in", absl::Seconds(5))) << leaver.errors();
  EXPECT_TRUE(table.IsRunning(1)) << "the job ended before the worker left";
  table.ExpectExact(client, 16, 1);
}

TEST(LeavingTest, ASecondInterruptStopsAWorkerAtOnce) {
  Table table;
  ASSERT_TRUE(table.Serve(/*lease_seconds=*/2));
  Process& leaver = table.Join("leaver");
  table.Join("other");
  Process& client = table.Count(16, 1);
  ASSERT_TRUE(table.WaitForProgress(1, 0.2));
  const pid_t executor = ExecutorOf(leaver);
  ASSERT_TRUE(WaitUntil("the leaver computes", [&] {
    const auto worker = table.FindWorker("leaver");
    return worker && worker->leases() > 0;
  }));
  {
    // It cannot finish what it computes, so it cannot have left before the second signal.
    const Stopped stopped(executor);
    ASSERT_TRUE(leaver.Signal(SIGINT));
    ASSERT_TRUE(leaver.WaitForLine("the same signal again stops at once"));
    ASSERT_FALSE(leaver.has_ended());
    ASSERT_TRUE(leaver.Signal(SIGINT));
    EXPECT_EQ(leaver.WaitForExit(kPatience), (Exit{.code = kInterrupted}));
    EXPECT_TRUE(WaitUntil("its executor is gone", [&] { return !IsRunning(executor); }));
  }
  table.ExpectExact(client, 16, 1);
}

TEST(LeavingTest, ATerminatedCoordinatorEndsCleanlyAndTheJobGoesOnAfterwards) {
  Table table;
  ASSERT_TRUE(table.Serve());
  table.Join("first");
  table.Join("second");
  Process& client = table.Count(16, 1);
  ASSERT_TRUE(table.WaitForProgress(1, 0.2));
  Process& coordinator = table.coordinator();
  ASSERT_TRUE(coordinator.Signal(SIGTERM));
  EXPECT_EQ(coordinator.WaitForExit(kPatience), Exit{}) << coordinator.errors();
  EXPECT_TRUE(coordinator.WaitForLine("stopped", absl::Seconds(5))) << coordinator.errors();
  EXPECT_FALSE(client.has_ended());
  ASSERT_TRUE(table.Serve());
  EXPECT_TRUE(table.IsRunning(1));
  table.ExpectExact(client, 16, 1);
}

TEST(LocalWorkersTest, AKilledLocalWorkerIsStartedAgain) {
  Table table;
  Process& client = table.Run(
      {"nqueens", "17", "--nodes", "--dispatch", "scalar", "--local-workers", "2", "--json", "--slice-seconds", "0.1"});
  std::set<pid_t> killed;
  for (int kill = 0; kill < 2; ++kill) {
    std::vector<pid_t> workers;
    ASSERT_TRUE(WaitUntil("two local workers compute", [&] {
      workers = ChildrenOf(client.pid(), "join");
      return workers.size() == 2 && std::ranges::all_of(workers, [](pid_t worker) {
               const std::vector<pid_t> executors = ChildrenOf(worker, "executor");
               return !executors.empty() && CpuTime(executors.front()) > absl::Milliseconds(500);
             });
    }));
    ASSERT_FALSE(client.has_ended());
    EXPECT_TRUE(killed.insert(workers[0]).second);
    ASSERT_TRUE(SignalStranger(workers[0], SIGKILL));
    ASSERT_TRUE(client.WaitForLine("it is started again", kPatience, kill + 1)) << client.errors();
  }
  ASSERT_FALSE(client.has_ended());
  table.ExpectExact(client, 17, 1);
}

TEST(LocalWorkersTest, NoProcessIsLeftBehindWhenTheCommandIsKilled) {
  Table table;
  Process& client = table.Run({"nqueens", "17", "--nodes", "--dispatch", "scalar", "--local-workers", "2", "--json"});
  std::vector<pid_t> family;
  ASSERT_TRUE(WaitUntil("two local workers with an executor each",
                        [&] { return (family = DescendantsOf(client.pid())).size() >= 4 || client.has_ended(); }));
  ASSERT_FALSE(client.has_ended());
  client.Kill();
  for (const pid_t pid : family) {
    EXPECT_TRUE(WaitUntil(
        absl::StrCat("process ", pid, " is gone"), [pid] { return !IsRunning(pid); }, absl::Seconds(30)));
  }
}

TEST(SteeringTest, JobsShareWorkersPauseResumeCancelAndAreDeleted) {
  Table table;
  ASSERT_TRUE(table.Serve());
  table.Join("first");
  table.Join("second");
  Process& counted = table.Count(17, 1, {"--name", "counted"});
  Process& cancelled = table.Count(17, 2, {"--name", "cancelled"});
  ASSERT_TRUE(WaitUntil("both jobs get on", [&] { return DoneFraction(table, 1) > 0 && DoneFraction(table, 2) > 0; }));
  ASSERT_TRUE(table.IsRunning(1) && table.IsRunning(2));

  ASSERT_TRUE(table.ChangeJob("pause", 1));
  EXPECT_EQ(StateOf(table, 1), v1::JobStatus::PAUSED);
  // What was being computed still counts; then nothing more does, while the other job gets on.
  const auto at_work = [&] {
    const absl::StatusOr<v1::JobStatus> status = table.Job(1);
    return !status.ok() || status->workers() > 0;
  };
  ASSERT_TRUE(WaitUntil("nobody is at work on the paused job", [&] { return !at_work(); }));
  // The last slices may still be on their way to the store: a whole step of the other job later they are not.
  const double settling_at = DoneFraction(table, 2);
  ASSERT_TRUE(WaitUntil("the other job gets on", [&] { return DoneFraction(table, 2) > settling_at + 0.05; }));
  const double paused_at = DoneFraction(table, 1);
  const double other_at = DoneFraction(table, 2);
  ASSERT_TRUE(WaitUntil("the other job gets on", [&] { return DoneFraction(table, 2) > other_at + 0.05; }));
  EXPECT_EQ(DoneFraction(table, 1), paused_at);
  EXPECT_LT(paused_at, 1);

  ASSERT_TRUE(table.ChangeJob("cancel", 2));
  EXPECT_EQ(StateOf(table, 2), v1::JobStatus::CANCELLED);
  const std::optional<Exit> exit = cancelled.WaitForExit(kPatience);
  ASSERT_TRUE(exit.has_value());
  EXPECT_NE(*exit, Exit{});
  EXPECT_TRUE(cancelled.WaitForLine("job 2 was cancelled", absl::Seconds(5))) << cancelled.errors();
  ASSERT_TRUE(table.ChangeJob("delete", 2));
  EXPECT_TRUE(absl::IsNotFound(table.Job(2).status()));

  ASSERT_TRUE(table.ChangeJob("resume", 1));
  table.ExpectExact(counted, 17, 1);
  ASSERT_TRUE(table.ChangeJob("delete", 1));
  EXPECT_TRUE(absl::IsNotFound(table.Job(1).status()));
}

TEST(SteeringTest, AJobOfHigherPriorityGoesFirst) {
  Table table;
  ASSERT_TRUE(table.Serve());
  table.Join("first");
  table.Join("second");
  Process& low = table.Count(17, 1, {"--priority", "-1"});
  ASSERT_TRUE(table.WaitForProgress(1, 0.05));
  Process& high = table.Count(16, 2, {"--priority", "5"});
  table.ExpectExact(high, 16, 2);
  EXPECT_TRUE(table.IsRunning(1)) << "the job of lower priority was done first";
  ASSERT_TRUE(table.ChangeJob("cancel", 1));
  EXPECT_TRUE(low.WaitForExit(kPatience).has_value());
}

}  // namespace
}  // namespace potluck::end_to_end
