// PutBlob and GetBlob, one reactor a call: asynchronous, at most one piece in memory, and the next one only when gRPC
// is done with the last. They belong to gRPC and delete themselves. gRPC runs one operation of a call at a time, so
// there is no lock.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/service/blob_keeper.h"
#include "coordinator/store/blob_store.h"
#include "proto/jobs.pb.h"
#include "proto/workers.pb.h"

namespace potluck {

// A manifest as it is sent: the blob's size and the digests of its pieces, concatenated. InvalidArgument if there is no
// whole number of digests; whether it fits the size is the store's to check.
absl::StatusOr<Manifest> ManifestFromWire(uint64_t size, const std::string& digests);

class PutBlobReactor final : public grpc::ServerReadReactor<v1::PutBlobRequest> {
 public:
  PutBlobReactor(BlobKeeper& blobs, v1::PutBlobReply* reply);
  // Finishes at once: not allowed.
  PutBlobReactor(BlobKeeper& blobs, const absl::Status& status);

  void OnReadDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  absl::Status Take();
  absl::Status End();

  BlobKeeper& blobs_;
  v1::PutBlobReply* const reply_;
  v1::PutBlobRequest request_;
  std::unique_ptr<BlobKeeper::Put> put_;  // Once the manifest is here.
};

// Where the messages of a GetBlob come from. Asked anew for each one, so that a reader who may not read any more, or is
// slow, holds on to nothing.
struct BlobPieces {
  std::function<absl::StatusOr<Manifest>()> manifest;
  std::function<absl::StatusOr<std::string>(uint64_t index)> piece;
  std::function<void(uint64_t bytes)> sent;  // The call is over; so many bytes of pieces went. May be empty.
  // The name of a file with all of it, which serves the reader as well; empty: none. May be empty itself.
  std::function<std::string()> file = {};
};

class GetBlobReactor final : public grpc::ServerWriteReactor<v1::BlobPiece> {
 public:
  GetBlobReactor(BlobPieces blob, uint64_t first_piece);
  // Finishes at once: not allowed.
  explicit GetBlobReactor(const absl::Status& status);

  void OnWriteDone(bool ok) override;
  void OnDone() override;

 private:
  absl::Status SendManifest();
  absl::Status SendPiece();

  const BlobPieces blob_;
  uint64_t bytes_ = 0;
  uint64_t next_piece_ = 0;
  uint64_t end_ = 0;
  v1::BlobPiece message_;
};

}  // namespace potluck
