#include "coordinator/store/blob_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/mutex.h"
#include "base/sha256.h"

namespace potluck {
namespace {

constexpr char kManifestSuffix[] = ".manifest";

std::string PieceFile(const std::string& digest) { return HexDigest(digest); }
std::string ManifestFile(const std::string& blob) { return absl::StrCat(HexDigest(blob), kManifestSuffix); }

absl::Status NoSuchBlob(const std::string& blob) {
  return absl::NotFoundError(absl::StrCat("there is no blob ", HexDigest(blob), " here; put it first"));
}

absl::Status NoSuchPiece(const std::string& blob, const Manifest& manifest, uint64_t index) {
  return absl::InvalidArgumentError(absl::StrCat("blob ", HexDigest(blob), " has no piece ", index, "; it has ",
                                                 manifest.pieces.size(), ", numbered from 0"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlobStore>> BlobStore::OpenDirectory(const std::string& directory,
                                                                    uint64_t quota_bytes) {
  absl::StatusOr<std::unique_ptr<BlobMedium>> medium = OpenDirectoryMedium(directory);
  if (!medium.ok()) return medium.status();
  std::unique_ptr<BlobStore> store(new BlobStore(*std::move(medium), quota_bytes));
  if (absl::Status status = store->LoadIndex(); !status.ok()) return status;
  return store;
}

std::unique_ptr<BlobStore> BlobStore::InMemory(uint64_t quota_bytes) {
  return std::unique_ptr<BlobStore>(new BlobStore(NewMemoryMedium(), quota_bytes));
}

BlobStore::BlobStore(std::unique_ptr<BlobMedium> medium, uint64_t quota_bytes)
    : medium_(std::move(medium)), quota_bytes_(quota_bytes) {}

absl::Status BlobStore::LoadIndex() {
  const absl::StatusOr<std::vector<BlobMedium::File>> files = medium_->List();
  if (!files.ok()) return files.status();
  MutexLock lock(&mutex_);
  for (const BlobMedium::File& file : *files) {
    absl::string_view hex = file.name;
    const bool is_manifest = absl::ConsumeSuffix(&hex, kManifestSuffix);
    std::string digest;
    if (!ParseHexDigest(hex, digest)) continue;  // Not ours: neither counted nor removed.
    if (!is_manifest) {
      Keep(file.name, file.size);
      continue;
    }
    const absl::StatusOr<std::string> bytes = medium_->Read(file.name);
    // A manifest that has changed names nothing: the blob is missing, and heals when it is put again.
    if (!bytes.ok() || Sha256(*bytes) != digest) continue;
    absl::StatusOr<Manifest> manifest = DecodeManifest(*bytes);
    if (!manifest.ok()) continue;
    Keep(file.name, file.size);
    blobs_[digest] = std::make_shared<const Manifest>(*std::move(manifest));
  }
  return absl::OkStatus();
}

void BlobStore::Keep(const std::string& file, uint64_t size) {
  Lose(file);
  files_[file] = size;
  used_bytes_ += size;
}

void BlobStore::Lose(const std::string& file) {
  const auto it = files_.find(file);
  if (it == files_.end()) return;
  used_bytes_ -= it->second;
  files_.erase(it);
}

std::vector<uint64_t> BlobStore::Missing(const Manifest& manifest) const {
  std::vector<uint64_t> missing;
  for (uint64_t i = 0; i < manifest.pieces.size(); ++i) {
    const auto it = files_.find(PieceFile(manifest.pieces[i]));
    // A file of another length was cut short by a failing disk.
    if (it == files_.end() || it->second != PieceSize(manifest, i)) missing.push_back(i);
  }
  return missing;
}

uint64_t BlobStore::SetAside() const {
  uint64_t bytes = 0;
  for (const auto& [blob, manifest] : being_put_) {
    bytes += sizeof(uint64_t) + manifest->pieces.size() * kSha256Bytes;
    for (const uint64_t index : Missing(*manifest)) bytes += PieceSize(*manifest, index);
  }
  return bytes;
}

absl::StatusOr<std::vector<uint64_t>> BlobStore::StartPut(const Manifest& manifest) {
  if (absl::Status status = CheckManifest(manifest); !status.ok()) return status;
  const std::string blob = BlobDigest(manifest);
  MutexLock lock(&mutex_);
  std::vector<uint64_t> missing = Missing(manifest);
  if (!being_put_.emplace(blob, std::make_shared<const Manifest>(manifest)).second) return missing;
  // Subtracting, as sums of sizes that a client made up might overflow.
  const uint64_t needed = SetAside();
  if (manifest.size <= quota_bytes_ && used_bytes_ <= quota_bytes_ && needed <= quota_bytes_ - used_bytes_) {
    return missing;
  }
  being_put_.erase(blob);
  return absl::ResourceExhaustedError(absl::StrCat("the blob of ", manifest.size, " bytes does not fit: ", used_bytes_,
                                                   " bytes are in use and ", SetAside(), " set aside of the limit of ",
                                                   quota_bytes_, "; delete finished jobs or raise the limit"));
}

absl::StatusOr<std::shared_ptr<const Manifest>> BlobStore::ManifestBeingPut(const std::string& blob) const {
  MutexLock lock(&mutex_);
  if (const auto it = being_put_.find(blob); it != being_put_.end()) return it->second;
  // Somebody else may have finished it meanwhile.
  if (const auto it = blobs_.find(blob); it != blobs_.end()) return it->second;
  return absl::NotFoundError(absl::StrCat("blob ", HexDigest(blob), " is not being put; start with its manifest"));
}

absl::Status BlobStore::PutPiece(const std::string& blob, uint64_t index, absl::string_view bytes) {
  const absl::StatusOr<std::shared_ptr<const Manifest>> being_put = ManifestBeingPut(blob);
  if (!being_put.ok()) return being_put.status();
  const Manifest& manifest = **being_put;
  if (index >= manifest.pieces.size()) return NoSuchPiece(blob, manifest, index);
  const std::string& digest = manifest.pieces[index];
  if (bytes.size() != PieceSize(manifest, index) || Sha256(bytes) != digest) {
    return absl::InvalidArgumentError(absl::StrCat(
        "piece ", index, " of blob ", HexDigest(blob), " is not what its manifest says (", bytes.size(), " bytes, ",
        PieceSize(manifest, index), " expected, SHA-256 ", HexDigest(digest), "); send it again"));
  }
  const std::string file = PieceFile(digest);
  {
    MutexLock lock(&mutex_);
    const auto it = files_.find(file);
    if (it != files_.end() && it->second == bytes.size()) return absl::OkStatus();
  }
  if (absl::Status status = medium_->Write(file, bytes); !status.ok()) return status;
  MutexLock lock(&mutex_);
  Keep(file, bytes.size());
  return absl::OkStatus();
}

absl::Status BlobStore::FinishPut(const std::string& blob) {
  if (Has(blob)) {
    AbandonPut(blob);
    return absl::OkStatus();
  }
  const absl::StatusOr<std::shared_ptr<const Manifest>> being_put = ManifestBeingPut(blob);
  if (!being_put.ok()) return being_put.status();
  const Manifest& manifest = **being_put;
  {
    MutexLock lock(&mutex_);
    const size_t missing = Missing(manifest).size();
    if (missing > 0) {
      return absl::FailedPreconditionError(absl::StrCat("blob ", HexDigest(blob), " still lacks ", missing, " of its ",
                                                        manifest.pieces.size(), " pieces; send them first"));
    }
  }
  const std::string bytes = EncodeManifest(manifest);
  if (absl::Status status = medium_->Write(ManifestFile(blob), bytes); !status.ok()) return status;
  MutexLock lock(&mutex_);
  Keep(ManifestFile(blob), bytes.size());
  blobs_[blob] = *being_put;
  being_put_.erase(blob);
  return absl::OkStatus();
}

void BlobStore::AbandonPut(const std::string& blob) {
  MutexLock lock(&mutex_);
  being_put_.erase(blob);
}

absl::StatusOr<std::string> BlobStore::Put(absl::string_view bytes) {
  const Manifest manifest = DescribeBlob(bytes);
  const std::string blob = BlobDigest(manifest);
  const absl::StatusOr<std::vector<uint64_t>> missing = StartPut(manifest);
  if (!missing.ok()) return missing.status();
  absl::Status status;
  for (const uint64_t index : *missing) {
    status = PutPiece(blob, index, bytes.substr(index * kPieceBytes, kPieceBytes));
    if (!status.ok()) break;
  }
  if (status.ok()) status = FinishPut(blob);
  if (status.ok()) return blob;
  AbandonPut(blob);
  return status;
}

bool BlobStore::Has(const std::string& blob) const {
  MutexLock lock(&mutex_);
  const auto it = blobs_.find(blob);
  return it != blobs_.end() && Missing(*it->second).empty();
}

absl::StatusOr<Manifest> BlobStore::ReadManifest(const std::string& blob) const {
  MutexLock lock(&mutex_);
  const auto it = blobs_.find(blob);
  if (it == blobs_.end()) return NoSuchBlob(blob);
  return *it->second;
}

absl::StatusOr<std::string> BlobStore::ReadPiece(const std::string& blob, uint64_t index) {
  std::string digest;
  {
    MutexLock lock(&mutex_);
    const auto it = blobs_.find(blob);
    if (it == blobs_.end()) return NoSuchBlob(blob);
    const Manifest& manifest = *it->second;
    if (index >= manifest.pieces.size()) return NoSuchPiece(blob, manifest, index);
    digest = manifest.pieces[index];
  }
  absl::StatusOr<std::string> bytes = medium_->Read(PieceFile(digest));
  if (bytes.ok() && Sha256(*bytes) == digest) return bytes;
  if (!bytes.ok() && !absl::IsNotFound(bytes.status())) return bytes.status();
  MutexLock lock(&mutex_);
  Lose(PieceFile(digest));
  return absl::DataLossError(absl::StrCat("piece ", index, " of blob ", HexDigest(blob), " is ",
                                          bytes.ok() ? "damaged" : "missing", " (",
                                          medium_->Describe(PieceFile(digest)), "); put the blob again"));
}

absl::StatusOr<std::string> BlobStore::Read(const std::string& blob) {
  const absl::StatusOr<Manifest> manifest = ReadManifest(blob);
  if (!manifest.ok()) return manifest.status();
  std::string bytes;
  bytes.reserve(manifest->size);
  for (uint64_t i = 0; i < manifest->pieces.size(); ++i) {
    const absl::StatusOr<std::string> piece = ReadPiece(blob, i);
    if (!piece.ok()) return piece.status();
    bytes += *piece;
  }
  return bytes;
}

uint64_t BlobStore::SizeBytes() const {
  MutexLock lock(&mutex_);
  return used_bytes_;
}

absl::StatusOr<uint64_t> BlobStore::Collect(const absl::flat_hash_set<std::string>& referenced) {
  MutexLock lock(&mutex_);
  absl::flat_hash_set<std::string> needed;
  const auto need = [&needed](const std::string& blob, const Manifest& manifest) {
    needed.insert(ManifestFile(blob));
    for (const std::string& digest : manifest.pieces) needed.insert(PieceFile(digest));
  };
  for (const auto& [blob, manifest] : being_put_) need(blob, *manifest);
  for (const auto& [blob, manifest] : blobs_) {
    if (referenced.contains(blob)) need(blob, *manifest);
  }
  absl::erase_if(blobs_, [&](const auto& blob) { return !needed.contains(ManifestFile(blob.first)); });
  std::vector<std::string> garbage;
  for (const auto& [file, size] : files_) {
    if (!needed.contains(file)) garbage.push_back(file);
  }
  // Manifests first: a crash in between leaves pieces without a blob rather than a blob without pieces.
  std::partition(garbage.begin(), garbage.end(), [](const auto& f) { return absl::EndsWith(f, kManifestSuffix); });
  const uint64_t before = used_bytes_;
  for (const std::string& file : garbage) {
    if (absl::Status status = medium_->Remove(file); !status.ok()) return status;
    Lose(file);
  }
  return before - used_bytes_;
}

}  // namespace potluck
