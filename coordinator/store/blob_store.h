// Content-addressed blobs: data sets, parameters, binaries. A blob is named by the SHA-256 of its manifest, which lists
// the SHA-256 of each piece of 1 MiB; pieces that several blobs have in common are kept once.
//
// Thread-safe: one lock over the index, none while bytes are read, written or hashed. With a directory behind it what
// PutPiece and FinishPut accepted survives power loss; a Put that was interrupted, even by a crash, goes on with the
// pieces that are missing. In memory for the blobs of volatile rounds.
//
// Errors: InvalidArgument (bytes that are not what the manifest says), NotFound, ResourceExhausted (the quota, or the
// disk), DataLoss (a piece on the disk has changed: it counts as missing from then on, so that putting the blob again
// heals it), FailedPrecondition (pieces are missing at FinishPut).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/blob.h"
#include "base/mutex.h"
#include "coordinator/store/blob_medium.h"

namespace potluck {

class BlobStore {
 public:
  // Blobs in files under `directory`, which is made if there is none. Removes what an interrupted write left.
  static absl::StatusOr<std::unique_ptr<BlobStore>> OpenDirectory(const std::string& directory, uint64_t quota_bytes);
  static std::unique_ptr<BlobStore> InMemory(uint64_t quota_bytes);

  // Starts to put a blob, or goes on: returns the indices of the missing pieces. Room for them is set aside until
  // FinishPut or AbandonPut. ResourceExhausted if they exceed the quota.
  absl::StatusOr<std::vector<uint64_t>> StartPut(const Manifest& manifest) ABSL_LOCKS_EXCLUDED(mutex_);
  // A piece, in any order, any number of times, of a blob that is being put. Several may put one blob together.
  absl::Status PutPiece(const std::string& blob, uint64_t index, absl::string_view bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  // The blob is complete and durable on return. May be called again.
  absl::Status FinishPut(const std::string& blob) ABSL_LOCKS_EXCLUDED(mutex_);
  // Forgets that it is being put, by whomever; its pieces stay until Collect.
  void AbandonPut(const std::string& blob) ABSL_LOCKS_EXCLUDED(mutex_);
  // All of the above, for bytes in memory. Returns the blob's digest.
  absl::StatusOr<std::string> Put(absl::string_view bytes);

  // Complete and, as far as is known, whole.
  bool Has(const std::string& blob) const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Manifest> ReadManifest(const std::string& blob) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Verified against its digest.
  absl::StatusOr<std::string> ReadPiece(const std::string& blob, uint64_t index) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::string> Read(const std::string& blob);

  // Removes all blobs but these and those being put, and the pieces that then belong to none. A blob that is complete
  // but not yet named by a fact must be among them. Returns the bytes freed.
  absl::StatusOr<uint64_t> Collect(const absl::flat_hash_set<std::string>& referenced) ABSL_LOCKS_EXCLUDED(mutex_);

  uint64_t SizeBytes() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  BlobStore(std::unique_ptr<BlobMedium> medium, uint64_t quota_bytes);

  absl::Status LoadIndex() ABSL_LOCKS_EXCLUDED(mutex_);
  void Keep(const std::string& file, uint64_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Lose(const std::string& file) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Bytes that the blobs being put still need.
  uint64_t SetAside() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<uint64_t> Missing(const Manifest& manifest) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The manifest of a blob that is being put, or is complete.
  absl::StatusOr<std::shared_ptr<const Manifest>> ManifestBeingPut(const std::string& blob) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  const std::unique_ptr<BlobMedium> medium_;
  const uint64_t quota_bytes_;
  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, uint64_t> files_ ABSL_GUARDED_BY(mutex_);  // Size by name in the medium.
  uint64_t used_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // By digest. Complete ones, and those being put.
  absl::flat_hash_map<std::string, std::shared_ptr<const Manifest>> blobs_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::shared_ptr<const Manifest>> being_put_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace potluck
