#include "coordinator/store/blob_medium.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "coordinator/store/files.h"

namespace potluck {
namespace {

constexpr char kTemporary[] = ".tmp";

// Names of the entries of a directory; none if it cannot be read.
absl::StatusOr<std::vector<std::string>> Entries(const std::string& directory) {
  DIR* dir = opendir(directory.c_str());
  if (dir == nullptr) return FileError("list", directory, errno);
  std::vector<std::string> names;
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(dir);
  return names;
}

class DirectoryMedium final : public BlobMedium {
 public:
  explicit DirectoryMedium(std::string directory) : directory_(std::move(directory)) {}

  absl::Status Write(const std::string& name, absl::string_view bytes) override {
    const std::string path = PathOf(name);
    const std::string folder = DirectoryOf(path);
    if (mkdir(folder.c_str(), 0700) == 0) {
      if (absl::Status status = SyncDirectory(directory_); !status.ok()) return status;
    } else if (errno != EEXIST) {
      return FileError("create the directory", folder, errno);
    }
    // Two writers of one piece must not share a temporary file.
    return WriteFileDurably(path, absl::StrCat(path, ".", writes_.fetch_add(1), kTemporary), bytes);
  }

  absl::StatusOr<std::string> Read(const std::string& name) const override { return ReadFile(PathOf(name)); }

  absl::Status Remove(const std::string& name) override {
    const std::string path = PathOf(name);
    if (unlink(path.c_str()) != 0 && errno != ENOENT) return FileError("remove", path, errno);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<File>> List() const override {
    std::vector<File> files;
    absl::StatusOr<std::vector<std::string>> folders = Entries(directory_);
    if (!folders.ok()) return folders.status();
    for (const std::string& folder : *folders) {
      if (folder.size() != 2) continue;
      const std::string path = absl::StrCat(directory_, "/", folder);
      const absl::StatusOr<std::vector<std::string>> names = Entries(path);
      if (!names.ok()) return names.status();
      for (const std::string& name : *names) {
        if (!absl::EndsWith(name, kTemporary)) {
          files.push_back({absl::StrCat(folder, name), FileSize(absl::StrCat(path, "/", name))});
        }
      }
    }
    return files;
  }

  std::string Describe(const std::string& name) const override { return PathOf(name); }

  // Removes what writes that a crash interrupted have left.
  absl::Status RemoveTemporaries() const {
    const absl::StatusOr<std::vector<std::string>> folders = Entries(directory_);
    if (!folders.ok()) return folders.status();
    for (const std::string& folder : *folders) {
      if (folder.size() != 2) continue;
      const std::string path = absl::StrCat(directory_, "/", folder);
      const absl::StatusOr<std::vector<std::string>> names = Entries(path);
      if (!names.ok()) return names.status();
      for (const std::string& name : *names) {
        if (absl::EndsWith(name, kTemporary)) unlink(absl::StrCat(path, "/", name).c_str());
      }
    }
    return absl::OkStatus();
  }

 private:
  std::string PathOf(const std::string& name) const {
    return absl::StrCat(directory_, "/", name.substr(0, 2), "/", name.substr(2));
  }

  const std::string directory_;
  std::atomic<uint64_t> writes_ = 0;
};

class MemoryMedium final : public BlobMedium {
 public:
  absl::Status Write(const std::string& name, absl::string_view bytes) override {
    MutexLock lock(&mutex_);
    files_[name] = std::string(bytes);
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Read(const std::string& name) const override {
    MutexLock lock(&mutex_);
    const auto it = files_.find(name);
    if (it == files_.end()) return absl::NotFoundError(absl::StrCat("there is no ", name, " in memory"));
    return it->second;
  }

  absl::Status Remove(const std::string& name) override {
    MutexLock lock(&mutex_);
    files_.erase(name);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<File>> List() const override {
    MutexLock lock(&mutex_);
    std::vector<File> files;
    for (const auto& [name, bytes] : files_) files.push_back({name, bytes.size()});
    return files;
  }

  std::string Describe(const std::string& name) const override { return absl::StrCat(name, " in memory"); }

 private:
  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, std::string> files_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<BlobMedium>> OpenDirectoryMedium(const std::string& directory) {
  if (absl::Status status = MakeDirectory(directory); !status.ok()) return status;
  auto medium = std::make_unique<DirectoryMedium>(directory);
  if (absl::Status status = medium->RemoveTemporaries(); !status.ok()) return status;
  return std::unique_ptr<BlobMedium>(std::move(medium));
}

std::unique_ptr<BlobMedium> NewMemoryMedium() { return std::make_unique<MemoryMedium>(); }

}  // namespace potluck
