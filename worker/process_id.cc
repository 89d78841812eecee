#include "worker/process_id.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/clock.h"

namespace potluck {
namespace {

constexpr absl::Duration kLookInterval = absl::Milliseconds(50);

std::string ReadText(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// proc(5): the fields of stat after the name, which stands in parentheses and may hold spaces.
constexpr size_t kState = 0, kParent = 1, kStart = 19;

std::vector<std::string> Stat(pid_t pid) {
  const std::string text = ReadText(absl::StrCat("/proc/", pid, "/stat"));
  const size_t parenthesis = text.rfind(')');
  if (parenthesis == std::string::npos) return {};
  std::vector<std::string> fields = absl::StrSplit(text.substr(parenthesis + 1), ' ', absl::SkipEmpty());
  if (fields.size() <= kStart || fields[kState] == "Z" || fields[kState] == "X") return {};
  return fields;
}

// The first argument after the program's name.
std::string CommandOf(pid_t pid) {
  const std::vector<std::string> words = absl::StrSplit(ReadText(absl::StrCat("/proc/", pid, "/cmdline")), '\0');
  return words.size() > 1 ? words[1] : "";
}

}  // namespace

std::string ThisMachine() {
  std::string boot = ReadText("/proc/sys/kernel/random/boot_id");
  absl::StripAsciiWhitespace(&boot);
  std::error_code error;
  const std::string space = std::filesystem::read_symlink("/proc/self/ns/pid", error).string();
  return absl::StrCat(boot, "/", space);
}

std::optional<ProcessId> IdentifyProcess(pid_t pid) {
  ProcessId found{.pid = pid, .machine = ThisMachine()};
  const std::vector<std::string> stat = Stat(pid);
  if (pid <= 0 || stat.empty() || !absl::SimpleAtoi(stat[kStart], &found.start)) return std::nullopt;
  return found;
}

bool IsRunning(const ProcessId& process) { return IdentifyProcess(process.pid) == process; }

std::string FormatProcessId(const ProcessId& process) {
  return absl::StrCat(static_cast<int64_t>(process.pid), " ", process.start, " ", process.machine);
}

std::optional<ProcessId> ParseProcessId(absl::string_view text) {
  const std::vector<std::string> words = absl::StrSplit(text, ' ', absl::SkipEmpty());
  ProcessId process;
  if (words.size() != 3 || !absl::SimpleAtoi(words[0], &process.pid) || process.pid <= 0 ||
      !absl::SimpleAtoi(words[1], &process.start)) {
    return std::nullopt;
  }
  process.machine = words[2];
  return process;
}

std::vector<ProcessId> ChildrenOf(const ProcessId& parent, const std::string& command) {
  std::vector<ProcessId> children;
  DIR* const processes = opendir("/proc");
  if (processes == nullptr) return children;
  const std::string parent_number = absl::StrCat(static_cast<int64_t>(parent.pid));
  while (const dirent* entry = readdir(processes)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry->d_name, &pid)) continue;
    const std::optional<ProcessId> child = IdentifyProcess(pid);
    const std::vector<std::string> stat = Stat(pid);
    if (child && !stat.empty() && stat[kParent] == parent_number && CommandOf(pid) == command) {
      children.push_back(*child);
    }
  }
  closedir(processes);
  if (!IsRunning(parent)) children.clear();  // The number may have been another one's meanwhile.
  return children;
}

ProcessHandle::ProcessHandle(ProcessId process) : process_(std::move(process)) {
  fd_ = static_cast<int>(syscall(SYS_pidfd_open, process_.pid, 0));
  if (fd_ < 0) return;
  fcntl(fd_, F_SETFD, FD_CLOEXEC);
  // Looked at after it was opened: if it is the right one now, the descriptor means it.
  if (IsRunning(process_)) return;
  close(fd_);
  fd_ = -1;
}

ProcessHandle::~ProcessHandle() {
  if (fd_ >= 0) close(fd_);
}

bool ProcessHandle::Signal(int signal) const {
  if (fd_ >= 0 && syscall(SYS_pidfd_send_signal, fd_, signal, nullptr, 0) == 0) return true;
  if (fd_ >= 0 && errno != ENOSYS) return false;
  if (!IsRunning(process_)) {
    errno = ESRCH;
    return false;
  }
  return kill(process_.pid, signal) == 0;
}

bool ProcessHandle::WaitForEnd(absl::Duration limit) const {
  const absl::Time until = AwakeNow() + limit;
  while (IsRunning(process_)) {
    const absl::Duration left = until - AwakeNow();
    if (left <= absl::ZeroDuration()) return false;
    if (fd_ < 0) {
      absl::SleepFor(std::min(left, kLookInterval));
      continue;
    }
    pollfd watched{fd_, POLLIN, 0};
    poll(&watched, 1, static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)))));
  }
  return true;
}

}  // namespace potluck
