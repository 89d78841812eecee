// A table of real processes for one test: a coordinator, workers and clients of the binary `potluck`, over TLS on
// loopback, in a directory of their own.
//
// Owns the processes and the directory; both are gone after the test. What the processes said is printed when the test
// has failed. Not thread-safe. Whatever takes too long fails the test and says what was waited for.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "proto/jobs.pb.h"
#include "tests/end_to_end/process.h"

namespace potluck::end_to_end {

// Long enough for two cores that much else runs on.
inline constexpr absl::Duration kPatience = absl::Seconds(120);

// Looks again and again until `condition` holds; false, and the test fails, when it does not within `timeout`.
bool WaitUntil(const std::string& what, const std::function<bool()>& condition, absl::Duration timeout = kPatience);

class Table {
 public:
  Table();
  ~Table();
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  int port() const { return port_; }
  // The state is in `state`, join strings included.
  const std::string& directory() const { return directory_; }
  // ---- Processes; each call adds one. References stay valid.
  // Any command, with HOME and the cache in the table's directory.
  Process& Run(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment = {});
  // The same of another program.
  Process& RunProgram(const std::string& program, const std::vector<std::string>& arguments,
                      const std::map<std::string, std::string>& environment = {}) {
    return Start(program, arguments, environment);
  }
  // The coordinator, always on port() and with the same state; a second call restarts it. `public_port` is that of a
  // forwarder that stands before it.
  bool Serve(int lease_seconds = 60, int public_port = 0);
  // For coordinators that are started from now on.
  void SetServeFlags(std::vector<std::string> flags) { serve_flags_ = std::move(flags); }
  Process& coordinator() { return *coordinator_; }
  Process& Join(const std::string& name, double slice_seconds = 0.1, const std::string& dispatch = "scalar",
                const std::map<std::string, std::string>& environment = {});
  // A worker of that name whose results are wrong when `lies` says so (liar.cc).
  Process& JoinLiar(const std::string& name, const std::string& lies, double slice_seconds,
                    const std::string& dispatch = "scalar");
  // `potluck nqueens N --coordinator`, printing JSON; returns when its job is there, which is `job`.
  Process& Count(int n, uint64_t job, const std::vector<std::string>& flags = {});
  // A command of `potluck jobs` about the job, to its end; true when it succeeded.
  bool ChangeJob(const std::string& command, uint64_t job, const std::vector<std::string>& flags = {});
  // A command of `potluck workers` about the worker, to its end; true when it succeeded.
  bool ChangeWorker(const std::string& command, const std::string& name);

  // ---- What the coordinator knows, asked directly (not through a forwarder)
  // Errors are not the test's: the coordinator may be away.
  absl::StatusOr<v1::JobStatus> Job(uint64_t job);
  bool IsRunning(uint64_t job);
  // Waits until `fraction` of the job's indices are committed, and checks that it still runs then.
  bool WaitForProgress(uint64_t job, double fraction);
  std::optional<v1::WorkerStatus> FindWorker(const std::string& name);

  // ---- Endings
  // The client ends well and prints the exact total and number of nodes, and so does the coordinator's job, which was
  // computed by each index once.
  void ExpectExact(Process& client, int n, uint64_t job, absl::Duration timeout = kPatience,
                   uint64_t disagreements = 0);

 private:
  Client& client();
  std::vector<std::string> JoinArguments(const std::string& name, double slice_seconds,
                                         const std::string& dispatch) const;
  Process& Start(const std::string& program, const std::vector<std::string>& arguments,
                 const std::map<std::string, std::string>& environment = {});

  std::string directory_;
  int port_ = 0;
  std::vector<std::string> serve_flags_;
  std::vector<std::unique_ptr<Process>> processes_;
  Process* coordinator_ = nullptr;
  std::optional<Client> client_;
};

// The one executor of a worker; waits for it.
pid_t ExecutorOf(const Process& worker);
// Signals a process that is not our child.
bool SignalStranger(pid_t pid, int signal);

// Stops a process while it lives: nobody else could end a stopped executor whose worker is gone.
class Stopped {
 public:
  explicit Stopped(pid_t pid);  // Returns when it has stopped, or is gone.
  ~Stopped();
  Stopped(const Stopped&) = delete;
  Stopped& operator=(const Stopped&) = delete;

 private:
  const pid_t pid_;
};

}  // namespace potluck::end_to_end
