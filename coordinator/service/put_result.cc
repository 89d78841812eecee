#include "coordinator/service/put_result.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/service/convert.h"

namespace potluck {
namespace {

constexpr size_t kMaxPieceBytes = 1 << 20;

}  // namespace

PutResultReactor::PutResultReactor(Driver& driver, ResultRoom& room, const SharedFolder* folder, TokenId token,
                                   grpc::CallbackServerContext* context, v1::PutResultReply* reply)
    : driver_(driver), room_(room), folder_(folder), token_(token), context_(context), reply_(reply) {
  StartRead(&request_);
}

PutResultReactor::PutResultReactor(Driver& driver, ResultRoom& room, const absl::Status& status)
    : driver_(driver), room_(room) {
  Finish(ToGrpc(status));
}

void PutResultReactor::OnReadDone(bool ok) {
  if (ok && !has_begun_) {
    has_begun_ = true;
    if (const absl::Status status = Begin(); !status.ok()) return Finish(ToGrpc(status));
    return room_.Ask(this, size_);
  }
  const absl::Status status = ok ? Take() : End();
  if (ok && status.ok()) {
    room_.Moved(this);
    return StartRead(&request_);
  }
  room_.Leave(this);
  result_ = {};  // Before the client hears of it.
  Finish(ToGrpc(status));
}

void PutResultReactor::LetIn(std::shared_ptr<void> room) {
  result_.room = std::move(room);
  if (request_.file().empty()) {
    result_.payload.reserve(size_);
  } else if (const absl::Status status = TakeFile(); !status.ok()) {
    room_.Leave(this);
    result_ = {};
    return Finish(ToGrpc(status));
  }
  StartRead(&request_);
}

// While a read is under way that read fails, and ends the call; one that waits for room has none.
void PutResultReactor::OnCancel() {
  if (room_.Withdraw(this)) Finish(grpc::Status::CANCELLED);
}

void PutResultReactor::OnDone() { delete this; }

absl::Status PutResultReactor::Begin() {
  if (!request_.data().empty()) {
    return absl::InvalidArgumentError("the first message carries data; allowed are session, lease, round and size");
  }
  if (!request_.file().empty() && folder_ == nullptr) {
    return absl::InvalidArgumentError("file names a result, but this coordinator shares no folder; allowed is data");
  }
  session_ = SessionId{request_.session()};
  size_ = request_.size();
  result_.lease = {request_.lease().epoch(), request_.lease().counter()};
  result_.round = {JobId{request_.round().job()}, request_.round().number()};
  return driver_.Read(
      [this](const Core& core, Instant) { return core.MayPut(session_, token_, result_.lease, result_.round, size_); });
}

absl::Status PutResultReactor::Take() {
  const std::string& data = request_.data();
  if (data.empty() || data.size() > kMaxPieceBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("data has ", data.size(), " bytes; allowed are 1 to ", kMaxPieceBytes));
  }
  if (data.size() > size_ - result_.payload.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the result has more than the ", size_, " bytes it was said to have"));
  }
  digest_.Add(data);
  result_.payload += data;
  return absl::OkStatus();
}

absl::Status PutResultReactor::TakeFile() {
  const absl::Status status = folder_->Read(request_.file(), size_, result_.payload);
  if (status.ok()) digest_.Add(result_.payload);
  return status;
}

absl::Status PutResultReactor::End() {
  if (!has_begun_) return absl::InvalidArgumentError("the call has no message; the first one says what is handed over");
  if (context_->IsCancelled()) return absl::CancelledError("the call was given up");
  if (result_.payload.size() != size_) {
    return absl::InvalidArgumentError(
        absl::StrCat("the result has ", result_.payload.size(), " of the ", size_, " bytes it was said to have"));
  }
  result_.digest = digest_.Digest();
  const std::string digest = result_.digest;
  absl::Status status = absl::UnavailableError("the coordinator is stopping");
  driver_.Do([&](Core& core, Instant now) {
    status = core.ResultPut(now, session_, token_, std::move(result_));
    return Outbox();
  });
  if (status.ok()) reply_->set_digest(digest);
  return status;
}

}  // namespace potluck
