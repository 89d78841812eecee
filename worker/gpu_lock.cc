#include "worker/gpu_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "worker/process_id.h"

namespace potluck {
namespace {

constexpr size_t kMostBytes = 4096;
constexpr absl::Duration kLookLimit = absl::Milliseconds(200);
constexpr absl::Duration kLookInterval = absl::Milliseconds(20);
constexpr mode_t kForEverybody = 0666;

std::string FileName(std::string gpu) {
  std::replace_if(
      gpu.begin(), gpu.end(), [](unsigned char c) { return std::isalnum(c) == 0 && c != '-'; }, '_');
  return absl::StrCat("potluck-", gpu, ".lock");
}

// The GPU's file; -1: it cannot be used.
int OpenLockFile(const std::string& path) {
  // Not O_CREAT at first: kernels refuse that for files of others in such folders (fs.protected_regular).
  constexpr int kFlags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  int file = open(path.c_str(), O_RDWR | kFlags);
  if (file < 0 && errno == ENOENT) {
    file = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | kFlags, kForEverybody);
    if (file >= 0) fchmod(file, kForEverybody);  // Whatever the umask is.
    if (file < 0 && errno == EEXIST) file = open(path.c_str(), O_RDWR | kFlags);
  }
  if (file < 0 && errno == EACCES) file = open(path.c_str(), O_RDONLY | kFlags);
  if (file < 0) return -1;
  struct stat status {};
  if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1) return file;
  close(file);
  return -1;
}

std::string HolderOf(int file) {
  std::string text(kMostBytes, '\0');
  const ssize_t size = pread(file, text.data(), text.size(), 0);
  text.resize(static_cast<size_t>(std::max<ssize_t>(0, size)));
  const std::optional<ProcessId> holder = ParseProcessId(text.substr(0, text.find('\n')));
  if (!holder || !IsRunning(*holder)) return "another potluck worker";
  return absl::StrCat("another potluck worker (process ", static_cast<int64_t>(holder->pid), ")");
}

// For people only: that it cannot be written does not matter.
void WriteHolder(int file) {
  const std::optional<ProcessId> self = IdentifyProcess(getpid());
  const std::string text = self ? FormatProcessId(*self) + "\n" : "";
  if (ftruncate(file, 0) != 0) return;
  [[maybe_unused]] const ssize_t written = pwrite(file, text.data(), text.size(), 0);
}

void AddNote(const std::string& sentence, std::string& note) {
  absl::StrAppend(&note, note.empty() ? "" : " ", sentence);
}

}  // namespace

absl::StatusOr<GpuLock> GpuLock::Take(const std::string& gpu, const std::string& folder) {
  const int file = OpenLockFile(absl::StrCat(folder, "/", FileName(gpu)));
  if (file < 0) return GpuLock(-1);
  // Whoever only looks whether a GPU is free (doctor, a command's own workers) has it for a moment.
  const absl::Time give_up = AwakeNow() + kLookLimit;
  int locked = flock(file, LOCK_EX | LOCK_NB);
  while (locked != 0 && errno == EWOULDBLOCK && AwakeNow() < give_up) {
    absl::SleepFor(kLookInterval);
    locked = flock(file, LOCK_EX | LOCK_NB);
  }
  if (locked == 0) {
    WriteHolder(file);
    return GpuLock(file);
  }
  const bool is_taken = errno == EWOULDBLOCK;
  const std::string holder = is_taken ? HolderOf(file) : "";
  close(file);
  if (is_taken) return absl::UnavailableError(holder);
  return GpuLock(-1);
}

GpuLock::~GpuLock() {
  if (file_ >= 0) close(file_);
}

std::string GpuLockName(const std::string& id, int index) { return id.empty() ? absl::StrCat("GPU-", index) : id; }

absl::StatusOr<std::vector<GpuLock>> TakeGpus(const std::string& device, FoundDevices& found,
                                              const std::string& folder) {
  std::vector<GpuLock> locks;
  std::vector<DeviceSpec> free;
  for (DeviceSpec& spec : found.devices) {
    if (spec.kind == "cuda") {
      absl::StatusOr<GpuLock> lock = GpuLock::Take(GpuLockName(spec.id, spec.index), folder);
      if (!lock.ok()) {
        AddNote(absl::StrCat("GPU ", spec.index, " (", spec.name, ") is in use by ", lock.status().message(), "."),
                found.gpu_note);
        continue;
      }
      locks.push_back(*std::move(lock));
    }
    free.push_back(std::move(spec));
  }
  found.devices = std::move(free);
  if (!found.devices.empty()) return locks;
  if (device == "cuda") {
    return absl::NotFoundError(absl::StrCat("device is \"cuda\", but no GPU can be used: ", found.gpu_note));
  }
  AddNote("The CPU is used instead.", found.gpu_note);
  found.devices.push_back(found.cpu);
  return locks;
}

}  // namespace potluck
