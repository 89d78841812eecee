#include "worker/blob_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "worker/result_file.h"

namespace potluck {
namespace {

constexpr char kPartialSuffix[] = ".part";
// Of other processes, and of this one from another day.
constexpr absl::Duration kPartialLife = absl::Hours(24);
// What was used so recently is about to be opened by whoever asked for it.
constexpr absl::Duration kJustUsed = absl::Seconds(10);

absl::Status FileError(const std::string& path, const char* what, int error) {
  const bool is_full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  const std::string sentence = absl::StrCat("The blob's file ", path, " cannot be ", what, ": ", std::strerror(error),
                                            is_full ? "; make room there, or choose another folder by --cache." : ".");
  return is_full ? absl::ResourceExhaustedError(sentence) : absl::InternalError(sentence);
}

// At most `size` bytes from `offset` on; fewer at the end of the file.
absl::Status ReadAt(int fd, const std::string& path, uint64_t offset, size_t size, std::string& out) {
  out.resize(size);
  size_t done = 0;
  while (done < size) {
    const ssize_t got = pread(fd, out.data() + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(path, "read", errno);
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  out.resize(done);
  return absl::OkStatus();
}

absl::StatusOr<std::string> DigestOfFile(int fd, const std::string& path) {
  Manifest manifest;
  std::string piece;
  do {
    if (absl::Status status = ReadAt(fd, path, manifest.size, kPieceBytes, piece); !status.ok()) return status;
    if (piece.empty()) break;
    manifest.size += piece.size();
    manifest.pieces.push_back(Sha256(piece));
  } while (piece.size() == kPieceBytes);
  return BlobDigest(manifest);
}

bool IsBlobName(const std::string& name) {
  std::string digest;
  return ParseHexDigest(name, digest);
}

// The file, locked, under that very name; -1 and EWOULDBLOCK when somebody else has it, or when names and files cannot
// be told to belong together; -1 and another error where there are no locks.
int OpenLocked(const std::string& path) {
  for (int i = 0; i < 10; ++i) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return -1;
    struct stat opened {
    }, named{};
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      close(fd);
      errno = error;
      return -1;
    }
    // Whoever had the lock before may have moved the file into place since it was opened.
    if (fstat(fd, &opened) == 0 && stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino) return fd;
    close(fd);
  }
  errno = EWOULDBLOCK;
  return -1;
}

bool NoLocks(int error) { return error == ENOSYS || error == EOPNOTSUPP || error == ENOLCK || error == EINVAL; }

// For file systems that cannot rename. What is seen of it before it is whole does not have its digest.
absl::Status CopyFile(int from, uint64_t size, const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return FileError(path, "made", errno);
  absl::Status status;
  std::string piece;
  for (uint64_t at = 0; status.ok() && at < size; at += piece.size()) {
    status = ReadAt(from, path, at, std::min<uint64_t>(kPieceBytes, size - at), piece);
    if (status.ok() && piece.empty()) status = FileError(path, "made", EIO);
    if (status.ok()) status = WriteAt(fd, path, at, piece);
  }
  if (close(fd) != 0 && status.ok()) status = FileError(path, "made", errno);
  if (!status.ok()) unlink(path.c_str());
  return status;
}

}  // namespace

// ---- PartialBlob

absl::StatusOr<std::unique_ptr<PartialBlob>> PartialBlob::Open(const std::string& digest, const std::string& path,
                                                               bool is_kept) {
  static std::atomic<uint64_t> count = 0;
  std::string partial_path = path + kPartialSuffix;
  int fd = OpenLocked(partial_path);
  if (fd < 0 && (errno == EWOULDBLOCK || NoLocks(errno))) {
    // Somebody else fetches the same one, or may do so: there are no locks on a mounted bucket. To wait for whoever
    // that is would be to depend on it.
    if (NoLocks(errno)) unlink(partial_path.c_str());  // It was made to be locked.
    partial_path = absl::StrCat(path, kPartialSuffix, "-", getpid(), "-", ++count);
    is_kept = false;
    fd = open(partial_path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) flock(fd, LOCK_EX | LOCK_NB);  // Where there are locks: it is in use.
  }
  if (fd < 0) return FileError(partial_path, "made", errno);
  return std::unique_ptr<PartialBlob>(new PartialBlob(digest, path, partial_path, fd, is_kept));
}

PartialBlob::PartialBlob(std::string digest, std::string path, std::string partial_path, int fd, bool is_kept)
    : digest_(std::move(digest)),
      path_(std::move(path)),
      partial_path_(std::move(partial_path)),
      fd_(fd),
      is_kept_(is_kept) {
  struct stat status {};
  if (is_kept && fstat(fd, &status) == 0) next_piece_ = static_cast<uint64_t>(status.st_size) / kPieceBytes;
}

PartialBlob::~PartialBlob() {
  if (!is_finished_ && (!is_kept_ || next_piece_ == 0)) unlink(partial_path_.c_str());
  close(fd_);
}

absl::Status PartialBlob::Describe(uint64_t size, absl::string_view digests) {
  Manifest manifest{size, {}};
  for (size_t at = 0; at < digests.size(); at += kSha256Bytes) {
    manifest.pieces.emplace_back(digests.substr(at, kSha256Bytes));
  }
  if (!CheckManifest(manifest).ok() || BlobDigest(manifest) != digest_) {
    return absl::DataLossError(absl::StrCat("What was sent is not the blob ", HexDigest(digest_), "."));
  }
  if (manifest_) return absl::OkStatus();
  uint64_t good = 0;
  std::string piece;
  for (; good < std::min<uint64_t>(next_piece_, manifest.pieces.size()); ++good) {
    const size_t length = PieceSize(manifest, good);
    if (!ReadAt(fd_, partial_path_, good * kPieceBytes, length, piece).ok()) break;
    if (Sha256(piece) != manifest.pieces[good]) break;
  }
  next_piece_ = good;
  manifest_ = std::move(manifest);
  return absl::OkStatus();
}

absl::Status PartialBlob::Add(uint64_t index, absl::string_view bytes) {
  if (!manifest_ || index != next_piece_ || index >= manifest_->pieces.size() ||
      Sha256(bytes) != manifest_->pieces[index]) {
    return absl::DataLossError(
        absl::StrCat("Piece ", index, " of the blob ", HexDigest(digest_), " is not what its manifest says."));
  }
  if (absl::Status status = WriteAt(fd_, partial_path_, index * kPieceBytes, {bytes.data(), bytes.size()});
      !status.ok())
    return status;
  ++next_piece_;
  return absl::OkStatus();
}

absl::StatusOr<std::string> PartialBlob::Finish() {
  // An earlier fetch may have left more than the blob has.
  if (ftruncate(fd_, static_cast<off_t>(manifest_->size)) != 0) return FileError(partial_path_, "written", errno);
  if (rename(partial_path_.c_str(), path_.c_str()) != 0) {
    if (absl::Status copied = CopyFile(fd_, manifest_->size, path_); !copied.ok()) return copied;
    unlink(partial_path_.c_str());
  }
  is_finished_ = true;
  return path_;
}

// ---- BlobCache

absl::StatusOr<std::unique_ptr<BlobCache>> BlobCache::Open(const std::string& directory, uint64_t limit_bytes,
                                                           absl::Time now) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error || access(directory.c_str(), R_OK | W_OK | X_OK) != 0) {
    return absl::InternalError(absl::StrCat("The folder for blobs ", directory,
                                            " cannot be used: ", error ? error.message() : std::strerror(errno),
                                            "; choose another by --cache."));
  }
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string file = entry.path().string();
    if (!absl::StrContains(entry.path().filename().string(), kPartialSuffix)) continue;
    struct stat status {};
    const bool is_kept = absl::EndsWith(file, kPartialSuffix);
    if (stat(file.c_str(), &status) != 0) continue;
    const bool is_old = absl::TimeFromTimespec(status.st_mtim) <= now - kPartialLife;
    if (is_kept && !is_old) continue;
    const int lock = OpenLocked(file);
    if (lock < 0 && NoLocks(errno) && is_old) unlink(file.c_str());
    if (lock < 0) continue;
    unlink(file.c_str());
    close(lock);
  }
  std::unique_ptr<BlobCache> cache(new BlobCache(directory, limit_bytes));
  cache->ShrinkTo(limit_bytes, now);
  return cache;
}

std::string BlobCache::PathOf(const std::string& digest) const {
  return absl::StrCat(directory_, "/", HexDigest(digest));
}

std::optional<std::string> BlobCache::Find(const std::string& digest, absl::Time now) {
  std::string path = PathOf(digest);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return std::nullopt;
  struct stat status {};
  bool is_good = fstat(fd, &status) == 0;
  const FileId id{status.st_dev, status.st_ino, status.st_size};
  bool is_known = false;
  {
    MutexLock lock(&mutex_);
    const auto it = verified_.find(digest);
    is_known = it != verified_.end() && it->second == id;
  }
  if (is_good && !is_known) {
    const absl::StatusOr<std::string> found = DigestOfFile(fd, path);
    is_good = found.ok() && *found == digest;
  }
  const timespec times[2] = {absl::ToTimespec(now), absl::ToTimespec(now)};
  if (is_good) futimens(fd, times);
  close(fd);
  MutexLock lock(&mutex_);
  if (is_good) {
    verified_[digest] = id;
    return path;
  }
  unlink(path.c_str());
  verified_.erase(digest);
  return std::nullopt;
}

absl::StatusOr<std::unique_ptr<PartialBlob>> BlobCache::Start(const std::string& digest) const {
  return PartialBlob::Open(digest, PathOf(digest), /*is_kept=*/true);
}

absl::StatusOr<std::string> BlobCache::Keep(PartialBlob& blob, const std::string& digest, absl::Time now) {
  absl::StatusOr<std::string> path = blob.Finish();
  if (!path.ok()) return path;
  const timespec times[2] = {absl::ToTimespec(now), absl::ToTimespec(now)};
  utimensat(AT_FDCWD, path->c_str(), times, 0);
  struct stat status {};
  const bool is_there = stat(path->c_str(), &status) == 0;
  bool is_too_much = false;
  {
    MutexLock lock(&mutex_);
    // Checked piece by piece as it came.
    if (is_there) verified_[digest] = {status.st_dev, status.st_ino, status.st_size};
    used_bytes_ += blob.size();
    is_too_much = used_bytes_ > limit_bytes_;
  }
  // Somewhat below the limit, so that not each new blob makes everybody look through the folder.
  if (is_too_much) ShrinkTo(limit_bytes_ - limit_bytes_ / 10, now);
  return path;
}

bool BlobCache::MakeRoom(uint64_t bytes, absl::Time now) {
  const uint64_t size = size_bytes();
  return ShrinkTo(size - std::min(size, bytes), now) >= bytes;
}

uint64_t BlobCache::ShrinkTo(uint64_t target, absl::Time now) {
  struct File {
    absl::Time used;
    uint64_t size;
    std::string path;
  };
  std::vector<File> files;
  uint64_t total = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
    struct stat status {};
    const std::string path = entry.path().string();
    if (!IsBlobName(entry.path().filename().string()) || stat(path.c_str(), &status) != 0) continue;
    files.push_back({absl::TimeFromTimespec(status.st_mtim), static_cast<uint64_t>(status.st_size), path});
    total += files.back().size;
  }
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) { return a.used < b.used; });
  uint64_t freed = 0;
  for (const File& file : files) {
    if (total - freed <= target || file.used > now - kJustUsed) break;
    if (unlink(file.path.c_str()) == 0) freed += file.size;
  }
  MutexLock lock(&mutex_);
  used_bytes_ = total - freed;
  return freed;
}

uint64_t BlobCache::size_bytes() const {
  MutexLock lock(&mutex_);
  return used_bytes_;
}

}  // namespace potluck
