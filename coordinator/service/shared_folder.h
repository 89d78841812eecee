// A folder that the coordinator shares with workers on the same machine: what is large goes through files in it instead
// of over the wire. Names are relative to it.
//
// Whoever made the folder owns it and removes it; only its user may read it. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "coordinator/core/jobs.h"

namespace potluck {

class SharedFolder {
 public:
  explicit SharedFolder(std::string path) : path_(std::move(path)) {}

  // The name of a file with these bytes. It stays as long as the bulk for which it was made, and until something else
  // is shared: whoever is told of it links it at once.
  absl::StatusOr<std::string> Share(const std::shared_ptr<const Bulk>& bulk) ABSL_LOCKS_EXCLUDED(mutex_);
  // All of a worker's file, which has `size` bytes, into `out`. InvalidArgument for a name that leads elsewhere, and
  // for another size.
  absl::Status Read(const std::string& name, uint64_t size, std::string& out) const;

 private:
  void RemoveUnused() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  Mutex mutex_;
  std::map<std::string, std::weak_ptr<const Bulk>> shared_ ABSL_GUARDED_BY(mutex_);  // By name.
};

}  // namespace potluck
