#include "base/blob.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"

namespace potluck {
namespace {

uint64_t PieceCount(uint64_t size) { return size / kPieceBytes + (size % kPieceBytes != 0 ? 1 : 0); }

}  // namespace

absl::Status CheckManifest(const Manifest& manifest) {
  const uint64_t expected = PieceCount(manifest.size);
  if (manifest.pieces.size() != expected) {
    return absl::InvalidArgumentError(absl::StrCat("the manifest lists ", manifest.pieces.size(), " pieces; ",
                                                   manifest.size, " bytes have ", expected, " pieces of ",
                                                   kPieceBytes));
  }
  for (const std::string& digest : manifest.pieces) {
    if (digest.size() == kSha256Bytes) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the manifest has a digest of ", digest.size(), " bytes; a SHA-256 has ", kSha256Bytes));
  }
  return absl::OkStatus();
}

std::string EncodeManifest(const Manifest& manifest) {
  std::string bytes;
  bytes.reserve(sizeof(uint64_t) + manifest.pieces.size() * kSha256Bytes);
  for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<char>(manifest.size >> shift));
  for (const std::string& digest : manifest.pieces) bytes += digest;
  return bytes;
}

absl::StatusOr<Manifest> DecodeManifest(absl::string_view bytes) {
  if (bytes.size() < sizeof(uint64_t) || (bytes.size() - sizeof(uint64_t)) % kSha256Bytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a manifest has 8 bytes and 32 for each piece; this one has ", bytes.size(), " bytes"));
  }
  Manifest manifest;
  for (int i = 7; i >= 0; --i) manifest.size = manifest.size << 8 | static_cast<unsigned char>(bytes[i]);
  for (size_t at = sizeof(uint64_t); at < bytes.size(); at += kSha256Bytes) {
    manifest.pieces.emplace_back(bytes.substr(at, kSha256Bytes));
  }
  if (absl::Status status = CheckManifest(manifest); !status.ok()) return status;
  return manifest;
}

std::string BlobDigest(const Manifest& manifest) { return Sha256(EncodeManifest(manifest)); }

Manifest DescribeBlob(absl::string_view bytes) {
  Manifest manifest{bytes.size(), {}};
  for (uint64_t at = 0; at < bytes.size(); at += kPieceBytes) {
    manifest.pieces.push_back(Sha256(bytes.substr(at, kPieceBytes)));
  }
  return manifest;
}

uint64_t PieceSize(const Manifest& manifest, uint64_t index) {
  return std::min(kPieceBytes, manifest.size - index * kPieceBytes);
}

}  // namespace potluck
