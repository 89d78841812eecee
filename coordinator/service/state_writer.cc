#include "coordinator/service/state_writer.h"

#include <algorithm>
#include <utility>

#include "base/blob.h"
#include "base/sha256.h"

namespace potluck {
namespace {

// Bytes [begin, end) of all parts, one after the other: where they lie if they are of one part, else put together in
// `buffer`.
absl::string_view Range(const std::vector<SharedBytes>& parts, uint64_t begin, uint64_t end, std::string& buffer) {
  buffer.clear();
  uint64_t at = 0;  // Where the part begins.
  for (const SharedBytes& part : parts) {
    const uint64_t from = std::max(begin, at), to = std::min(end, at + part.size());
    if (from < to) {
      const absl::string_view bytes(part.view().data() + (from - at), to - from);
      if (from == begin && to == end) return bytes;
      buffer.append(bytes.data(), bytes.size());
    }
    at += part.size();
  }
  return buffer;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlobKeeper::Put>> WriteState(BlobKeeper& blobs, const std::vector<SharedBytes>& parts) {
  Manifest manifest;
  for (const SharedBytes& part : parts) manifest.size += part.size();
  std::string buffer;
  const auto piece = [&](uint64_t index) {
    return Range(parts, index * kPieceBytes, std::min((index + 1) * kPieceBytes, manifest.size), buffer);
  };
  for (uint64_t index = 0; index * kPieceBytes < manifest.size; ++index) {
    manifest.pieces.push_back(Sha256(piece(index)));
  }
  absl::StatusOr<std::unique_ptr<BlobKeeper::Put>> put = blobs.StartPut(manifest);
  if (!put.ok()) return put.status();
  for (const uint64_t index : (*put)->missing()) {
    if (absl::Status status = (*put)->AddPiece(index, piece(index)); !status.ok()) return status;
  }
  if (absl::Status status = (*put)->FinishNamed(); !status.ok()) return status;
  return put;
}

}  // namespace potluck
