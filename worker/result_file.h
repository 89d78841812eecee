// A result that is too large for a frame, on its way from an executor to the coordinator: a file that has no name any
// more as soon as the worker has taken it, so that nothing is left behind however the worker ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace potluck {

// Immutable and thread-safe; owns the descriptor, and thereby the bytes.
class ResultFile {
 public:
  // Opens the file and takes its name away; or gives it another one, `kept_as`, until the end.
  static absl::StatusOr<std::shared_ptr<const ResultFile>> Take(const std::string& path,
                                                                const std::string& kept_as = "");
  ~ResultFile();
  ResultFile(const ResultFile&) = delete;
  ResultFile& operator=(const ResultFile&) = delete;

  uint64_t size() const { return size_; }
  // Empty: it has none.
  const std::string& path() const { return path_; }
  // `size` bytes from `offset` on, which the file has, into `out`, which is resized. Fails when the disk does.
  absl::Status Read(uint64_t offset, size_t size, std::string& out) const;

 private:
  ResultFile(int fd, uint64_t size, std::string path) : fd_(fd), size_(size), path_(std::move(path)) {}
  const int fd_;
  const uint64_t size_;
  const std::string path_;
};

// How the names of an executor's result files begin, so that those that it left behind can be told.
std::string ResultFilePrefix(int64_t pid);

// Writes all of `bytes` to the descriptor, at `offset`. ResourceExhausted when the disk is full, with a sentence that
// names `path`.
absl::Status WriteAt(int fd, const std::string& path, uint64_t offset, std::string_view bytes);

// A new file with these bytes; none is left when that fails.
absl::Status WriteResultFile(const std::string& path, std::string_view bytes);

}  // namespace potluck
