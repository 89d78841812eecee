#include "tests/end_to_end/table.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "kernels/nqueens/known.h"
#include "kernels/nqueens/payload.h"
#include "tests/end_to_end/forwarder.h"

namespace potluck::end_to_end {
namespace {

constexpr absl::Duration kLookInterval = absl::Milliseconds(20);

void Print(const Process& process) {
  std::cerr << "---- process " << process.pid() << "\n" << process.output() << process.errors();
}

}  // namespace

bool WaitUntil(const std::string& what, const std::function<bool()>& condition, absl::Duration timeout) {
  const absl::Time end = MonotonicNow() + timeout;
  while (!condition()) {
    if (MonotonicNow() >= end) {
      ADD_FAILURE() << "waited for " << absl::FormatDuration(timeout) << ": " << what;
      return false;
    }
    absl::SleepFor(kLookInterval);
  }
  return true;
}

Table::Table() : port_(FreePort()) {
  std::string pattern = absl::StrCat(std::filesystem::temp_directory_path().string(), "/potluck-end-to-end-XXXXXX");
  if (mkdtemp(pattern.data()) != nullptr) directory_ = pattern;
  EXPECT_NE(directory_, "") << "no directory for temporary files";
  EXPECT_NE(port_, 0) << "no free port";
}

Table::~Table() {
  // The last first: workers end before their coordinator.
  for (auto process = processes_.rbegin(); process != processes_.rend(); ++process) (*process)->Kill();
  if (testing::Test::HasFailure()) {
    for (const auto& process : processes_) Print(*process);
  }
  processes_.clear();
  std::error_code ignored;
  if (!directory_.empty()) std::filesystem::remove_all(directory_, ignored);
}

Process& Table::Run(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment) {
  return Start(POTLUCK_BINARY, arguments, environment);
}

Process& Table::Start(const std::string& program, const std::vector<std::string>& arguments,
                      const std::map<std::string, std::string>& environment) {
  std::map<std::string, std::string> all = {{"HOME", directory_}, {"XDG_CACHE_HOME", directory_ + "/cache"}};
  all.insert(environment.begin(), environment.end());
  processes_.push_back(std::make_unique<Process>(program, arguments, all));
  return *processes_.back();
}

bool Table::Serve(int lease_seconds, int public_port) {
  std::vector<std::string> arguments = {"serve",
                                        "--state",
                                        directory_ + "/state",
                                        "--listen",
                                        absl::StrCat("127.0.0.1:", port_),
                                        "--lease",
                                        absl::StrCat(lease_seconds)};
  if (public_port != 0) arguments.insert(arguments.end(), {"--public", absl::StrCat("127.0.0.1:", public_port)});
  arguments.insert(arguments.end(), serve_flags_.begin(), serve_flags_.end());
  std::filesystem::create_directories(directory_ + "/cache");
  coordinator_ = &Run(arguments);
  const bool is_up = coordinator_->WaitForLine("potluck://");
  EXPECT_TRUE(is_up) << "the coordinator does not come up: " << coordinator_->errors();
  return is_up;
}

Process& Table::Join(const std::string& name, double slice_seconds, const std::string& dispatch,
                     const std::map<std::string, std::string>& environment) {
  return Run(JoinArguments(name, slice_seconds, dispatch), environment);
}

Process& Table::JoinLiar(const std::string& name, const std::string& lies, double slice_seconds,
                         const std::string& dispatch) {
  std::vector<std::string> arguments = JoinArguments(name, slice_seconds, dispatch);
  // One that is shut out is not to keep the next from joining.
  arguments.insert(arguments.end(), {"--installation", name});
  return Start(POTLUCK_LIAR, arguments, {{"POTLUCK_LIES", lies}});
}

std::vector<std::string> Table::JoinArguments(const std::string& name, double slice_seconds,
                                              const std::string& dispatch) const {
  return {"join",
          directory_ + "/state/worker.join",
          "--name",
          name,
          "--device",
          "cpu",
          "--threads",
          "1",
          "--dispatch",
          dispatch,
          "--slice-seconds",
          absl::StrCat(slice_seconds)};
}

bool Table::ChangeWorker(const std::string& command, const std::string& name) {
  return Run({"workers", command, name, "--coordinator", directory_ + "/state/admin.join"}).WaitForExit(kPatience) ==
         Exit{};
}

Process& Table::Count(int n, uint64_t job, const std::vector<std::string>& flags) {
  std::vector<std::string> arguments = {"nqueens", absl::StrCat(n), "--coordinator", directory_ + "/state/admin.join",
                                        "--json"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  if (absl::c_find(flags, "--algorithm") == flags.end()) arguments.push_back("--nodes");
  Process& process = Run(arguments);
  WaitUntil(absl::StrCat("job ", job, " is submitted"), [&] { return process.has_ended() || Job(job).ok(); });
  return process;
}

bool Table::ChangeJob(const std::string& command, uint64_t job, const std::vector<std::string>& flags) {
  std::vector<std::string> arguments = {"jobs", command, absl::StrCat(job), "--coordinator",
                                        directory_ + "/state/admin.join"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  return Run(arguments).WaitForExit(kPatience) == Exit{};
}

Client& Table::client() {
  if (!client_) {
    absl::StatusOr<JoinString> join = LoadJoinString(directory_ + "/state/admin.join");
    EXPECT_TRUE(join.ok()) << join.status();
    if (join.ok()) join->addresses = {absl::StrCat("127.0.0.1:", port_)};
    client_.emplace(join.value_or(JoinString()));
  }
  return *client_;
}

absl::StatusOr<v1::JobStatus> Table::Job(uint64_t job) {
  v1::ListReply reply;
  const absl::Status status =
      client().Call(&v1::Jobs::StubInterface::List, v1::ListRequest(), &reply, /*retry=*/true, absl::Seconds(5));
  if (!status.ok()) return status;
  for (v1::JobStatus& found : *reply.mutable_jobs()) {
    if (found.job() == job) return std::move(found);
  }
  return absl::NotFoundError("no such job");
}

bool Table::IsRunning(uint64_t job) {
  const absl::StatusOr<v1::JobStatus> status = Job(job);
  return status.ok() && status->state() == v1::JobStatus::RUNNING;
}

bool Table::WaitForProgress(uint64_t job, double fraction) {
  absl::StatusOr<v1::JobStatus> status = absl::UnavailableError("not asked yet");
  const bool is_there = WaitUntil(absl::StrCat(fraction * 100, " % of job ", job, " are done"), [&] {
    status = Job(job);
    if (!status.ok()) return false;
    // A job whose first round is not open yet has no cost.
    const bool is_far = status->cost() > 0 && status->committed_cost() >= fraction * status->cost();
    return status->state() != v1::JobStatus::RUNNING || is_far;
  });
  const bool still_runs = is_there && status->state() == v1::JobStatus::RUNNING;
  EXPECT_TRUE(!is_there || still_runs) << "the job ended before the faults came";
  return still_runs;
}

std::optional<v1::WorkerStatus> Table::FindWorker(const std::string& name) {
  v1::ListWorkersReply reply;
  const absl::Status status =
      client().Call(&v1::Jobs::StubInterface::ListWorkers, v1::Empty(), &reply, /*retry=*/true, absl::Seconds(5));
  for (const v1::WorkerStatus& worker : reply.workers()) {
    if (status.ok() && worker.name() == name) return worker;
  }
  return std::nullopt;
}

void Table::ExpectExact(Process& client, int n, uint64_t job, absl::Duration timeout, uint64_t disagreements) {
  const std::string solutions = nqueens::KnownSolutions(n)->ToString();
  const std::optional<Exit> exit = client.WaitForExit(timeout);
  ASSERT_TRUE(exit.has_value()) << "job " << job << " did not end";
  EXPECT_EQ(*exit, Exit{}) << "code " << exit->code << ", signal " << exit->signal << ": " << client.errors();
  ASSERT_TRUE(client.WaitForLine("\"solutions\"", absl::Seconds(5))) << client.output() << client.errors();
  const auto json = nlohmann::json::parse(client.output(), nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(json.is_object()) << client.output();
  EXPECT_EQ(json.value("solutions", ""), solutions);
  const bool counts_nodes = json.value("algorithm", "") == "backtracking";
  const std::string nodes = counts_nodes ? nqueens::KnownNodes(n)->ToString() : "0";
  EXPECT_EQ(json["nodes"], counts_nodes ? nlohmann::json(nodes) : nlohmann::json());
  EXPECT_EQ(json["verified"], true);
  if (coordinator_ == nullptr) return;  // The client had its own.

  absl::StatusOr<v1::JobStatus> status = absl::UnavailableError("not asked yet");
  ASSERT_TRUE(WaitUntil("the coordinator knows the job", [&] { return (status = Job(job)).ok(); }));
  EXPECT_EQ(status->state(), v1::JobStatus::DONE);
  EXPECT_EQ(status->disagreements(), disagreements);
  const Result<nqueens::Counts> counts = nqueens::DecodeCounts(status->summary());
  ASSERT_TRUE(counts.ok());
  EXPECT_EQ(counts->solutions.ToString(), solutions);
  EXPECT_EQ(counts->nodes.ToString(), nodes);
  uint64_t indices = 0;
  for (const v1::Contribution& contribution : status->contributions()) indices += contribution.indices();
  EXPECT_EQ(indices, status->size());
}

pid_t ExecutorOf(const Process& worker) {
  std::vector<pid_t> children;
  WaitUntil("the worker has an executor",
            [&] { return !(children = ChildrenOf(worker.pid(), "executor")).empty() || worker.has_ended(); });
  return children.empty() ? -1 : children.front();
}

bool SignalStranger(pid_t pid, int signal) { return pid > 1 && kill(pid, signal) == 0; }

Stopped::Stopped(pid_t pid) : pid_(pid) {
  SignalStranger(pid, SIGSTOP);
  WaitUntil("the process has stopped", [pid] { return IsStopped(pid) || !IsRunning(pid); });
}

Stopped::~Stopped() { SignalStranger(pid_, SIGCONT); }

}  // namespace potluck::end_to_end
