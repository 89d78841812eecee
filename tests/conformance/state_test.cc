// What a state directory promises: the same keys and tokens for ever, nothing lost, one owner at a time.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "cli/exit_code.h"
#include "tests/bad_input/program.h"
#include "tests/conformance/table.h"

namespace potluck {
namespace {

using Jobs = v1::Jobs::StubInterface;

std::string FragmentOf(const std::string& join) { return join.substr(join.find('#')); }

class StateTest : public testing::Test {
 protected:
  std::unique_ptr<Coordinator> Start(const std::string& state) {
    CoordinatorOptions options;
    options.state_directory = state;
    options.core.longest_hold = absl::Seconds(1);
    absl::StatusOr<std::unique_ptr<Coordinator>> started = Coordinator::Start(std::move(options));
    EXPECT_TRUE(started.ok()) << started.status();
    return started.ok() ? *std::move(started) : nullptr;
  }

  // Does a job; its number.
  static uint64_t Finish(const Coordinator& coordinator, int n) {
    const Caller admin(coordinator.admin_join_string());
    const uint64_t job = admin.SubmitQueens(n);
    ExpectRightCounts(HandWorker(coordinator.worker_join_string(), "w").WorkUntilEnded(admin, job), n);
    return job;
  }

  const TemporaryDirectory directory_;
  const std::string state_ = directory_ / "state";
};

TEST_F(StateTest, KeyAndTokensStayTheSameAfterARestart) {
  std::unique_ptr<Coordinator> coordinator = Start(state_);
  const std::string worker = coordinator->worker_join_string(), admin = coordinator->admin_join_string();
  EXPECT_NE(FragmentOf(worker), FragmentOf(admin));
  EXPECT_EQ(ReadWholeFile(state_ + "/worker.join"), worker + "\n");
  EXPECT_EQ(ReadWholeFile(state_ + "/admin.join"), admin + "\n");
  coordinator.reset();
  coordinator = Start(state_);
  EXPECT_EQ(FragmentOf(coordinator->worker_join_string()), FragmentOf(worker));
  EXPECT_EQ(FragmentOf(coordinator->admin_join_string()), FragmentOf(admin));
  ExpectStillWorks(coordinator->worker_join_string(), coordinator->admin_join_string());
}

TEST_F(StateTest, NobodyElseMayReadItsFiles) {
  const std::unique_ptr<Coordinator> coordinator = Start(state_);
  Finish(*coordinator, 8);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_.path())) {
    struct stat info {};
    ASSERT_EQ(stat(entry.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0077, 0u) << entry.path();
    EXPECT_TRUE(!S_ISREG(info.st_mode) || (info.st_mode & 0777) == 0600) << entry.path();
  }
}

TEST_F(StateTest, JobsAndResultsOutliveARestart) {
  std::unique_ptr<Coordinator> coordinator = Start(state_);
  const uint64_t done = Finish(*coordinator, 10);
  uint64_t cancelled = 0, running = 0;
  {
    const Caller admin(coordinator->admin_join_string());
    cancelled = admin.SubmitQueens(12);
    v1::JobRef ref;
    ref.set_job(cancelled);
    v1::Empty empty;
    ASSERT_TRUE(admin.Call(&Jobs::Cancel, ref, &empty).ok());
    running = admin.SubmitQueens(10);
    HandWorker worker(coordinator->worker_join_string(), "w");
    worker.LearnRound(running);
    for (const uint64_t begin : {0, 7, 11}) {
      EXPECT_EQ(worker.Report(worker.ComputeSlice(running, {begin, begin + 3})).verdict(), v1::SliceAnswer::COMMITTED);
    }
  }
  coordinator.reset();
  coordinator = Start(state_);
  const Caller admin(coordinator->admin_join_string());
  ExpectRightCounts(admin.Job(done), 10);
  EXPECT_EQ(admin.Job(cancelled).state(), v1::JobStatus::CANCELLED);
  EXPECT_EQ(admin.Job(running).state(), v1::JobStatus::RUNNING);
  EXPECT_EQ(admin.Job(running).committed(), 9u);
  HandWorker worker(coordinator->worker_join_string(), "w");
  worker.LearnRound(running);
  // What was acknowledged before the restart is known after it.
  EXPECT_EQ(worker.Report(worker.ComputeSlice(running, {7, 10})).verdict(), v1::SliceAnswer::REPEAT);
  EXPECT_EQ(worker.Report(worker.ComputeSlice(running, {2, 4})).verdict(), v1::SliceAnswer::OVERLAP);
  ExpectRightCounts(worker.WorkUntilEnded(admin, running), 10);
}

TEST_F(StateTest, ASessionOfBeforeTheRestartIsToldToJoinAgain) {
  std::unique_ptr<Coordinator> coordinator = Start(state_);
  HandWorker worker(coordinator->worker_join_string(), "w");
  v1::ExchangeRequest request = worker.NextRequest();
  coordinator.reset();
  coordinator = Start(state_);
  v1::ExchangeReply reply;
  const Caller caller(coordinator->worker_join_string());
  EXPECT_EQ(caller.Exchange(request, &reply).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(StateTest, ABackupOfARunningCoordinatorOpensAsAState) {
  const std::unique_ptr<Coordinator> coordinator = Start(state_);
  const uint64_t done = Finish(*coordinator, 10);
  const std::string copy = directory_ / "copy";
  std::filesystem::create_directory(copy);
  const Ended backup = RunPotluck({"backup", state_, copy + "/potluck.db"});
  EXPECT_EQ(backup.code, kExitOk) << backup.err;
  struct stat info {};
  ASSERT_EQ(stat((copy + "/potluck.db").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  // With the keys, which are not in the copy, it is the same coordinator; without them, the same jobs at least.
  const std::unique_ptr<Coordinator> without_keys = Start(copy);
  ASSERT_NE(without_keys, nullptr);
  ExpectRightCounts(Caller(without_keys->admin_join_string()).Job(done), 10);
  EXPECT_NE(FragmentOf(without_keys->admin_join_string()), FragmentOf(coordinator->admin_join_string()));
  ExpectStillWorks(without_keys->worker_join_string(), without_keys->admin_join_string());
  ExpectStillWorks(coordinator->worker_join_string(), coordinator->admin_join_string());
}

// A backup, or any other program that opens the database, must not take the log away from under the coordinator.
TEST_F(StateTest, WhatIsDoneAfterABackupSurvivesAKill) {
  const std::vector<std::string> serve = {"serve", "--state", state_, "--listen", "127.0.0.1:0"};
  auto server = std::make_unique<Program>(serve);
  ASSERT_TRUE(server->WaitForOutput("potluck://")) << server->err();
  ASSERT_EQ(RunPotluck({"backup", state_, directory_ / "copy.db"}).code, kExitOk);
  const std::string admin = state_ + "/admin.join";
  const Ended created = RunPotluck({"token", "create", "--role", "viewer", "--name", "guest", "--coordinator", admin});
  ASSERT_EQ(created.code, kExitOk) << created.err;
  server->Signal(SIGKILL);
  server->Wait();
  server = std::make_unique<Program>(serve);
  ASSERT_TRUE(server->WaitForOutput("potluck://")) << server->err();
  const Ended listed = RunPotluck({"token", "list", "--coordinator", admin});
  EXPECT_NE(listed.out.find("guest"), std::string::npos) << listed.out << listed.err;
}

TEST_F(StateTest, ACoordinatorWhoseStateWasTakenOverStopsBeforeItSpoilsAnything) {
  const std::unique_ptr<Coordinator> old = Start(state_);
  const uint64_t done = Finish(*old, 8);
  // As after a network file system that forgot its locks: the new one cannot see that the old one lives.
  ASSERT_EQ(unlink((state_ + "/lock").c_str()), 0);
  const std::unique_ptr<Coordinator> latter = Start(state_);
  ASSERT_NE(latter, nullptr);
  v1::SubmitRequest request;
  request.set_request_id("to the old one");
  request.set_workload("nqueens");
  request.set_spec(std::string("\x08\x08\x10\x01", 4));  // n = 8, algorithm 1.
  v1::SubmitReply reply;
  EXPECT_FALSE(Caller(old->admin_join_string()).Call(&Jobs::Submit, request, &reply).ok());
  const absl::Status ended = old->Wait();
  EXPECT_EQ(ended.code(), absl::StatusCode::kAborted) << ended;
  const Caller admin(latter->admin_join_string());
  ExpectRightCounts(admin.Job(done), 8);
  v1::ListReply jobs;
  ASSERT_TRUE(admin.Call(&Jobs::List, v1::ListRequest(), &jobs).ok());
  EXPECT_EQ(jobs.jobs_size(), 1);
  ExpectStillWorks(latter->worker_join_string(), latter->admin_join_string());
}

}  // namespace
}  // namespace potluck
