// A child process with a stream socket between it and us.
//
// The child gets its end as one descriptor of the caller's choice, standard input from /dev/null and standard output on
// our standard error (unless the socket is its standard output); every other descriptor of ours is closed in it. It
// stays in our process group and starts with SIGINT, SIGTERM and SIGHUP blocked: a Ctrl-C is the parent's business. It
// learns of our end, however that comes, by the end of its input.
//
// The owner reaps: the destructor kills what still runs. Not thread-safe.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace potluck {

// Milliseconds for poll(): rounded up, -1 for ever.
int PollMilliseconds(absl::Duration limit);

class ChildProcess {
 public:
  // `args` does not have the program's name. `child_fd` is 1 or 3.
  static absl::StatusOr<ChildProcess> Spawn(const std::string& program, const std::vector<std::string>& args,
                                            int child_fd);
  ~ChildProcess();
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;

  pid_t pid() const { return pid_; }
  // Our end of the socket; blocking. Read as "end of file" once the child is gone.
  int fd() const { return fd_; }
  // Ends the child's input; what it still writes can be read.
  void CloseInput();
  // Waits for the end of the process and tells how it ended ("exited with status 1"); nullopt when it still runs then.
  std::optional<std::string> WaitForExit(absl::Duration limit);
  // Kills it with SIGKILL, unless it is at its end already, and tells how it ended. One that a driver keeps in the
  // kernel for more than 10 s is left behind.
  std::string Kill();

 private:
  ChildProcess(pid_t pid, int fd, int pidfd) : pid_(pid), fd_(fd), pidfd_(pidfd) {}

  pid_t pid_;
  int fd_;
  int pidfd_;  // -1 where the kernel has none.
  std::optional<std::string> ended_;
};

}  // namespace potluck
