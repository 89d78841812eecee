// One PutResult: a result comes in pieces, into memory that is set aside for it, and is handed to the core. Belongs to
// gRPC, deletes itself. gRPC runs one operation of a call at a time; only giving up comes from other threads.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "base/sha256.h"
#include "coordinator/service/driver.h"
#include "coordinator/service/result_room.h"
#include "coordinator/service/shared_folder.h"
#include "proto/workers.pb.h"

namespace potluck {

class PutResultReactor final : public grpc::ServerReadReactor<v1::PutResultRequest>, ResultRoom::Stream {
 public:
  // `folder` may be null: no results come as files.
  PutResultReactor(Driver& driver, ResultRoom& room, const SharedFolder* folder, TokenId token,
                   grpc::CallbackServerContext* context, v1::PutResultReply* reply);
  // Finishes at once: not allowed.
  PutResultReactor(Driver& driver, ResultRoom& room, const absl::Status& status);

  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void LetIn(std::shared_ptr<void> room) override;
  void GiveUp() override { context_->TryCancel(); }
  absl::Status Begin();
  absl::Status Take();
  absl::Status TakeFile();
  absl::Status End();

  Driver& driver_;
  ResultRoom& room_;
  const SharedFolder* const folder_ = nullptr;
  const TokenId token_{};
  grpc::CallbackServerContext* const context_ = nullptr;
  v1::PutResultReply* const reply_ = nullptr;
  v1::PutResultRequest request_;
  bool has_begun_ = false;
  SessionId session_{};
  uint64_t size_ = 0;
  Core::HandedOver result_;
  Sha256Stream digest_;
};

}  // namespace potluck
