// Who this worker is, the same after a restart: a random id kept in the user's cache directory. Each worker that runs
// at the same time on one machine holds another one, by a lock on its file.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "worker/cache_directory.h"

namespace potluck {

// An id that nobody else has, and whether a text could be one.
absl::StatusOr<std::string> NewInstallationId();
bool IsInstallationId(const std::string& text);

class Installation {
 public:
  // Takes the first id that no running process holds, making a new one if there is none. Where nothing can be kept (no
  // home, a full disk) the id lives as long as the process.
  static absl::StatusOr<Installation> Take();
  // The one that the caller names.
  static Installation Named(std::string id);

  Installation(Installation&& other) noexcept;
  Installation& operator=(Installation&&) = delete;
  ~Installation();

  const std::string& id() const { return id_; }

 private:
  Installation(std::string id, int lock) : id_(std::move(id)), lock_(lock) {}

  std::string id_;
  int lock_ = -1;  // An open, locked descriptor; -1: none.
};

}  // namespace potluck
