#include "worker/installation.h"

#include <fcntl.h>
#include <openssl/rand.h>
#include <sys/file.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace potluck {
namespace {

constexpr int kMostWorkersAMachine = 1024;
constexpr size_t kIdBytes = 16;

// What the locked file says, after writing a new id if it says nothing sensible.
absl::StatusOr<std::string> IdIn(int file) {
  std::string id(2 * kIdBytes, '\0');
  if (pread(file, id.data(), id.size(), 0) == static_cast<ssize_t>(id.size()) && IsInstallationId(id)) return id;
  absl::StatusOr<std::string> made = NewInstallationId();
  if (made.ok() && pwrite(file, made->data(), made->size(), 0) != static_cast<ssize_t>(made->size())) {
    return absl::ResourceExhaustedError("the installation's id cannot be kept");
  }
  return made;
}

}  // namespace

absl::StatusOr<std::string> NewInstallationId() {
  std::string bytes(kIdBytes, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size())) != 1) {
    return absl::InternalError("the system gives no random numbers");
  }
  return absl::BytesToHexString(bytes);
}

bool IsInstallationId(const std::string& text) {
  return text.size() == 2 * kIdBytes && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

absl::StatusOr<Installation> Installation::Take() {
  const std::string directory = CacheDirectory();
  for (int i = 0; !directory.empty() && i < kMostWorkersAMachine; ++i) {
    const std::string path = absl::StrCat(directory, "/installation-", i);
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) break;
    if (flock(file, LOCK_EX | LOCK_NB) == 0) {
      if (absl::StatusOr<std::string> id = IdIn(file); id.ok()) return Installation(*std::move(id), file);
      close(file);
      break;
    }
    close(file);
  }
  absl::StatusOr<std::string> id = NewInstallationId();
  if (!id.ok()) return id.status();
  return Installation(*std::move(id), -1);
}

Installation Installation::Named(std::string id) { return Installation(std::move(id), -1); }

Installation::Installation(Installation&& other) noexcept
    : id_(std::move(other.id_)), lock_(std::exchange(other.lock_, -1)) {}

Installation::~Installation() {
  if (lock_ >= 0) close(lock_);
}

}  // namespace potluck
