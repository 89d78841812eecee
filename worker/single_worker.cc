#include "worker/single_worker.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "worker/installation.h"
#include "worker/process_id.h"

namespace potluck {
namespace {

constexpr size_t kMostBytes = 4096;
constexpr absl::Duration kLookInterval = absl::Milliseconds(50);
// The older worker is gone once its lock is; a kernel that keeps a killed one (a driver) may take this long.
constexpr absl::Duration kKillLimit = absl::Seconds(10);

// One a machine: a home may be shared by several.
std::string FileName() {
  char host[65] = {};
  gethostname(host, sizeof host - 1);
  std::string name = host;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0 && c != '-' && c != '.'; }, '_');
  return absl::StrCat("single-worker-", name);
}

// What the file says: an installation on the first line, who has it on the second.
struct Words {
  std::string installation;
  std::optional<ProcessId> holder;
};

Words ReadWords(int file) {
  std::string text(kMostBytes, '\0');
  const ssize_t size = pread(file, text.data(), text.size(), 0);
  text.resize(static_cast<size_t>(std::max<ssize_t>(0, size)));
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  Words words;
  if (IsInstallationId(lines[0])) words.installation = lines[0];
  if (lines.size() > 1) words.holder = ParseProcessId(lines[1]);
  return words;
}

bool WriteWords(int file, const Words& words) {
  const std::string text = absl::StrCat(words.installation, "\n", FormatProcessId(*words.holder), "\n");
  // What stood there before goes last: on a full disk it may be written over, but not made anew.
  return pwrite(file, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()) &&
         ftruncate(file, static_cast<off_t>(text.size())) == 0;
}

bool IsLocked(int file) { return flock(file, LOCK_EX | LOCK_NB) == 0; }

// Kills a worker that does not leave, with its executors: one that hangs in a driver would not notice the worker's end.
void KillWorker(const ProcessId& worker, const ProcessHandle& handle) {
  std::vector<std::unique_ptr<ProcessHandle>> executors;
  for (const ProcessId& executor : ChildrenOf(worker, "executor")) {
    executors.push_back(std::make_unique<ProcessHandle>(executor));
  }
  handle.Signal(SIGKILL);
  for (const auto& executor : executors) executor->Signal(SIGKILL);
}

// Sees the holder off. Ok when it has ended, or was another one by then.
absl::Status SeeOff(const ProcessId& holder, const SingleWorkerOptions& options) {
  const ProcessHandle handle(holder);
  const int64_t pid = holder.pid;
  if (!handle.Signal(SIGTERM)) {
    if (errno == ESRCH) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("a worker (process ", pid, ") has the place of the single one ",
                                                      "here and cannot be asked to leave: ", std::strerror(errno)));
  }
  options.say(absl::StrCat("a worker already runs here (process ", pid, "): it is asked to leave, and this one takes ",
                           "its place"));
  if (handle.WaitForEnd(options.patience)) return absl::OkStatus();
  handle.Signal(SIGTERM);  // The second time: at once.
  if (handle.WaitForEnd(options.last_words)) return absl::OkStatus();
  KillWorker(holder, handle);
  options.say(absl::StrCat("it did not leave within ", absl::FormatDuration(options.patience + options.last_words),
                           " and is killed; what it was computing will be done again"));
  if (handle.WaitForEnd(kKillLimit)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the worker that runs here (process ", pid, ") does not end ",
                                                    "although it was killed; restart this machine or session"));
}

// The lock on the file, whoever had it.
absl::Status TakeLock(int file, const std::string& path, const SingleWorkerOptions& options) {
  absl::Time give_up = AwakeNow() + options.patience;
  while (!IsLocked(file)) {
    const std::optional<ProcessId> holder = ReadWords(file).holder;
    if (holder && IsRunning(*holder)) {
      if (absl::Status status = SeeOff(*holder, options); !status.ok()) return status;
      give_up = AwakeNow() + options.patience;
    } else if (AwakeNow() < give_up) {
      absl::SleepFor(kLookInterval);  // Whoever has just taken it is about to write who it is.
    } else {
      return absl::FailedPreconditionError(
          absl::StrCat("the place of the single worker is taken by a process that cannot be told, on this machine or ",
                       "on another that shares ", path, "; end that worker, or join without --single"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SingleWorker> SingleWorker::Take(const SingleWorkerOptions& options) {
  const std::string path = absl::StrCat(options.directory, "/", FileName());
  const auto without_file = [&] {
    options.say(absl::StrCat("cannot keep ", path, " (", std::strerror(errno), "), so a worker that already runs here ",
                             "is not noticed"));
    return SingleWorker(-1, "");
  };
  errno = ENOENT;
  const int file = options.directory.empty() ? -1 : open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return without_file();
  if (!IsLocked(file) && errno != EWOULDBLOCK) {  // A file system without locks.
    close(file);
    return without_file();
  }
  SingleWorker worker(file, "");
  if (absl::Status status = TakeLock(file, path, options); !status.ok()) return status;
  Words words = ReadWords(file);
  words.holder = IdentifyProcess(getpid());
  if (words.installation.empty()) words.installation = NewInstallationId().value_or("");
  errno = ENOENT;
  if (!words.holder || !WriteWords(file, words)) {
    options.say(absl::StrCat("cannot write ", path, " (", std::strerror(errno), "), so a worker that is started here ",
                             "later cannot take this one's place"));
  }
  worker.installation_ = words.installation;
  return worker;
}

SingleWorker::SingleWorker(SingleWorker&& other) noexcept
    : lock_(std::exchange(other.lock_, -1)), installation_(std::move(other.installation_)) {}

SingleWorker::~SingleWorker() {
  if (lock_ >= 0) close(lock_);
}

}  // namespace potluck
