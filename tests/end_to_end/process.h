// A child process of a test: started with its output in pipes, waited for, signalled and reaped.
//
// The owner owns the process: the destructor kills it with SIGKILL if it still runs. Its own children are not touched;
// they are expected to end by themselves. Thread-safe. A process that cannot be started has ended with code 127 and
// says why in its output.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace potluck::end_to_end {

// How a process ended: by exit(code) or by a signal; the other one is 0.
struct Exit {
  int code = 0;
  int signal = 0;
  friend bool operator==(const Exit&, const Exit&) = default;
};

class Process {
 public:
  // `environment` is added to this process's own.
  Process(const std::string& program, const std::vector<std::string>& arguments,
          const std::map<std::string, std::string>& environment);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  // What it wrote so far.
  std::string output() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::string errors() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool has_ended() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Waits until a line that holds `text` stands in output() or errors(), `times` times; false when the time is up or
  // the process has ended without it.
  bool WaitForLine(const std::string& text, absl::Duration timeout = absl::Seconds(30), int times = 1)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // nullopt when it still runs then. All that it wrote is in output() and errors() afterwards.
  std::optional<Exit> WaitForExit(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);
  // False when it has ended before.
  bool Signal(int signal) ABSL_LOCKS_EXCLUDED(mutex_);
  // SIGKILL, and waits for the end.
  void Kill();

 private:
  // A pipe of the process's, and what came out of it.
  struct Stream {
    int fd = -1;  // Does not block; -1: it has ended.
    std::string text;
  };
  void Read(Stream& stream) ABSL_LOCKS_EXCLUDED(mutex_);
  // What can be read now.
  void Drain(Stream& stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Reap();

  pid_t pid_ = -1;
  std::thread output_reader_, error_reader_, reaper_;
  int stop_[2] = {-1, -1};  // Closed to end the readers: a grandchild may hold the other end of their pipes.

  mutable Mutex mutex_;
  CondVar changed_;
  Stream output_ ABSL_GUARDED_BY(mutex_);
  Stream errors_ ABSL_GUARDED_BY(mutex_);
  std::optional<Exit> exit_ ABSL_GUARDED_BY(mutex_);
};

// ---- Processes that are not children of ours, by /proc

// The running children of `parent`; of them those that run the command `argument` (the first after the program's name)
// unless it is empty.
std::vector<pid_t> ChildrenOf(pid_t parent, const std::string& argument = "");
// Neither gone nor a zombie.
bool IsRunning(pid_t pid);
bool IsStopped(pid_t pid);
// Computing time so far; zero for a process that is gone.
absl::Duration CpuTime(pid_t pid);

}  // namespace potluck::end_to_end
