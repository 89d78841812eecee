// Which process is meant, although numbers are used again: by the number, the start, and the machine that counts them.
//
// Plain functions and values over /proc; thread-safe. Where /proc does not say, a process counts as gone.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace potluck {

struct ProcessId {
  pid_t pid = 0;
  uint64_t start = 0;   // Ticks after boot.
  std::string machine;  // One that counts processes on its own: a boot of a machine, or a container in it.

  friend bool operator==(const ProcessId&, const ProcessId&) = default;
};

// This machine, or container, as ProcessId has it.
std::string ThisMachine();
// The running process of that number here; nullopt: there is none, or it has ended and nobody has asked how.
std::optional<ProcessId> IdentifyProcess(pid_t pid);
bool IsRunning(const ProcessId& process);
// "123 4567 machine", and back.
std::string FormatProcessId(const ProcessId& process);
std::optional<ProcessId> ParseProcessId(absl::string_view text);
// Those that it started, and that still run; of them, those whose first argument is `command`.
std::vector<ProcessId> ChildrenOf(const ProcessId& parent, const std::string& command);

// Holds on to one process, to signal it and to wait for its end. Where the kernel has no such descriptors, it is looked
// at once more before each signal.
class ProcessHandle {
 public:
  explicit ProcessHandle(ProcessId process);
  ~ProcessHandle();
  ProcessHandle(const ProcessHandle&) = delete;
  ProcessHandle& operator=(const ProcessHandle&) = delete;

  // False, with errno set: it is gone (ESRCH) or somebody else's (EPERM).
  bool Signal(int signal) const;
  // Waits for its end, `limit` at most; true when it has ended.
  bool WaitForEnd(absl::Duration limit) const;

 private:
  const ProcessId process_;
  int fd_ = -1;  // A pidfd that is known to be of process_; -1: there is none.
};

}  // namespace potluck
