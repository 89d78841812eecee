// How large bytes are named: a blob's name is the SHA-256 of its manifest, which lists the SHA-256 of each piece of 1
// MiB. So a reader can check each piece as it comes and go on where it was interrupted. Plain functions; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace potluck {

inline constexpr uint64_t kPieceBytes = 1 << 20;

struct Manifest {
  uint64_t size = 0;                // Bytes of the blob.
  std::vector<std::string> pieces;  // SHA-256 of each, 32 bytes; all but the last piece are kPieceBytes long.
};

// The bytes whose SHA-256 names the blob: the size as 8 bytes, little-endian, then the digests.
std::string EncodeManifest(const Manifest& manifest);
// InvalidArgument unless the number of digests fits the size.
absl::StatusOr<Manifest> DecodeManifest(absl::string_view bytes);
std::string BlobDigest(const Manifest& manifest);
// The manifest of bytes in memory.
Manifest DescribeBlob(absl::string_view bytes);
// InvalidArgument unless the number of digests fits the size and each has 32 bytes.
absl::Status CheckManifest(const Manifest& manifest);
// Length of a piece.
uint64_t PieceSize(const Manifest& manifest, uint64_t index);

}  // namespace potluck
