// A folder of this process alone, for what need not outlive it: large results, parameters of a round. Gone with the
// process; what a killed one left behind is removed by the next.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace potluck {

class Scratch {
 public:
  // A new folder in `parent`, which is made if there is none. Removes those whose processes are gone. Unimplemented
  // where files cannot be locked.
  static absl::StatusOr<Scratch> Create(const std::string& parent);
  Scratch() = default;  // No folder.
  // Those in `parent` whose processes are gone.
  static void RemoveOrphans(const std::string& parent);
  ~Scratch();
  Scratch(Scratch&& other) noexcept : path_(std::exchange(other.path_, {})), lock_(std::exchange(other.lock_, -1)) {}
  Scratch& operator=(Scratch&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(lock_, other.lock_);
    return *this;
  }

  // Empty: there is none.
  const std::string& path() const { return path_; }

 private:
  Scratch(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}

  std::string path_;
  int lock_ = -1;  // Of the file `path_`.lock, held as long as the process lives.
};

}  // namespace potluck
