#include "cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/output.h"

namespace potluck {
namespace {

absl::Status CannotWrite(const std::string& path, int error) {
  return absl::UnknownError(absl::StrCat("cannot write ", path, ": ", std::strerror(error)));
}

// A device or a directory must not be replaced.
absl::Status CheckPlace(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("cannot write ", path, ": it is not a plain file; allowed is a file, or a name that is free"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::Create(const std::string& path) {
  if (absl::Status place = CheckPlace(path); !place.ok()) return place;
  std::string temporary = absl::StrCat(path, ".", getpid(), ".part");
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) return CannotWrite(path, errno);
  const int synced = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  // T: as it is.
  const gzFile file = synced < 0 ? nullptr : gzdopen(fd, absl::EndsWith(path, ".gz") ? "wb" : "wbT");
  if (file == nullptr) {
    const int error = errno;
    close(fd);
    if (synced >= 0) close(synced);
    unlink(temporary.c_str());
    return CannotWrite(path, error);
  }
  return std::unique_ptr<OutputFile>(new OutputFile(path, std::move(temporary), file, synced));
}

std::unique_ptr<OutputFile> OutputFile::ToStandardOutput() {
  return std::unique_ptr<OutputFile>(new OutputFile("", "", nullptr, -1));
}

OutputFile::~OutputFile() {
  if (file_ != nullptr) gzclose(file_);
  if (fd_ >= 0) close(fd_);
  if (!finished_ && !temporary_.empty()) unlink(temporary_.c_str());
}

absl::Status OutputFile::Fail(int error) {
  if (status_.ok()) status_ = CannotWrite(path_, error);
  return status_;
}

absl::Status OutputFile::Write(absl::string_view bytes) {
  if (!status_.ok() || bytes.empty()) return status_;
  if (path_.empty()) {
    std::fwrite(bytes.data(), 1, bytes.size(), stdout);
    return status_ = std::ferror(stdout) == 0 ? absl::OkStatus() : FlushOutput();
  }
  errno = EIO;  // Kept if zlib itself fails.
  if (gzwrite(file_, bytes.data(), static_cast<unsigned>(bytes.size())) == 0) return Fail(errno);
  return absl::OkStatus();
}

absl::Status OutputFile::Finish() {
  if (!status_.ok()) return status_;
  if (path_.empty()) return status_ = FlushOutput();
  errno = EIO;
  if (gzclose(std::exchange(file_, nullptr)) != Z_OK) return Fail(errno);
  if (fsync(fd_) != 0) return Fail(errno);
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return Fail(errno);
  finished_ = true;
  return absl::OkStatus();
}

}  // namespace potluck
