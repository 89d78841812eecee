// Where a BlobStore keeps its files: named, immutable byte strings. One in a directory, one in memory. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace potluck {

class BlobMedium {
 public:
  struct File {
    std::string name;
    uint64_t size = 0;
  };

  virtual ~BlobMedium() = default;
  // All of it or nothing; durable on return, where the medium is. Replaces a file of that name.
  virtual absl::Status Write(const std::string& name, absl::string_view bytes) = 0;
  virtual absl::StatusOr<std::string> Read(const std::string& name) const = 0;
  virtual absl::Status Remove(const std::string& name) = 0;
  virtual absl::StatusOr<std::vector<File>> List() const = 0;
  // For messages.
  virtual std::string Describe(const std::string& name) const = 0;
};

// NAME lies at DIR/NA/ME, so that no directory grows too large. Names have at least three characters and no '/'.
absl::StatusOr<std::unique_ptr<BlobMedium>> OpenDirectoryMedium(const std::string& directory);
std::unique_ptr<BlobMedium> NewMemoryMedium();

}  // namespace potluck
