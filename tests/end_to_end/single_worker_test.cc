// `potluck join --single`: a notebook's kernel is restarted while its worker runs, and its cell is run again.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/end_to_end/process.h"
#include "tests/end_to_end/table.h"

namespace potluck::end_to_end {
namespace {

Process& JoinSingle(Table& table, const std::string& name) {
  return table.Run({"join", table.directory() + "/state/worker.join", "--single", "--name", name, "--device", "cpu",
                    "--threads", "1", "--dispatch", "scalar", "--slice-seconds", "0.1"});
}

TEST(SingleWorkerTest, TheOlderWorkerHandsInAndLeavesAndTheCoordinatorSeesOne) {
  Table table;
  ASSERT_TRUE(table.Serve(/*lease_seconds=*/600));
  Process& older = JoinSingle(table, "older");
  Process& client = table.Count(16, 1);
  ASSERT_TRUE(table.WaitForProgress(1, 0.1));
  Process& newer = JoinSingle(table, "newer");
  EXPECT_TRUE(newer.WaitForLine("it is asked to leave, and this one takes its place", kPatience)) << newer.errors();
  EXPECT_EQ(older.WaitForExit(kPatience), Exit{}) << older.errors();
  EXPECT_TRUE(older.WaitForLine("all that was computed is handed in", absl::Seconds(5))) << older.errors();
  ASSERT_TRUE(newer.WaitForLine("joined the table", kPatience)) << newer.errors();
  EXPECT_TRUE(WaitUntil("only the newer one is at the table",
                        [&] { return table.FindWorker("newer") && !table.FindWorker("older"); }));
  table.ExpectExact(client, 16, 1);
}

TEST(SingleWorkerTest, AnOlderWorkerThatDoesNotLeaveIsKilledWithItsExecutor) {
  Table table;
  // Its leases are void because it joins again as the same installation: the lease time outlasts the test.
  ASSERT_TRUE(table.Serve(/*lease_seconds=*/600));
  Process& older = JoinSingle(table, "older");
  Process& client = table.Count(16, 1);
  ASSERT_TRUE(table.WaitForProgress(1, 0.1));
  const pid_t executor = ExecutorOf(older);
  const Stopped stopped_executor(executor), stopped_worker(older.pid());
  Process& newer = JoinSingle(table, "newer");
  EXPECT_TRUE(newer.WaitForLine("did not leave within 10s and is killed", kPatience)) << newer.errors();
  EXPECT_EQ(older.WaitForExit(kPatience), Exit{.signal = SIGKILL});
  EXPECT_TRUE(WaitUntil("its executor is gone", [&] { return !IsRunning(executor); }));
  table.ExpectExact(client, 16, 1);
  EXPECT_FALSE(table.FindWorker("older").has_value());
}

TEST(SingleWorkerTest, WorkersWithoutTheFlagAreLeftAlone) {
  Table table;
  ASSERT_TRUE(table.Serve());
  Process& other = table.Join("other");
  ASSERT_TRUE(other.WaitForLine("joined the table", kPatience)) << other.errors();
  Process& single = JoinSingle(table, "single");
  ASSERT_TRUE(single.WaitForLine("joined the table", kPatience)) << single.errors();
  EXPECT_TRUE(table.FindWorker("other").has_value());
  EXPECT_FALSE(other.has_ended());
}

// As when the kernel that started it is gone: nobody reads what it says.
TEST(SingleWorkerTest, AWorkerWhoseReaderIsGoneHandsInBeforeItLeaves) {
  Table table;
  ASSERT_TRUE(table.Serve(/*lease_seconds=*/600));
  Process& worker = table.RunProgram(
      "/bin/bash", {"-c",
                    "exec \"$0\" join \"$1\" --name unread --device cpu --threads 1 --dispatch scalar --slice-seconds 0.1 "
                    "2> >(head -c 1 > /dev/null)",
                    POTLUCK_BINARY, table.directory() + "/state/worker.join"});
  Process& client = table.Count(15, 1);
  ASSERT_TRUE(table.WaitForProgress(1, 0.1));
  EXPECT_TRUE(worker.Signal(SIGTERM));
  EXPECT_EQ(worker.WaitForExit(kPatience), Exit{});
  table.Join("another");
  table.ExpectExact(client, 15, 1);
}

}  // namespace
}  // namespace potluck::end_to_end
