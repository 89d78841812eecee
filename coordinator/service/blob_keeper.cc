#include "coordinator/service/blob_keeper.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"

namespace potluck {
namespace {

// True if that was the last one.
bool CountDown(std::map<std::string, int>& counts, const std::string& blob) {
  const auto it = counts.find(blob);
  if (--it->second > 0) return false;
  counts.erase(it);
  return true;
}

}  // namespace

BlobKeeper::BlobKeeper(BlobStore& store, NamedBlobs named, Log log)
    : store_(store), named_(std::move(named)), log_(std::move(log)) {}

// ---- Putting

BlobKeeper::Put::Put(BlobKeeper& keeper, std::string digest, std::vector<uint64_t> missing)
    : keeper_(keeper), digest_(std::move(digest)), missing_(std::move(missing)) {}

BlobKeeper::Put::~Put() {
  MutexLock lock(&keeper_.mutex_);
  if (CountDown(keeper_.puts_, digest_)) keeper_.store_.AbandonPut(digest_);
}

absl::Status BlobKeeper::Put::AddPiece(uint64_t index, absl::string_view bytes) {
  return keeper_.store_.PutPiece(digest_, index, bytes);
}

absl::Status BlobKeeper::Put::Finish() {
  if (absl::Status status = FinishNamed(); !status.ok()) return status;
  MutexLock lock(&keeper_.mutex_);
  keeper_.unnamed_.insert(digest_);
  return absl::OkStatus();
}

// While this exists, nothing collects the blob.
absl::Status BlobKeeper::Put::FinishNamed() { return keeper_.store_.FinishPut(digest_); }

absl::StatusOr<std::unique_ptr<BlobKeeper::Put>> BlobKeeper::StartPut(const Manifest& manifest) {
  MutexLock lock(&mutex_);
  absl::StatusOr<std::vector<uint64_t>> missing = store_.StartPut(manifest);
  if (absl::IsResourceExhausted(missing.status())) {
    CollectLocked();
    missing = store_.StartPut(manifest);
  }
  if (!missing.ok()) return missing.status();
  const std::string digest = BlobDigest(manifest);
  ++puts_[digest];
  return std::unique_ptr<Put>(new Put(*this, digest, *std::move(missing)));
}

// ---- Naming

absl::StatusOr<std::shared_ptr<BlobKeeper::Hold>> BlobKeeper::HoldForJob(const std::vector<std::string>& blobs) {
  MutexLock lock(&mutex_);
  for (const std::string& blob : blobs) {
    if (store_.Has(blob)) continue;
    return absl::InvalidArgumentError(absl::StrCat("blobs has the digest ", HexDigest(blob),
                                                   ", of which there is no complete blob here; put it first"));
  }
  for (const std::string& blob : blobs) ++holds_[blob];
  return std::shared_ptr<Hold>(new Hold(*this, blobs));
}

void BlobKeeper::Hold::Named() {
  {
    MutexLock lock(&keeper_.mutex_);
    for (const std::string& blob : blobs_) keeper_.unnamed_.erase(blob);
  }
  Release();
}

void BlobKeeper::Hold::Release() {
  MutexLock lock(&keeper_.mutex_);
  for (const std::string& blob : blobs_) CountDown(keeper_.holds_, blob);
  blobs_.clear();
}

// ---- Collecting

void BlobKeeper::Collect() {
  MutexLock lock(&mutex_);
  CollectLocked();
}

void BlobKeeper::CollectLocked() {
  const std::vector<std::string> named = named_();
  absl::flat_hash_set<std::string> needed(named.begin(), named.end());
  needed.insert(unnamed_.begin(), unnamed_.end());
  for (const auto& [blob, count] : puts_) needed.insert(blob);
  for (const auto& [blob, count] : holds_) needed.insert(blob);
  const absl::StatusOr<uint64_t> freed = store_.Collect(needed);
  if (!freed.ok()) {
    log_(absl::StrCat("could not remove a blob that no job names any more: ", std::string(freed.status().message())));
  } else if (*freed > 0) {
    log_(absl::StrCat("removed ", *freed, " bytes of blobs that no job names any more"));
  }
}

}  // namespace potluck
