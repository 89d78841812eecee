#include "coordinator/service/blob_streams.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "coordinator/service/convert.h"

namespace potluck {

absl::StatusOr<Manifest> ManifestFromWire(uint64_t size, const std::string& digests) {
  if (digests.size() % kSha256Bytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("manifest has ", digests.size(), " bytes; allowed are ", kSha256Bytes, " for each piece"));
  }
  Manifest manifest{size, {}};
  for (size_t at = 0; at < digests.size(); at += kSha256Bytes)
    manifest.pieces.push_back(digests.substr(at, kSha256Bytes));
  return manifest;
}

// ---- PutBlob

PutBlobReactor::PutBlobReactor(BlobKeeper& blobs, v1::PutBlobReply* reply) : blobs_(blobs), reply_(reply) {
  StartRead(&request_);
}

PutBlobReactor::PutBlobReactor(BlobKeeper& blobs, const absl::Status& status) : blobs_(blobs), reply_(nullptr) {
  Finish(ToGrpc(status));
}

// Not ok: the client has sent all it wanted to, or is gone; what arrived stays either way.
void PutBlobReactor::OnReadDone(bool ok) {
  const absl::Status status = ok ? Take() : End();
  if (ok && status.ok()) {
    StartRead(&request_);
  } else {
    put_.reset();  // Before the client hears of it: it may start anew at once.
    Finish(ToGrpc(status));
  }
}

absl::Status PutBlobReactor::Take() {
  if (put_) return put_->AddPiece(request_.index(), request_.data());
  if (!request_.data().empty()) {
    return absl::InvalidArgumentError("the first message carries data; allowed are size and manifest alone");
  }
  const absl::StatusOr<Manifest> manifest = ManifestFromWire(request_.size(), request_.manifest());
  if (!manifest.ok()) return manifest.status();
  absl::StatusOr<std::unique_ptr<BlobKeeper::Put>> put = blobs_.StartPut(*manifest);
  if (!put.ok()) return put.status();
  put_ = *std::move(put);
  return absl::OkStatus();
}

absl::Status PutBlobReactor::End() {
  if (!put_) return absl::InvalidArgumentError("the call has no message; the first one carries size and manifest");
  if (absl::Status status = put_->Finish(); !status.ok()) return status;
  reply_->set_digest(put_->digest());
  return absl::OkStatus();
}

// ---- GetBlob

GetBlobReactor::GetBlobReactor(BlobPieces blob, uint64_t first_piece)
    : blob_(std::move(blob)), next_piece_(first_piece) {
  if (const absl::Status status = SendManifest(); !status.ok()) Finish(ToGrpc(status));
}

GetBlobReactor::GetBlobReactor(const absl::Status& status) { Finish(ToGrpc(status)); }

void GetBlobReactor::OnWriteDone(bool ok) {
  if (!ok) return Finish(grpc::Status::CANCELLED);  // The client is gone.
  if (next_piece_ == end_) return Finish(grpc::Status::OK);
  if (const absl::Status status = SendPiece(); !status.ok()) Finish(ToGrpc(status));
}

void GetBlobReactor::OnDone() {
  if (bytes_ > 0 && blob_.sent) blob_.sent(bytes_);
  delete this;
}

absl::Status GetBlobReactor::SendManifest() {
  const absl::StatusOr<Manifest> manifest = blob_.manifest();
  if (!manifest.ok()) return manifest.status();
  end_ = manifest->pieces.size();
  if (next_piece_ > end_) {
    return absl::InvalidArgumentError(
        absl::StrCat("first_piece is ", next_piece_, "; allowed are 0 to ", end_, ", the number of the blob's pieces"));
  }
  message_.set_size(manifest->size);
  if (std::string file = blob_.file ? blob_.file() : ""; !file.empty()) {
    message_.set_file(std::move(file));
    bytes_ = manifest->size;
    next_piece_ = end_;
    StartWrite(&message_);
    return absl::OkStatus();
  }
  message_.mutable_manifest()->reserve(manifest->pieces.size() * kSha256Bytes);
  for (const std::string& digest : manifest->pieces) message_.mutable_manifest()->append(digest);
  StartWrite(&message_);
  return absl::OkStatus();
}

absl::Status GetBlobReactor::SendPiece() {
  absl::StatusOr<std::string> bytes = blob_.piece(next_piece_);
  if (!bytes.ok()) return bytes.status();
  message_.Clear();
  message_.set_index(next_piece_++);
  bytes_ += bytes->size();
  message_.set_data(*std::move(bytes));
  StartWrite(&message_);
  return absl::OkStatus();
}

}  // namespace potluck
