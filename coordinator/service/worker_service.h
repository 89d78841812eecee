// The gRPC face towards workers: Join, Exchange, GetBlob, PutResult and Check. Checks tokens, translates, and hands events to
// the driver.
//
// Asynchronous (callback API): a held Exchange costs memory, no thread. Thread-safe; borrows driver,
// tokens and blobs.
#pragma once

#include "absl/time/time.h"
#include "coordinator/service/driver.h"
#include "coordinator/service/result_room.h"
#include "coordinator/service/shared_folder.h"
#include "coordinator/store/blob_store.h"
#include "coordinator/tokens.h"
#include "proto/workers.grpc.pb.h"

namespace potluck {

// The caller's token, if its role is `role`; PermissionDenied names both roles otherwise.
absl::StatusOr<Tokens::Authenticated> RequireRole(const grpc::ServerContextBase& context, const Tokens& tokens,
                                                  bool is_joining, Role role);

class WorkerService final : public v1::Workers::CallbackService {
 public:
  // `result_bytes`: see ResultRoom. `shared_folder`: see SharedFolder; empty: there is none.
  WorkerService(Driver& driver, const Tokens& tokens, BlobStore& blobs, const CoreOptions& options,
                uint64_t result_bytes, const std::string& shared_folder)
      : driver_(driver), tokens_(tokens), blobs_(blobs), options_(options), results_(result_bytes) {
    if (!shared_folder.empty()) folder_.emplace(shared_folder);
  }

  grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context, const v1::JoinRequest* request,
                                 v1::JoinReply* reply) override;
  grpc::ServerUnaryReactor* Exchange(grpc::CallbackServerContext* context, const v1::ExchangeRequest* request,
                                     v1::ExchangeReply* reply) override;
  grpc::ServerWriteReactor<v1::BlobPiece>* GetBlob(grpc::CallbackServerContext* context,
                                                   const v1::GetBlobRequest* request) override;
  grpc::ServerReadReactor<v1::PutResultRequest>* PutResult(grpc::CallbackServerContext* context,
                                                           v1::PutResultReply* reply) override;
  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context, const v1::CheckRequest* request,
                                  v1::CheckReply* reply) override;

 private:
  void DoJoin(const Tokens::Authenticated& token, const v1::JoinRequest& request, v1::JoinReply& reply);

  Driver& driver_;
  const Tokens& tokens_;
  BlobStore& blobs_;
  const CoreOptions options_;
  ResultRoom results_;
  std::optional<SharedFolder> folder_;
};

}  // namespace potluck
