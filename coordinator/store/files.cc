#include "coordinator/store/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace potluck {
namespace {

absl::Status WriteAll(int fd, const std::string& path, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError("write", path, errno);
    bytes.remove_prefix(written);
  }
  return absl::OkStatus();
}

absl::Status SyncPath(const std::string& path, int flags) {
  const Descriptor file(open(path.c_str(), flags | O_CLOEXEC));
  if (file.get() < 0 || fsync(file.get()) != 0) return FileError("sync", path, errno);
  return absl::OkStatus();
}

absl::Status WriteTemporary(const std::string& path, absl::string_view bytes) {
  const Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (file.get() < 0) return FileError("create", path, errno);
  if (absl::Status status = WriteAll(file.get(), path, bytes); !status.ok()) return status;
  if (fsync(file.get()) != 0) return FileError("sync", path, errno);
  return absl::OkStatus();
}

}  // namespace

absl::Status FileError(absl::string_view what, const std::string& path, int error) {
  const std::string sentence = absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(sentence);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(
          absl::StrCat(sentence, "; give this user write access or choose another place"));
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(absl::StrCat(sentence, "; free some space there"));
    case ENOTDIR:
    case EEXIST:
      return absl::FailedPreconditionError(absl::StrCat(sentence, "; choose another place"));
    default:
      return absl::InternalError(sentence);
  }
}

absl::Status MakeDirectory(const std::string& path) {
  if (path.empty()) return absl::InvalidArgumentError("the directory's name is empty; give a path");
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    struct stat info;
    // mkdir on an existing directory of a read-only file system says EROFS rather than EEXIST: look first.
    if (stat(part.c_str(), &info) != 0) {
      if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return FileError("create the directory", part, errno);
    } else if (!S_ISDIR(info.st_mode)) {
      return absl::FailedPreconditionError(absl::StrCat(part, " is not a directory; choose another place"));
    }
    if (end == std::string::npos) break;
  }
  if (access(path.c_str(), R_OK | W_OK | X_OK) != 0) return FileError("write to the directory", path, errno);
  return absl::OkStatus();
}

absl::Status SyncDirectory(const std::string& path) { return SyncPath(path, O_RDONLY | O_DIRECTORY); }

absl::Status SyncFile(const std::string& path) { return SyncPath(path, O_RDWR); }

absl::Status WriteFileDurably(const std::string& path, const std::string& temporary, absl::string_view bytes) {
  absl::Status status = WriteTemporary(temporary, bytes);
  if (status.ok() && std::rename(temporary.c_str(), path.c_str()) != 0) status = FileError("create", path, errno);
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  return SyncDirectory(DirectoryOf(path));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info;
  if (file.get() < 0 || fstat(file.get(), &info) != 0) return FileError("open", path, errno);
  std::string bytes(info.st_size, '\0');
  size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = read(file.get(), bytes.data() + have, bytes.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError("read", path, errno);
    if (got == 0) break;
    have += got;
  }
  bytes.resize(have);
  return bytes;
}

bool FileExists(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0;
}

uint64_t FileSize(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 ? info.st_size : 0;
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<DirectoryLock> DirectoryLock::Take(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/lock");
  Descriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (file.get() < 0) return FileError("open", path, errno);
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return FileError("lock", path, errno);
    const absl::StatusOr<std::string> holder = ReadFile(path);
    int pid = 0;
    const bool known = holder.ok() && absl::SimpleAtoi(*holder, &pid);
    return absl::FailedPreconditionError(
        absl::StrCat("state directory ", directory, " is in use by another coordinator (process ",
                     known ? absl::StrCat(pid) : "unknown", "); stop it or choose another --state"));
  }
  // The number is for the message above only: on a full disk the lock holds without it.
  if (ftruncate(file.get(), 0) == 0) WriteAll(file.get(), path, absl::StrCat(getpid(), "\n")).IgnoreError();
  return DirectoryLock(std::move(file));
}

}  // namespace potluck
