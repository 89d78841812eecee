#include "worker/result_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace potluck {
namespace {

absl::Status FileError(const std::string& path, const char* what, int error) {
  const bool is_full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  const std::string sentence = absl::StrCat("The file ", path, " cannot be ", what, ": ", std::strerror(error),
                                            is_full ? "; make room there, or choose another folder by --cache." : ".");
  return is_full ? absl::ResourceExhaustedError(sentence) : absl::InternalError(sentence);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ResultFile>> ResultFile::Take(const std::string& path,
                                                                   const std::string& kept_as) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return FileError(path, "opened", errno);
  const bool is_kept = !kept_as.empty() && rename(path.c_str(), kept_as.c_str()) == 0;
  if (!is_kept) unlink(path.c_str());
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(fd);
    if (is_kept) unlink(kept_as.c_str());
    return absl::InternalError(absl::StrCat("The result ", path, " is not a regular file."));
  }
  return std::shared_ptr<const ResultFile>(
      new ResultFile(fd, static_cast<uint64_t>(status.st_size), is_kept ? kept_as : ""));
}

ResultFile::~ResultFile() {
  if (!path_.empty()) unlink(path_.c_str());
  close(fd_);
}

absl::Status ResultFile::Read(uint64_t offset, size_t size, std::string& out) const {
  out.resize(size);
  for (size_t done = 0; done < size;) {
    const ssize_t got = pread(fd_, out.data() + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError("of a result", "read", errno);
    if (got == 0) return absl::InternalError("The file of a result became shorter.");
    done += static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

std::string ResultFilePrefix(int64_t pid) { return absl::StrCat("result-", pid, "-"); }

absl::Status WriteAt(int fd, const std::string& path, uint64_t offset, std::string_view bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t put = pwrite(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return FileError(path, "written", put < 0 ? errno : EIO);
    done += static_cast<size_t>(put);
  }
  return absl::OkStatus();
}

absl::Status WriteResultFile(const std::string& path, std::string_view bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return FileError(path, "made", errno);
  absl::Status status = WriteAt(fd, path, 0, bytes);
  if (close(fd) != 0 && status.ok()) status = FileError(path, "written", errno);
  if (!status.ok()) unlink(path.c_str());
  return status;
}

}  // namespace potluck
