#include "worker/scratch.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace potluck {
namespace {

constexpr char kLockSuffix[] = ".lock";
constexpr int kMostTries = 1000;

// A descriptor with the file's lock; -1 and EWOULDBLOCK when somebody else has it, or the file was taken away
// meanwhile; -1 and another error where there are no locks.
int Lock(const std::string& file, int flags) {
  const int fd = open(file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
  if (fd < 0) return -1;
  struct stat opened {};
  const bool is_locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
  if (is_locked && fstat(fd, &opened) == 0 && opened.st_nlink > 0) return fd;
  const int error = is_locked ? EWOULDBLOCK : errno;
  close(fd);
  errno = error;
  return -1;
}

bool NoLocks(int error) { return error == ENOSYS || error == EOPNOTSUPP || error == ENOLCK || error == EINVAL; }

}  // namespace

void Scratch::RemoveOrphans(const std::string& parent) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(parent, error)) {
    const std::string file = entry.path().string();
    if (!absl::EndsWith(file, kLockSuffix)) continue;
    const int lock = Lock(file, 0);
    if (lock < 0) continue;
    std::error_code ignored;
    std::filesystem::remove_all(std::string(absl::StripSuffix(file, kLockSuffix)), ignored);
    unlink(file.c_str());
    close(lock);
  }
}

absl::StatusOr<Scratch> Scratch::Create(const std::string& parent) {
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  RemoveOrphans(parent);
  for (int i = 0; i < kMostTries; ++i) {
    const std::string path = absl::StrCat(parent, "/", getpid(), "-", i);
    const int lock = Lock(path + kLockSuffix, O_CREAT | O_EXCL);
    if (lock < 0 && NoLocks(errno)) {
      const int failure = errno;
      unlink((path + kLockSuffix).c_str());
      return absl::UnimplementedError(
          absl::StrCat("Files in ", parent, " cannot be locked (", std::strerror(failure), ")."));
    }
    if (lock < 0 && errno != EEXIST && errno != EWOULDBLOCK) break;
    if (lock < 0) continue;
    if (mkdir(path.c_str(), 0700) == 0) return Scratch(path, lock);
    const int failure = errno;
    unlink((path + kLockSuffix).c_str());
    close(lock);
    errno = failure;
    if (failure != EEXIST) break;
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("No folder can be made in ", parent, " (", std::strerror(errno), "); choose another by --cache."));
}

Scratch::~Scratch() {
  if (lock_ < 0) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  unlink((path_ + kLockSuffix).c_str());
  close(lock_);
}

}  // namespace potluck
