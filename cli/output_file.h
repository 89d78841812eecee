// A file that a command writes: under another name beside it until it is complete, so that nobody ever sees half of it.
// Compressed (gzip) when its name ends in `.gz`. Not thread-safe.
#pragma once

#include <zlib.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace potluck {

class OutputFile {
 public:
  // Fails if no file can be made there (InvalidArgument if something else than a plain file is in the place).
  static absl::StatusOr<std::unique_ptr<OutputFile>> Create(const std::string& path);
  // Standard output, never compressed; nothing is withheld until Finish.
  static std::unique_ptr<OutputFile> ToStandardOutput();
  ~OutputFile();  // Removes what was not finished.
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // An error stays: it is told by Finish too.
  absl::Status Write(absl::string_view bytes);
  // On the disk and in its place, which it takes from a file that was there.
  absl::Status Finish();

  const std::string& path() const { return path_; }  // Empty: standard output.

 private:
  OutputFile(std::string path, std::string temporary, gzFile file, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), file_(file), fd_(fd) {}
  absl::Status Fail(int error);

  const std::string path_;
  const std::string temporary_;
  gzFile file_;  // Null: standard output, or finished.
  int fd_;       // The same file, to be synced.
  bool finished_ = false;
  absl::Status status_;
};

}  // namespace potluck
