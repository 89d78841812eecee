// `potluck bench coordinator`: W simulated workers ask for and report empty units over real gRPC and TLS on loopback.
//
// The coordinator runs in a child process with a store on disk, so that its memory is its own; the simulated workers
// share this process. Every result is committed, synchronous=FULL, before it is acknowledged. An empty unit is one
// index of a round that never ends; a worker holds B of them, reports all B in one Exchange and gets B new ones.
#include "cli/bench_coordinator.h"

#include <fcntl.h>
#include <grpcpp/client_context.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/signals.h"
#include "coordinator/coordinator.h"
#include "kernels/workload/planner.h"
#include "proto/exchange_codec.h"
#include "proto/jobs.grpc.pb.h"
#include "proto/versions.h"
#include "proto/workers.grpc.pb.h"
#include "worker/transport.h"

extern char** environ;

namespace potluck {
namespace {

// ---- The workload: units of one index, whose result is empty.

class EmptyPlan final : public RoundPlan {
 public:
  uint64_t Size() const override { return uint64_t{1} << 60; }
  double Cost(Interval interval) const override { return static_cast<double>(interval.size()); }
  uint64_t Cut(Interval within, double) const override { return within.begin + 1; }
  double ProbeCost() const override { return 1; }
};

class EmptyPlanner final : public Planner {
 public:
  Result<std::optional<Round>> NextRound(double) override {
    Round round;
    round.plan = std::make_shared<EmptyPlan>();
    return std::optional<Round>(std::move(round));
  }
  Status Check(Interval, std::string_view) const override { return {}; }
  Status Merge(Interval, std::string) override { return {}; }
  Result<std::string> Combine(std::span<const Part>) const override { return std::string(); }
  void ResetRound() override {}
  std::vector<SharedBytes> State() const override { return {}; }
  Status Restore(std::string_view) override { return {}; }
  std::string Summary() const override { return ""; }
};

// ---- The coordinator's process: `potluck bench coordinator --serve DIR`, until its standard input ends.

int ServeBench(const std::string& directory) {
  CoordinatorOptions options;
  options.state_directory = directory;
  options.planners = [](const std::string&, const std::string&, const BlobReader&) {
    return Result<std::unique_ptr<Planner>>(std::make_unique<EmptyPlanner>());
  };
  absl::StatusOr<std::unique_ptr<Coordinator>> coordinator = Coordinator::Start(std::move(options));
  if (!coordinator.ok()) return Fail(coordinator.status());
  std::printf("%s\n%s\n", (*coordinator)->worker_join_string().c_str(), (*coordinator)->admin_join_string().c_str());
  std::fflush(stdout);
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return kExitOk;
}

// The child process that serves. It inherits the blocked signals: Ctrl-C is for its parent, whose end is its own.
class Server {
 public:
  absl::Status Start(const std::string& directory) {
    int input[2], output[2];
    if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0)
      return absl::InternalError("no pipe can be made");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
    std::string arguments[] = {"potluck", "bench", "coordinator", "--serve", directory};
    char* argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(),
                    arguments[3].data(), arguments[4].data(), nullptr};
    const int failed = posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(input[0]);
    close(output[1]);
    input_ = input[1];
    std::FILE* lines = fdopen(output[0], "r");
    if (failed != 0) return absl::InternalError("the coordinator's process cannot be started");
    for (JoinString* join : {&worker_, &admin_}) {
      char line[4096] = {};
      if (std::fgets(line, sizeof line, lines) == nullptr) return absl::InternalError("the coordinator did not start");
      absl::StatusOr<JoinString> parsed = ParseJoinString(line);
      if (!parsed.ok()) return parsed.status();
      *join = *std::move(parsed);
    }
    std::fclose(lines);
    return absl::OkStatus();
  }
  ~Server() {
    if (input_ >= 0) close(input_);
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
  }
  const JoinString& worker() const { return worker_; }
  const JoinString& admin() const { return admin_; }

 private:
  pid_t pid_ = -1;
  int input_ = -1;
  JoinString worker_, admin_;
};

// ---- Simulated workers

struct Totals {
  std::atomic<bool> measuring{false};
  std::atomic<bool> stopping{false};
  std::atomic<bool> interrupted{false};
  std::atomic<uint64_t> results{0};
  std::atomic<uint64_t> failures{0};
  Mutex mutex;
  CondVar changed;
  size_t ready ABSL_GUARDED_BY(mutex) = 0;  // Workers that hold units.
  size_t ended ABSL_GUARDED_BY(mutex) = 0;
  std::vector<double> latencies ABSL_GUARDED_BY(mutex);  // Milliseconds.
};

// One worker: a connection of its own and one call at a time, driven by gRPC's callbacks.
class SimulatedWorker {
 public:
  SimulatedWorker(const JoinString& join, size_t index, uint32_t batch, Totals& totals)
      : join_(join), index_(index), batch_(batch), totals_(totals) {}

  absl::Status Join() {
    absl::StatusOr<Connection> connection = Connect(join_);
    if (!connection.ok()) return connection.status();
    connection_ = *std::move(connection);
    stub_ = v1::Workers::NewStub(connection_.channel);
    v1::JoinRequest request;
    request.set_protocol_min(kProtocolMin);
    request.set_protocol_max(kProtocolMax);
    request.set_version(kVersion);
    request.set_installation(absl::StrCat("simulated-", index_));
    request.set_name(request.installation());
    request.add_devices()->set_kind("cpu");
    v1::JoinReply reply;
    grpc::ClientContext context;
    Authorize(context, join_.token);
    const grpc::Status status = stub_->Join(&context, request, &reply);
    if (!status.ok()) return Explain(connection_, status);
    if (!reply.has_joined()) return absl::FailedPreconditionError(reply.refused().message());
    session_ = reply.joined().session();
    return absl::OkStatus();
  }

  void Start() { Call(); }

 private:
  void Call() {
    request_.set_session(session_);
    request_.set_seq(request_.seq() + 1);
    context_.emplace();
    Authorize(*context_, join_.token);
    reply_.Clear();
    if (request_.free_capacity_size() == 0) request_.add_free_capacity(batch_);
    const absl::Time start = MonotonicNow();
    stub_->async()->Exchange(&*context_, &request_, &reply_, [this, start](const grpc::Status& status) {
      Answered(status, absl::ToDoubleMilliseconds(MonotonicNow() - start));
    });
  }

  void Answered(const grpc::Status& status, double milliseconds) {
    uint64_t committed = 0;
    for (const v1::SliceAnswer& answer : reply_.answers()) committed += answer.verdict() == v1::SliceAnswer::COMMITTED;
    {
      MutexLock lock(&totals_.mutex);
      if (!status.ok()) totals_.failures.fetch_add(1);
      if (totals_.measuring.load()) {
        totals_.results.fetch_add(committed);
        totals_.latencies.push_back(milliseconds);
      }
      if (!is_ready_ && committed > 0) {
        is_ready_ = true;
        ++totals_.ready;
        totals_.changed.Signal();
      }
      if (!status.ok() || totals_.stopping.load()) {
        ++totals_.ended;
        totals_.changed.Signal();
        return;
      }
    }
    Report();
    Call();
  }

  // Everything granted is done at once: empty payloads.
  void Report() {
    static const std::string digest = Sha256("");
    request_.clear_slices();
    request_.clear_known_rounds();
    for (const v1::Grant& grant : reply_.granted()) {
      v1::Slice* slice = request_.add_slices();
      *slice->mutable_round() = grant.round();
      *slice->mutable_lease() = grant.lease();
      slice->set_begin(grant.begin());
      slice->set_end(grant.end());
      slice->set_busy_seconds(0.01);
      slice->set_digest(digest);
      if (request_.known_rounds_size() == 0) *request_.add_known_rounds() = grant.round();
    }
  }

  const JoinString& join_;
  const size_t index_;
  const uint32_t batch_;
  Totals& totals_;
  Connection connection_;
  std::unique_ptr<v1::Workers::Stub> stub_;
  uint64_t session_ = 0;
  v1::ExchangeRequest request_;
  v1::ExchangeReply reply_;
  std::optional<grpc::ClientContext> context_;
  bool is_ready_ = false;
};

struct Figures {
  double seconds = 0;
  double results_per_second = 0;
  double p50_ms = 0, p99_ms = 0;
  double rss_mib = 0;
  uint64_t failures = 0;
};

double Quantile(std::vector<double>& sorted, double q) {
  return sorted.empty()
             ? 0
             : sorted[std::min(sorted.size() - 1, static_cast<size_t>(q * static_cast<double>(sorted.size())))];
}

class Measurement {
 public:
  Measurement(int workers, int batch, double seconds) : count_(workers), batch_(batch), seconds_(seconds) {}

  absl::StatusOr<Figures> Run(const std::string& directory) {
    if (absl::Status status = server_.Start(directory); !status.ok()) return status;
    if (absl::Status status = Submit(); !status.ok()) return status;
    for (int i = 0; i < count_ && !totals_.interrupted.load(); ++i) {
      workers_.push_back(std::make_unique<SimulatedWorker>(server_.worker(), static_cast<size_t>(i),
                                                           static_cast<uint32_t>(batch_), totals_));
      if (absl::Status status = workers_.back()->Join(); !status.ok()) return status;
    }
    for (auto& worker : workers_) worker->Start();
    WaitUntil([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(totals_.mutex) {
      return totals_.interrupted.load() || totals_.ready + totals_.ended >= workers_.size();
    });
    const absl::Time start = MonotonicNow();
    totals_.measuring.store(true);
    {
      MutexLock lock(&totals_.mutex);
      while (!totals_.interrupted.load() && MonotonicNow() - start < absl::Seconds(seconds_)) {
        totals_.changed.WaitFor(&totals_.mutex, absl::Seconds(seconds_) - (MonotonicNow() - start));
      }
    }
    totals_.measuring.store(false);
    Figures figures;
    figures.seconds = absl::ToDoubleSeconds(MonotonicNow() - start);
    if (absl::Status status = ReadMemory(figures); !status.ok()) return status;
    totals_.stopping.store(true);
    WaitUntil([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(totals_.mutex) { return totals_.ended >= workers_.size(); });
    if (totals_.interrupted.load()) return absl::CancelledError("interrupted");
    MutexLock lock(&totals_.mutex);
    std::sort(totals_.latencies.begin(), totals_.latencies.end());
    figures.results_per_second = static_cast<double>(totals_.results.load()) / figures.seconds;
    figures.p50_ms = Quantile(totals_.latencies, 0.50);
    figures.p99_ms = Quantile(totals_.latencies, 0.99);
    figures.failures = totals_.failures.load();
    return figures;
  }

  // Run comes to its end, with Cancelled. From any thread.
  void Interrupt() {
    MutexLock lock(&totals_.mutex);
    totals_.interrupted.store(true);
    totals_.changed.SignalAll();
  }

 private:
  template <typename Condition>
  void WaitUntil(Condition condition) {
    MutexLock lock(&totals_.mutex);
    while (!condition()) totals_.changed.Wait(&totals_.mutex);
  }

  // Calls one method of the Jobs service.
  template <typename Call>
  absl::Status Ask(Call call) {
    absl::StatusOr<Connection> connection = Connect(server_.admin());
    if (!connection.ok()) return connection.status();
    const std::unique_ptr<v1::Jobs::Stub> stub = v1::Jobs::NewStub(connection->channel);
    grpc::ClientContext context;
    Authorize(context, server_.admin().token);
    return Explain(*connection, call(*stub, context));
  }

  absl::Status Submit() {
    return Ask([](v1::Jobs::Stub& stub, grpc::ClientContext& context) {
      v1::SubmitRequest request;
      request.set_request_id("benchmark");
      request.set_workload("empty");
      v1::SubmitReply reply;
      return stub.Submit(&context, request, &reply);
    });
  }

  absl::Status ReadMemory(Figures& figures) {
    return Ask([&figures](v1::Jobs::Stub& stub, grpc::ClientContext& context) {
      v1::AboutReply reply;
      const grpc::Status status = stub.About(&context, v1::Empty(), &reply);
      figures.rss_mib = static_cast<double>(reply.resident_bytes()) / (1 << 20);
      return status;
    });
  }

  const int count_, batch_;
  const double seconds_;
  Server server_;
  Totals totals_;
  std::vector<std::unique_ptr<SimulatedWorker>> workers_;
};

absl::StatusOr<std::string> MakeDirectory(const std::string& parent) {
  std::string name = parent + "/potluck-bench-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) {
    return absl::PermissionDeniedError(
        absl::StrCat("--directory is \"", parent, "\"; a directory cannot be made there"));
  }
  return name;
}

}  // namespace

int BenchCoordinator(const Args& args) {
  int workers = 100, batch = 1;
  double seconds = 10;
  std::string parent = ".", serve;
  bool json = false;
  Arguments arguments("bench coordinator", "Commits empty units of simulated workers over gRPC and TLS on loopback.");
  arguments.Flag("--workers", "W", WholeNumber(&workers, 1, 10000), "simulated workers", "100");
  arguments.Flag("--batch", "B", WholeNumber(&batch, 1, 1000), "results an Exchange", "1");
  arguments.Flag("--seconds", "S", RealNumber(&seconds, 0.1, 3600), "how long to measure, seconds", "10");
  arguments.Flag("--directory", "DIR", Text(&parent), "where to make the state directory (its disk counts)", ".");
  arguments.Switch("--json", &json, "one JSON object on standard output");
  arguments.InternalFlag("--serve", "DIR", {"a directory", Text(&serve).read}, "be the coordinator that is measured",
                         "no");
  if (const std::optional<int> code = arguments.Read(args)) return *code;
  if (!serve.empty()) return ServeBench(serve);

  BlockSignals();
  const absl::StatusOr<std::string> directory = MakeDirectory(parent);
  if (!directory.ok()) return Fail(directory.status());
  const auto remove = [&directory] {
    std::error_code ignored;
    std::filesystem::remove_all(*directory, ignored);
  };
  const absl::StatusOr<Figures> figures = [&]() -> absl::StatusOr<Figures> {
    Measurement measurement(workers, batch, seconds);
    const SignalWatcher watcher([&](int count) {
      measurement.Interrupt();
      if (count == 1) return;
      remove();
      _exit(kExitInterrupted);
    });
    return measurement.Run(*directory);
  }();
  remove();
  if (!figures.ok()) return Fail(figures.status());
  if (json) {
    PrintJson({{"workers", workers},
               {"batch", batch},
               {"seconds", figures->seconds},
               {"results_per_second", figures->results_per_second},
               {"p50_ms", figures->p50_ms},
               {"p99_ms", figures->p99_ms},
               {"rss_mib", figures->rss_mib},
               {"failures", figures->failures}});
  } else {
    std::printf(
        "%.0f results/s from %d workers, %d an Exchange; Exchange p50 %.2f ms, p99 %.2f ms; coordinator %.0f MiB\n",
        figures->results_per_second, workers, batch, figures->p50_ms, figures->p99_ms, figures->rss_mib);
  }
  return figures->failures == 0 ? kExitOk : kExitFailed;
}

}  // namespace potluck
