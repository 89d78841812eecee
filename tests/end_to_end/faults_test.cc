// What the project promises: kill, stop or cut off any process at any moment, and the total is exact, to the last node.
//
// Each test makes sure that its faults hit while the job was running. There is no sleep: faults follow the job's
// progress. The seeds are fixed; what the operating system makes of them is not, so a failure prints what all processes
// said.
#include <gtest/gtest.h>
#include <signal.h>

#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "tests/end_to_end/forwarder.h"
#include "tests/end_to_end/process.h"
#include "tests/end_to_end/table.h"

namespace potluck::end_to_end {
namespace {

// So short that lost workers do not keep a test waiting.
constexpr int kShortLease = 2;
constexpr double kShortSlice = 0.05;

uint64_t Committed(Table& table, uint64_t job) {
  const absl::StatusOr<v1::JobStatus> status = table.Job(job);
  return status.ok() ? status->committed() : 0;
}

TEST(FaultsTest, TotalsAreExactWhileWorkersAreKilledAndOthersJoin) {
  Table table;
  ASSERT_TRUE(table.Serve(kShortLease));
  int joined = 0;
  std::vector<Process*> workers;
  const auto join = [&] { return &table.Join(absl::StrCat("worker-", ++joined)); };
  for (int i = 0; i < 3; ++i) workers.push_back(join());
  Process& client = table.Count(17, 1);
  std::mt19937 random(20181);
  constexpr int kKills = 7;
  for (int kill = 1; kill <= kKills; ++kill) {
    ASSERT_TRUE(table.WaitForProgress(1, 0.1 * kill));
    Process*& victim = workers[random() % workers.size()];
    ASSERT_TRUE(victim->Signal(SIGKILL));
    ASSERT_EQ(victim->WaitForExit(kPatience), (Exit{.signal = SIGKILL}));
    victim = join();
  }
  ASSERT_TRUE(table.IsRunning(1));
  table.ExpectExact(client, 17, 1);
}

// Each worker by another code path, verified by each other.
TEST(FaultsTest, MeetingInTheMiddleIsExactWhileWorkersAreKilledAndTheCoordinatorRestarts) {
  Table table;
  ASSERT_TRUE(table.Serve(kShortLease));
  Process* scalar = &table.Join("scalar", kShortSlice);
  table.Join("fastest", kShortSlice, "auto");
  Process& client = table.Count(19, 1, {"--algorithm", "mitm", "--verify", "0.1"});
  for (const double progress : {0.1, 0.3, 0.5}) {
    ASSERT_TRUE(table.WaitForProgress(1, progress));
    ASSERT_TRUE(scalar->Signal(SIGKILL));
    ASSERT_EQ(scalar->WaitForExit(kPatience), (Exit{.signal = SIGKILL}));
    scalar = &table.Join("scalar", kShortSlice);
  }
  table.coordinator().Kill();
  ASSERT_TRUE(table.Serve(kShortLease));
  ASSERT_TRUE(table.IsRunning(1));
  table.ExpectExact(client, 19, 1);
  EXPECT_GT(table.Job(1)->verified_slices(), 0u);
}

TEST(FaultsTest, TotalsAreExactAndTheClientSurvivesWhileTheCoordinatorIsKilled) {
  Table table;
  ASSERT_TRUE(table.Serve());
  Process& first = table.Join("first");
  Process& second = table.Join("second");
  Process& client = table.Count(17, 1);
  constexpr int kKills = 4;
  for (int kill = 1; kill <= kKills; ++kill) {
    ASSERT_TRUE(table.WaitForProgress(1, 0.15 * kill));
    const uint64_t before = Committed(table, 1);
    table.coordinator().Kill();
    ASSERT_TRUE(table.Serve());
    // What was acknowledged is there; the job goes on.
    ASSERT_GE(Committed(table, 1), before);
  }
  ASSERT_TRUE(table.WaitForProgress(1, 0.7));
  EXPECT_FALSE(client.has_ended());
  table.ExpectExact(client, 17, 1);
  EXPECT_FALSE(first.has_ended());
  EXPECT_FALSE(second.has_ended());
}

TEST(FaultsTest, LateSlicesOfAStoppedWorkerAreNeverCountedTwice) {
  Table table;
  ASSERT_TRUE(table.Serve(kShortLease));
  Process& sleeper = table.Join("sleeper", kShortSlice);
  Process& other = table.Join("other");
  Process& client = table.Count(17, 1);
  ASSERT_TRUE(table.WaitForProgress(1, 0.1));
  const pid_t executor = ExecutorOf(sleeper);
  int stops_with_late_slices = 0;
  for (int stop = 1; stop <= 3 && stops_with_late_slices < 2; ++stop) {
    ASSERT_TRUE(WaitUntil("the sleeper computes", [&] {
      const auto worker = table.FindWorker("sleeper");
      return worker && worker->leases() > 0;
    }));
    const absl::Duration cpu_before = CpuTime(executor);
    const Stopped stopped(sleeper.pid());
    // Its executor goes on and fills the pipe with slices, while others are given the same indices.
    ASSERT_TRUE(WaitUntil("the sleeper's lease expires", [&] {
      const auto worker = table.FindWorker("sleeper");
      return worker && worker->leases() == 0;
    }));
    if (CpuTime(executor) > cpu_before + 2 * absl::Seconds(kShortSlice)) ++stops_with_late_slices;
    const uint64_t before = Committed(table, 1);
    ASSERT_TRUE(WaitUntil("another worker goes on", [&] { return Committed(table, 1) > before; }));
    ASSERT_TRUE(table.IsRunning(1));
  }
  EXPECT_GE(stops_with_late_slices, 1);
  table.ExpectExact(client, 17, 1);
  EXPECT_FALSE(sleeper.has_ended());
  EXPECT_FALSE(other.has_ended());
}

TEST(FaultsTest, AStoppedExecutorKeepsOnlyWhatItHolds) {
  Table table;
  ASSERT_TRUE(table.Serve(kShortLease));
  Process& sleeper = table.Join("sleeper");
  table.Join("other");
  Process& client = table.Count(17, 1);
  ASSERT_TRUE(table.WaitForProgress(1, 0.1));
  const pid_t executor = ExecutorOf(sleeper);
  {
    const Stopped stopped(executor);
    const uint64_t before = Committed(table, 1);
    ASSERT_TRUE(WaitUntil("another worker goes on", [&] { return Committed(table, 1) > before; }));
    // Past its lease: the worker itself is alive and keeps it.
    ASSERT_TRUE(table.WaitForProgress(1, 0.35));
  }
  table.ExpectExact(client, 17, 1);
  EXPECT_EQ(ExecutorOf(sleeper), executor);
}

TEST(FaultsTest, AWorkerOutlivesItsExecutorsAndTotalsAreExact) {
  Table table;
  ASSERT_TRUE(table.Serve());
  Process& worker = table.Join("worker");
  table.Join("other");
  Process& client = table.Count(17, 1);
  std::set<pid_t> executors;
  constexpr int kKills = 5;
  for (int kill = 1; kill <= kKills; ++kill) {
    ASSERT_TRUE(table.WaitForProgress(1, 0.12 * kill));
    const pid_t executor = ExecutorOf(worker);
    EXPECT_TRUE(executors.insert(executor).second) << "not a new executor";
    ASSERT_TRUE(SignalStranger(executor, SIGKILL));
    ASSERT_TRUE(worker.WaitForLine("starting it again", kPatience, kill)) << worker.errors();
    ASSERT_TRUE(WaitUntil("the executor is gone", [&] { return !IsRunning(executor); }));
  }
  ASSERT_TRUE(table.IsRunning(1));
  table.ExpectExact(client, 17, 1);
  EXPECT_FALSE(worker.has_ended());
}

TEST(FaultsTest, TotalsAreExactOverANetworkThatDropsAndDelays) {
  Table table;
  Forwarder forwarder(table.port(), {.seed = 7, .fewest_bytes = 4000, .most_bytes = 16000});
  ASSERT_NE(forwarder.port(), 0);
  ASSERT_TRUE(table.Serve(kShortLease, forwarder.port()));
  Process& first = table.Join("first");
  Process& second = table.Join("second");
  Process& client = table.Count(17, 1);
  ASSERT_TRUE(table.WaitForProgress(1, 0.9));
  EXPECT_GE(forwarder.dropped(), 3);
  table.ExpectExact(client, 17, 1);
  EXPECT_GE(forwarder.dropped() + forwarder.refused(), 5);
  EXPECT_FALSE(first.has_ended());
  EXPECT_FALSE(second.has_ended());
}

TEST(FaultsTest, WhatWorkersFinishWhileTheCoordinatorIsAwayIsDeliveredAfterwards) {
  Table table;
  ASSERT_TRUE(table.Serve());
  std::vector<Process*> workers = {&table.Join("first", kShortSlice), &table.Join("second", kShortSlice)};
  Process& client = table.Count(17, 1);
  ASSERT_TRUE(table.WaitForProgress(1, 0.1));
  table.coordinator().Kill();
  std::vector<std::unique_ptr<Stopped>> stopped;
  for (const Process* worker : workers) {
    const pid_t executor = ExecutorOf(*worker);
    const absl::Duration before = CpuTime(executor);
    ASSERT_TRUE(WaitUntil("results come while the coordinator is away",
                          [&] { return CpuTime(executor) > before + absl::Milliseconds(300); }));
    // From here on nothing is computed: what is committed from now on had been finished before.
    stopped.push_back(std::make_unique<Stopped>(executor));
  }
  std::vector<std::unique_ptr<Stopped>> silent;
  for (const Process* worker : workers) silent.push_back(std::make_unique<Stopped>(worker->pid()));
  ASSERT_TRUE(table.Serve());
  const uint64_t stored = Committed(table, 1);
  ASSERT_GT(stored, 0u);
  silent.clear();
  for (const std::string name : {"first", "second"}) {
    ASSERT_TRUE(WaitUntil(name + " delivers", [&] {
      const auto worker = table.FindWorker(name);
      return worker && worker->slices() >= 2;
    }));
  }
  EXPECT_GT(Committed(table, 1), stored);
  ASSERT_TRUE(table.IsRunning(1));
  stopped.clear();
  table.ExpectExact(client, 17, 1);
}

}  // namespace
}  // namespace potluck::end_to_end
