#include "coordinator/service/shared_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/sha256.h"

namespace potluck {
namespace {

// A file of a worker's own folder: "FOLDER/FILE", and nothing that leads out of there.
bool IsPlainName(const std::string& name) {
  const std::vector<std::string> parts = absl::StrSplit(name, '/');
  return parts.size() == 2 && std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
           return !part.empty() &&
                  std::all_of(part.begin(), part.end(), [](char c) { return absl::ascii_isalnum(c) || c == '-'; });
         });
}

absl::Status WriteNew(const std::string& path, std::string_view bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot make ", path));
  const absl::Cleanup close_it = [fd] { close(fd); };
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t put = write(fd, bytes.data() + done, bytes.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return absl::ErrnoToStatus(put < 0 ? errno : EIO, absl::StrCat("cannot write ", path));
    done += static_cast<size_t>(put);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> SharedFolder::Share(const std::shared_ptr<const Bulk>& bulk) {
  const std::string name = absl::StrCat("bulk-", HexDigest(bulk->digest));
  MutexLock lock(&mutex_);
  RemoveUnused();
  if (shared_.contains(name)) return name;
  const std::string path = absl::StrCat(path_, "/", name), partial = path + ".part";
  absl::Status status = WriteNew(partial, bulk->bytes.view());
  if (status.ok() && rename(partial.c_str(), path.c_str()) != 0) {
    status = absl::ErrnoToStatus(errno, absl::StrCat("cannot rename ", partial));
  }
  if (!status.ok()) {
    unlink(partial.c_str());
    return status;
  }
  shared_[name] = bulk;
  return name;
}

void SharedFolder::RemoveUnused() {
  std::erase_if(shared_, [this](const auto& entry) {
    if (!entry.second.expired()) return false;
    unlink(absl::StrCat(path_, "/", entry.first).c_str());
    return true;
  });
}

absl::Status SharedFolder::Read(const std::string& name, uint64_t size, std::string& out) const {
  if (!IsPlainName(name)) {
    return absl::InvalidArgumentError(absl::StrCat("file is \"", name, "\"; allowed is FOLDER/FILE of a worker"));
  }
  const std::string path = absl::StrCat(path_, "/", name);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return absl::InvalidArgumentError(absl::StrCat("file ", name, " cannot be read: ", strerror(errno)));
  const absl::Cleanup close_it = [fd] { close(fd); };
  struct stat found {};
  if (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode) || static_cast<uint64_t>(found.st_size) != size) {
    return absl::InvalidArgumentError(
        absl::StrCat("file ", name, " does not have the ", size, " bytes that the result was said to have"));
  }
  out.resize(size);
  for (size_t done = 0; done < size;) {
    const ssize_t got = read(fd, out.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return absl::InvalidArgumentError(absl::StrCat("file ", name, " cannot be read to its end"));
    done += static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

}  // namespace potluck
