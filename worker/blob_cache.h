// The blobs that a worker keeps, in files named by their digests: what was fetched once is there for the next job.
//
// Several processes may share a folder: files come into place whole, by renaming, and readers hold them open, so that
// any of them may remove any file at any time. Bounded: beyond the limit the least recently used ones go; the sizes are
// those of the last look at the folder and of what was added since. A file is checked against its name before this
// process uses it for the first time. The folder may be on a mounted Drive or bucket: where files cannot be locked each
// process fetches for itself, where they cannot be renamed they are copied. Thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/blob.h"
#include "base/mutex.h"

namespace potluck {

// A blob that is being fetched: a file that grows piece by piece, each checked as it comes. Not thread-safe. What was
// not finished stays, if it can be gone on with, or is removed.
class PartialBlob {
 public:
  // Under `path` + ".part", to become `path`. If it `is_kept` and there is such a file already, its pieces count,
  // unless somebody else is at it.
  static absl::StatusOr<std::unique_ptr<PartialBlob>> Open(const std::string& digest, const std::string& path,
                                                           bool is_kept);
  ~PartialBlob();
  PartialBlob(const PartialBlob&) = delete;
  PartialBlob& operator=(const PartialBlob&) = delete;

  // The first piece that is missing: where to begin to fetch.
  uint64_t next_piece() const { return next_piece_; }
  // What the blob is: its size and the digests of its pieces. Checks what is there; next_piece may be lower afterwards.
  // DataLoss when that is not the blob asked for.
  absl::Status Describe(uint64_t size, absl::string_view digests);
  // Piece next_piece. DataLoss when it is not what it should be, ResourceExhausted when the disk is full.
  absl::Status Add(uint64_t index, absl::string_view bytes);
  bool IsComplete() const { return manifest_ && next_piece_ == manifest_->pieces.size(); }
  uint64_t size() const { return manifest_ ? manifest_->size : 0; }
  // Once it is complete: moves it into place. Returns its path.
  absl::StatusOr<std::string> Finish();

 private:
  PartialBlob(std::string digest, std::string path, std::string partial_path, int fd, bool is_kept);

  const std::string digest_, path_, partial_path_;
  const int fd_;  // Locked, for as long as it is open, where there are locks.
  const bool is_kept_;
  bool is_finished_ = false;
  std::optional<Manifest> manifest_;
  uint64_t next_piece_ = 0;
};

class BlobCache {
 public:
  // In `directory`, which is made if there is none.
  static absl::StatusOr<std::unique_ptr<BlobCache>> Open(const std::string& directory, uint64_t limit_bytes,
                                                         absl::Time now);

  // The blob's file, which now counts as used. A damaged one is removed and counts as absent.
  std::optional<std::string> Find(const std::string& digest, absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);
  // To be filled and then given to Keep.
  absl::StatusOr<std::unique_ptr<PartialBlob>> Start(const std::string& digest) const;
  // Returns its path. What is used least goes if it is too much now, but nothing that was used within 10 s.
  absl::StatusOr<std::string> Keep(PartialBlob& blob, const std::string& digest, absl::Time now)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // For a disk that is full: removes the least recently used ones until `bytes` are freed. False: too little was.
  bool MakeRoom(uint64_t bytes, absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);

  uint64_t size_bytes() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct FileId {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    friend bool operator==(const FileId&, const FileId&) = default;
  };

  BlobCache(std::string directory, uint64_t limit_bytes)
      : directory_(std::move(directory)), limit_bytes_(limit_bytes) {}
  std::string PathOf(const std::string& digest) const;
  // Removes files until at most `target` bytes are left. Returns the bytes freed.
  uint64_t ShrinkTo(uint64_t target, absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string directory_;
  const uint64_t limit_bytes_;
  mutable Mutex mutex_;
  uint64_t used_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, FileId> verified_ ABSL_GUARDED_BY(mutex_);  // By digest.
};

}  // namespace potluck
