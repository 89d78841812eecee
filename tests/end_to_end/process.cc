#include "tests/end_to_end/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"

extern char** environ;

namespace potluck::end_to_end {
namespace {

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> Environment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!added.contains(text.substr(0, text.find('=')))) environment.push_back(text);
  }
  for (const auto& [name, value] : added) environment.push_back(absl::StrCat(name, "=", value));
  return environment;
}

int Spawn(const std::string& program, std::vector<std::string> arguments, std::vector<std::string> environment,
          int output, int errors, pid_t& pid) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
  const int error =
      posix_spawn(&pid, program.c_str(), &actions, nullptr, Pointers(arguments).data(), Pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

int LinesWith(const std::string& text, const std::string& wanted) {
  int lines = 0;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    // A line that is not finished yet may still be missing what makes it another one.
    if (!stream.eof() && line.find(wanted) != std::string::npos) ++lines;
  }
  return lines;
}

// The fields of /proc/PID/stat after the name, from the state on; empty when it is gone.
std::vector<std::string> Stat(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos || name_end + 2 > text.size()) return {};
  return absl::StrSplit(text.substr(name_end + 2), ' ');
}

// The first argument after the program's name.
std::string CommandOf(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/cmdline"));
  std::string name, command;
  std::getline(file, name, '\0');
  std::getline(file, command, '\0');
  return command;
}

}  // namespace

Process::Process(const std::string& program, const std::vector<std::string>& arguments,
                 const std::map<std::string, std::string>& environment) {
  int output[2] = {-1, -1}, errors[2] = {-1, -1};
  std::vector<std::string> all = {program};
  all.insert(all.end(), arguments.begin(), arguments.end());
  int error = 0;
  if (pipe2(output, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0 || pipe2(stop_, O_CLOEXEC) != 0) {
    error = errno;
  } else {
    error = Spawn(program, std::move(all), Environment(environment), output[1], errors[1], pid_);
  }
  close(output[1]);
  close(errors[1]);
  if (error != 0) {
    pid_ = -1;
    close(output[0]);
    close(errors[0]);
    MutexLock lock(&mutex_);
    errors_.text = absl::StrCat("cannot start ", program, ": ", std::strerror(error), "\n");
    exit_ = Exit{.code = 127};
    return;
  }
  {
    MutexLock lock(&mutex_);
    output_.fd = output[0];
    errors_.fd = errors[0];
  }
  for (const int fd : {output[0], errors[0]}) fcntl(fd, F_SETFL, O_NONBLOCK);
  output_reader_ = std::thread([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { Read(output_); });
  error_reader_ = std::thread([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { Read(errors_); });
  reaper_ = std::thread([this] { Reap(); });
}

Process::~Process() {
  Kill();
  close(stop_[1]);
  for (std::thread* thread : {&reaper_, &output_reader_, &error_reader_}) {
    if (thread->joinable()) thread->join();
  }
  close(stop_[0]);
}

void Process::Drain(Stream& stream) {
  char buffer[4096];
  while (stream.fd >= 0) {
    const ssize_t size = read(stream.fd, buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
      close(stream.fd);
      stream.fd = -1;
      return;
    }
    stream.text.append(buffer, static_cast<size_t>(size));
    changed_.SignalAll();
  }
}

void Process::Read(Stream& stream) {
  pollfd watched[2] = {{-1, POLLIN, 0}, {stop_[0], POLLIN, 0}};
  while (true) {
    {
      MutexLock lock(&mutex_);
      if ((watched[1].revents & (POLLIN | POLLHUP)) == 0) Drain(stream);
      if (watched[1].revents != 0 && stream.fd >= 0) {
        close(stream.fd);
        stream.fd = -1;
      }
      watched[0].fd = stream.fd;
    }
    if (watched[0].fd < 0) return;
    poll(watched, 2, -1);
  }
}

void Process::Reap() {
  // Without reaping it: until exit_ is set nobody else can get its number, so Signal never hits a stranger.
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  MutexLock lock(&mutex_);
  // Its last words, before anybody hears that it has ended. Children of its own may have more to say.
  Drain(output_);
  Drain(errors_);
  int status = 0;
  waitpid(pid_, &status, 0);
  exit_ = WIFSIGNALED(status) ? Exit{.signal = WTERMSIG(status)} : Exit{.code = WEXITSTATUS(status)};
  changed_.SignalAll();
}

std::string Process::output() const {
  MutexLock lock(&mutex_);
  return output_.text;
}

std::string Process::errors() const {
  MutexLock lock(&mutex_);
  return errors_.text;
}

bool Process::has_ended() const {
  MutexLock lock(&mutex_);
  return exit_.has_value();
}

bool Process::WaitForLine(const std::string& text, absl::Duration timeout, int times) {
  const absl::Time end = MonotonicNow() + timeout;
  MutexLock lock(&mutex_);
  while (LinesWith(output_.text, text) + LinesWith(errors_.text, text) < times) {
    const absl::Duration left = end - MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    // Its children's words may come after its end.
    if (exit_.has_value() && !changed_.WaitFor(&mutex_, std::min(left, absl::Seconds(1)))) return false;
    if (!exit_.has_value()) changed_.WaitFor(&mutex_, left);
  }
  return true;
}

std::optional<Exit> Process::WaitForExit(absl::Duration timeout) {
  const absl::Time end = MonotonicNow() + timeout;
  std::optional<Exit> exit;
  {
    MutexLock lock(&mutex_);
    while (!exit_.has_value()) {
      const absl::Duration left = end - MonotonicNow();
      if (left <= absl::ZeroDuration()) return std::nullopt;
      changed_.WaitFor(&mutex_, left);
    }
    exit = exit_;
  }
  return exit;
}

bool Process::Signal(int signal) {
  MutexLock lock(&mutex_);
  return !exit_.has_value() && kill(pid_, signal) == 0;
}

void Process::Kill() {
  Signal(SIGKILL);
  WaitForExit(absl::Seconds(30));
}

std::vector<pid_t> ChildrenOf(pid_t parent, const std::string& argument) {
  std::vector<pid_t> children;
  DIR* const processes = opendir("/proc");
  if (processes == nullptr) return children;
  while (const dirent* entry = readdir(processes)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry->d_name, &pid)) continue;
    const std::vector<std::string> stat = Stat(pid);
    if (stat.size() < 2 || stat[0] == "Z" || stat[1] != absl::StrCat(parent)) continue;
    if (argument.empty() || CommandOf(pid) == argument) children.push_back(pid);
  }
  closedir(processes);
  return children;
}

bool IsRunning(pid_t pid) {
  const std::vector<std::string> stat = Stat(pid);
  return !stat.empty() && stat[0] != "Z" && stat[0] != "X";
}

bool IsStopped(pid_t pid) {
  const std::vector<std::string> stat = Stat(pid);
  return !stat.empty() && stat[0] == "T";
}

absl::Duration CpuTime(pid_t pid) {
  const std::vector<std::string> stat = Stat(pid);
  constexpr size_t kUserTicks = 11, kSystemTicks = 12;  // Counted from the state.
  int64_t user = 0, system = 0;
  if (stat.size() <= kSystemTicks || !absl::SimpleAtoi(stat[kUserTicks], &user) ||
      !absl::SimpleAtoi(stat[kSystemTicks], &system)) {
    return absl::ZeroDuration();
  }
  return absl::Seconds(static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK)));
}

}  // namespace potluck::end_to_end
