// What the stores need of a POSIX file system: durable writes, one owner a directory, errors as sentences.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace potluck {

// "cannot WHAT PATH: REASON", with a code for the errno value and what to do about it.
absl::Status FileError(absl::string_view what, const std::string& path, int error);

// Makes the directory and its missing parents with mode 0700. Fails if something else is there or it cannot be written.
absl::Status MakeDirectory(const std::string& path);

// Makes renames, new files and removals in the directory durable.
absl::Status SyncDirectory(const std::string& path);
absl::Status SyncFile(const std::string& path);

// Writes `bytes` under `path`: all of it or nothing, durable on return. `temporary` is in the same directory.
absl::Status WriteFileDurably(const std::string& path, const std::string& temporary, absl::string_view bytes);

// NotFound if there is none.
absl::StatusOr<std::string> ReadFile(const std::string& path);

bool FileExists(const std::string& path);
// 0 if there is none.
uint64_t FileSize(const std::string& path);
// The directory part; "." if there is none.
std::string DirectoryOf(const std::string& path);

// Closes a descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor();
  int get() const { return fd_; }

 private:
  int fd_;
};

// Holds DIR/lock for as long as it lives; the system releases it when the process dies.
class DirectoryLock {
 public:
  // FailedPrecondition if another coordinator, in this process or another one, holds it.
  static absl::StatusOr<DirectoryLock> Take(const std::string& directory);

 private:
  explicit DirectoryLock(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}
  Descriptor descriptor_;
};

}  // namespace potluck
