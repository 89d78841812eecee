#include "worker/child_process.h"
#include "base/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX leaves it to the program.

namespace potluck {
namespace {

constexpr absl::Duration kKillLimit = absl::Seconds(10);

void CloseIfOpen(int fd) {
  if (fd >= 0) close(fd);
}

std::string DescribeEnd(int status) {
  if (WIFEXITED(status)) return absl::StrCat("exited with status ", WEXITSTATUS(status));
  const char* const name = sigdescr_np(WTERMSIG(status));
  return absl::StrCat("was killed by signal ", WTERMSIG(status), " (", name == nullptr ? "unknown" : name, ")");
}

// This process's environment, in which OpenMP's threads wait without spinning unless somebody has decided otherwise:
// whoever shares the cores with a child (other workers, the coordinator) needs them. libgomp reads it when it is
// loaded.
std::vector<char*> ChildEnvironment() {
  static char passive[] = "OMP_WAIT_POLICY=passive";
  std::vector<char*> variables;
  bool is_set = false;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    variables.push_back(*variable);
    is_set = is_set || std::strncmp(*variable, passive, std::strlen("OMP_WAIT_POLICY=")) == 0;
  }
  if (!is_set) variables.push_back(passive);
  variables.push_back(nullptr);
  return variables;
}

// Attributes and file actions of one posix_spawn.
class SpawnSetup {
 public:
  SpawnSetup(int socket, int child_fd) {
    posix_spawnattr_init(&attributes_);
    posix_spawn_file_actions_init(&actions_);
    sigset_t signals;
    // What is ignored here (SIGPIPE, say) starts with its default there.
    sigfillset(&signals);
    posix_spawnattr_setsigdefault(&attributes_, &signals);
    sigemptyset(&signals);
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, number);
    posix_spawnattr_setsigmask(&attributes_, &signals);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
    if (child_fd != 1) posix_spawn_file_actions_adddup2(&actions_, 2, 1);
    posix_spawn_file_actions_adddup2(&actions_, socket, child_fd);
    posix_spawn_file_actions_addclosefrom_np(&actions_, std::max(child_fd, 2) + 1);
  }
  ~SpawnSetup() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;

  const posix_spawnattr_t* attributes() const { return &attributes_; }
  const posix_spawn_file_actions_t* actions() const { return &actions_; }

 private:
  posix_spawnattr_t attributes_;
  posix_spawn_file_actions_t actions_;
};

}  // namespace

int PollMilliseconds(absl::Duration limit) {
  if (limit == absl::InfiniteDuration()) return -1;
  const int64_t milliseconds = absl::ToInt64Milliseconds(absl::Ceil(limit, absl::Milliseconds(1)));
  return static_cast<int>(std::clamp<int64_t>(milliseconds, 0, 1'000'000'000));
}

absl::StatusOr<ChildProcess> ChildProcess::Spawn(const std::string& program, const std::vector<std::string>& args,
                                                 int child_fd) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("A socket pair cannot be made: ", std::strerror(errno), "."));
  }
  // Above every descriptor that the file actions write to, so that none is overwritten before it is used.
  const int child_end = fcntl(ends[1], F_DUPFD_CLOEXEC, 10);
  const int duplicate_error = errno;
  close(ends[1]);
  if (child_end < 0) {
    close(ends[0]);
    return absl::ResourceExhaustedError(
        absl::StrCat("A descriptor cannot be duplicated: ", std::strerror(duplicate_error), "."));
  }
  std::vector<char*> argv;
  argv.push_back(const_cast<char*>(program.c_str()));
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  const SpawnSetup setup(child_end, child_fd);
  pid_t pid = -1;
  const std::vector<char*> variables = ChildEnvironment();
  const int error =
      posix_spawn(&pid, program.c_str(), setup.actions(), setup.attributes(), argv.data(), variables.data());
  close(child_end);
  if (error != 0) {
    close(ends[0]);
    return absl::UnavailableError(
        absl::StrCat("The program ", program, " cannot be started: ", std::strerror(error), "."));
  }
  // Nobody else waits for this child, so the number cannot have gone to another process yet.
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (pidfd >= 0) fcntl(pidfd, F_SETFD, FD_CLOEXEC);
  return ChildProcess(pid, ends[0], pidfd);
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      fd_(std::exchange(other.fd_, -1)),
      pidfd_(std::exchange(other.pidfd_, -1)),
      ended_(std::move(other.ended_)) {}

ChildProcess::~ChildProcess() {
  if (pid_ > 0 && !ended_) Kill();
  CloseIfOpen(fd_);
  CloseIfOpen(pidfd_);
}

void ChildProcess::CloseInput() { shutdown(fd_, SHUT_WR); }

std::optional<std::string> ChildProcess::WaitForExit(absl::Duration limit) {
  if (ended_) return ended_;
  // Without a pidfd, the closing of the child's end of the socket announces its end.
  pollfd watched{pidfd_ >= 0 ? pidfd_ : fd_, static_cast<short>(pidfd_ >= 0 ? POLLIN : POLLRDHUP), 0};
  const absl::Time deadline = AwakeNow() + limit;
  int ready = 0;
  do {
    ready = poll(&watched, 1, PollMilliseconds(deadline - AwakeNow()));
  } while (ready < 0 && errno == EINTR);
  if (ready <= 0) return std::nullopt;
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) return ended_ = "was reaped by somebody else";
  }
  return ended_ = DescribeEnd(status);
}

std::string ChildProcess::Kill() {
  if (ended_) return *ended_;
  // A process that is at its end keeps the status that it has.
  kill(pid_, SIGKILL);
  if (!WaitForExit(kKillLimit)) {
    ended_ = absl::StrCat("(process ", static_cast<int64_t>(pid_), ") does not end although it was killed");
  }
  return *ended_;
}

}  // namespace potluck
