// The workers of `potluck nqueens` without a server: `potluck join` processes on this machine, kept alive.
//
// One thread starts, watches and ends them all. It must be the one that starts them, and must live as long as they do:
// they ask the kernel to end them when the thread that started them is gone, so that nothing is left behind when this
// process is killed. They stay in the caller's process group and get the join string through their environment.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace potluck {

// The environment of a local worker: the join string, and the process whose end is its own.
inline constexpr char kJoinVariable[] = "POTLUCK_JOIN";
inline constexpr char kParentVariable[] = "POTLUCK_PARENT";

// What one local worker computes on.
struct LocalWorkerPlan {
  std::string device = "cpu";  // As `join --device` takes it.
  std::optional<int> gpu;      // Which one, in the driver's order.
  int threads = 1;

  friend bool operator==(const LocalWorkerPlan&, const LocalWorkerPlan&) = default;
};

// `count` workers on `gpus` (indices) and a CPU of `cores`. By default one a GPU, or one on the CPU where there is
// none. More than there are GPUs compute on the CPU. A single one takes every device. `threads` each, by default the
// cores divided among those that compute on the CPU.
std::vector<LocalWorkerPlan> PlanLocalWorkers(std::optional<int> count, std::optional<int> threads,
                                              const std::vector<int>& gpus, int cores);

struct LocalWorkersOptions {
  std::string join_string;
  std::vector<LocalWorkerPlan> workers;
  std::string dispatch = "auto";
  double slice_seconds = 2.0;
  std::string cache;     // As `join --cache`; empty: its default.
  std::string shared;    // A folder that the coordinator shares; empty: none.
  bool verbose = false;  // Pass on what they say.
  std::string program = "/proc/self/exe";
  // Called from the thread; must not block.
  std::function<void(const std::string&)> say = [](const std::string&) {};
  // Once, when none of them can be kept running.
  std::function<void(absl::Status)> give_up = [](const absl::Status&) {};
};

class LocalWorkers {
 public:
  explicit LocalWorkers(LocalWorkersOptions options);
  ~LocalWorkers();  // Ends them: drained within a second, else killed.
  LocalWorkers(const LocalWorkers&) = delete;
  LocalWorkers& operator=(const LocalWorkers&) = delete;

 private:
  struct Process {
    std::string name;
    pid_t pid = -1;   // -1: not running.
    int output = -1;  // The reading end of its standard error.
    std::string partial_line;
    std::string last_line;
    absl::Time started, start_at;
    int quick_ends = 0;  // In a row, those by SIGKILL left out.
    bool given_up = false;
  };

  void Run();
  absl::Status Spawn(size_t index);
  void Wait();  // For output, the end, or the time of the next look.
  void ReadOutput(Process& process);
  // Starts what is due, takes note of what ended.
  void Look(size_t index);
  void Ended(size_t index, int wait_status);
  void StopAll();

  const LocalWorkersOptions options_;
  std::vector<Process> processes_;  // The thread's.
  int stop_ = -1;                   // An eventfd.
  std::thread thread_;
};

}  // namespace potluck
