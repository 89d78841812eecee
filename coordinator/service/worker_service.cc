#include "coordinator/service/worker_service.h"

#include <openssl/rand.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "coordinator/identity.h"
#include "coordinator/service/blob_streams.h"
#include "coordinator/service/convert.h"
#include "coordinator/service/put_result.h"
#include "proto/exchange_codec.h"
#include "proto/transport_settings.h"
#include "proto/versions.h"

namespace potluck {
namespace {

constexpr int kMaxDevices = 64;
constexpr size_t kLongestPlace = 32;
constexpr uint32_t kMaxPadding = 1 << 20;
constexpr uint64_t kLongestSessionSeconds = uint64_t{100} * 365 * 86400;

const char* NameOf(Role role) {
  switch (role) {
    case Role::kWorker:
      return "worker";
    case Role::kViewer:
      return "viewer";
    case Role::kAdmin:
      return "admin";
  }
  return "unknown";
}

SessionId RandomSession() {
  uint64_t id = 0;
  // Not checked: an id that is not random is still unique enough to work, and the token guards the session.
  RAND_bytes(reinterpret_cast<unsigned char*>(&id), sizeof id);
  return SessionId{id};
}

// One Exchange in flight. The core answers it, or its client gives it up: exactly one of the two finishes it. gRPC
// calls OnCancel and OnDone only after the handler that made the reactor has returned, hence after Start.
class ExchangeReactor final : public grpc::ServerUnaryReactor {
 public:
  ExchangeReactor(Driver& driver, v1::ExchangeReply* reply) : driver_(driver), reply_(reply) {}

  void Start(potluck::ExchangeRequest request) {
    call_ = driver_.Await(Driver::ExchangeDone([this](const absl::Status& status, const ExchangeReply& reply) {
      if (status.ok()) *reply_ = ToWire(reply);
      Finish(ToGrpc(status));
    }));
    driver_.Do([this, &request](Core& core, Instant now) { return core.Exchange(now, call_, std::move(request)); });
  }

  void OnCancel() override {
    if (!driver_.Forget(call_)) return;  // It is being answered.
    driver_.Do([this](Core& core, Instant now) { return core.CallLost(now, call_); });
    Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override { delete this; }

 private:
  Driver& driver_;
  v1::ExchangeReply* const reply_;
  CallId call_{};
};

class FinishedReactor final : public grpc::ServerUnaryReactor {
 public:
  explicit FinishedReactor(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

absl::StatusOr<Tokens::Authenticated> RequireRole(const grpc::ServerContextBase& context, const Tokens& tokens,
                                                  bool is_joining, Role role) {
  absl::StatusOr<absl::string_view> secret = BearerToken(context);
  if (!secret.ok()) return secret.status();
  absl::StatusOr<Tokens::Authenticated> token =
      is_joining ? tokens.Authenticate(*secret, absl::Now()) : tokens.AuthenticateSession(*secret);
  if (!token.ok()) return token.status();
  const bool is_allowed = token->role == role || (role == Role::kViewer && token->role == Role::kAdmin);
  if (is_allowed) return token;
  return absl::PermissionDeniedError(absl::StrCat("the token \"", token->name, "\" has the role ", NameOf(token->role),
                                                  "; this needs ",
                                                  role == Role::kViewer ? "viewer or admin" : NameOf(role)));
}

grpc::ServerUnaryReactor* WorkerService::Join(grpc::CallbackServerContext* context, const v1::JoinRequest* request,
                                              v1::JoinReply* reply) {
  absl::StatusOr<Tokens::Authenticated> token = RequireRole(*context, tokens_, /*is_joining=*/true, Role::kWorker);
  if (!token.ok()) return new FinishedReactor(ToGrpc(token.status()));
  DoJoin(*token, *request, *reply);
  return new FinishedReactor(grpc::Status::OK);
}

void WorkerService::DoJoin(const Tokens::Authenticated& token, const v1::JoinRequest& request, v1::JoinReply& reply) {
  const auto refuse = [&reply](v1::Refusal::Reason reason, absl::string_view message) {
    reply.mutable_refused()->set_reason(reason);
    reply.mutable_refused()->set_message(std::string(message));
  };
  const uint32_t protocol = std::min(kProtocolMax, request.protocol_max());
  if (protocol < kProtocolMin || protocol < request.protocol_min()) {
    return refuse(v1::Refusal::OTHER_VERSION,
                  absl::StrCat("this worker speaks protocol versions ", request.protocol_min(), " to ",
                               request.protocol_max(), ", the coordinator (", kVersion, ") ", kProtocolMin, " to ",
                               kProtocolMax, ": install the coordinator's version of potluck"));
  }
  if (absl::Status name = ValidateName(request.name()); !name.ok()) return refuse(v1::Refusal::INVALID, name.message());
  if (request.installation().empty() || request.installation().size() > 128) {
    return refuse(v1::Refusal::INVALID, "the installation id is empty or longer than 128 characters");
  }
  if (request.devices().empty() || request.devices_size() > kMaxDevices) {
    return refuse(v1::Refusal::INVALID, absl::StrCat("the worker brings ", request.devices_size(),
                                                     " devices; allowed are 1 to ", kMaxDevices));
  }
  if (request.place().size() > kLongestPlace ||
      !std::all_of(request.place().begin(), request.place().end(), absl::ascii_isalnum)) {
    return refuse(v1::Refusal::INVALID,
                  absl::StrCat("the worker's place has ", request.place().size(), " characters; allowed are 0 to ",
                               kLongestPlace, " letters and digits"));
  }
  JoinRequest join;
  join.session = RandomSession();
  join.token = token.token;
  join.token_name = token.name;
  join.installation = request.installation();
  join.name = request.name();
  join.version = request.version();
  join.platform = request.platform();
  join.metered = request.metered();
  join.place = request.place();
  join.session_age = absl::Seconds(std::min<uint64_t>(request.session_age_seconds(), kLongestSessionSeconds));
  join.lacks_gpu = request.lacks_gpu();
  for (const v1::Device& device : request.devices()) join.devices.push_back(FromWire(device));
  absl::Status joined;
  driver_.Do([&](Core& core, Instant now) {
    Outbox outbox;
    if (request.seconds_left() > 0) join.ends_at = now.monotonic + absl::Seconds(request.seconds_left());
    joined = core.Join(now, join, outbox);
    return outbox;
  });
  if (!joined.ok()) return refuse(v1::Refusal::QUARANTINED, joined.message());
  v1::Joined* out = reply.mutable_joined();
  out->set_session(static_cast<uint64_t>(join.session));
  out->set_protocol(protocol);
  out->set_longest_hold_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.longest_hold)));
  out->set_lease_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.scheduler.lease_time)));
  out->set_coordinator_version(kVersion);
}

grpc::ServerUnaryReactor* WorkerService::Exchange(grpc::CallbackServerContext* context,
                                                  const v1::ExchangeRequest* request, v1::ExchangeReply* reply) {
  absl::StatusOr<Tokens::Authenticated> token = RequireRole(*context, tokens_, /*is_joining=*/false, Role::kWorker);
  if (!token.ok()) return new FinishedReactor(ToGrpc(token.status()));
  // gRPC gives the request to this call alone and frees it afterwards, so its payloads may be moved out.
  absl::StatusOr<ExchangeRequest> plain = FromWire(std::move(*const_cast<v1::ExchangeRequest*>(request)));
  if (!plain.ok()) return new FinishedReactor(ToGrpc(plain.status()));
  auto* reactor = new ExchangeReactor(driver_, reply);
  reactor->Start(*std::move(plain));
  return reactor;
}

grpc::ServerWriteReactor<v1::BlobPiece>* WorkerService::GetBlob(grpc::CallbackServerContext* context,
                                                                const v1::GetBlobRequest* request) {
  absl::StatusOr<Tokens::Authenticated> token = RequireRole(*context, tokens_, /*is_joining=*/false, Role::kWorker);
  if (!token.ok()) return new GetBlobReactor(token.status());
  const auto find = [this, session = SessionId{request->session()}, id = token->token, blob = request->digest()] {
    return driver_.Read([&](const Core& core, Instant) { return core.FindReadable(session, id, blob); });
  };
  // Who reads may have another lease in the end: what it got counts for the job for which it began.
  const auto job = std::make_shared<std::atomic<uint64_t>>(0);
  BlobPieces pieces;
  pieces.manifest = [this, find, job, blob = request->digest()]() -> absl::StatusOr<Manifest> {
    const absl::StatusOr<Core::Readable> readable = find();
    if (!readable.ok()) return readable.status();
    *job = static_cast<uint64_t>(readable->job);
    return readable->bulk != nullptr ? readable->bulk->manifest : blobs_.ReadManifest(blob);
  };
  pieces.piece = [this, find, blob = request->digest()](uint64_t index) -> absl::StatusOr<std::string> {
    const absl::StatusOr<Core::Readable> readable = find();
    if (!readable.ok()) return readable.status();
    if (readable->bulk == nullptr) return blobs_.ReadPiece(blob, index);
    return std::string(readable->bulk->bytes.view().substr(index * kPieceBytes, kPieceBytes));
  };
  pieces.sent = [this, job, session = SessionId{request->session()}](uint64_t bytes) {
    driver_.Do([&](Core& core, Instant) {
      core.BlobSent(session, JobId{job->load()}, bytes);
      return Outbox();
    });
  };
  if (folder_ && request->may_share()) {
    pieces.file = [this, find]() -> std::string {
      const absl::StatusOr<Core::Readable> readable = find();
      if (!readable.ok() || readable->bulk == nullptr) return "";
      return folder_->Share(readable->bulk).value_or("");  // Where it is full the wire serves.
    };
  }
  return new GetBlobReactor(std::move(pieces), request->first_piece());
}

grpc::ServerReadReactor<v1::PutResultRequest>* WorkerService::PutResult(grpc::CallbackServerContext* context,
                                                                        v1::PutResultReply* reply) {
  absl::StatusOr<Tokens::Authenticated> token = RequireRole(*context, tokens_, /*is_joining=*/false, Role::kWorker);
  if (!token.ok()) return new PutResultReactor(driver_, results_, token.status());
  return new PutResultReactor(driver_, results_, folder_ ? &*folder_ : nullptr, token->token, context, reply);
}

grpc::ServerUnaryReactor* WorkerService::Check(grpc::CallbackServerContext* context, const v1::CheckRequest* request,
                                               v1::CheckReply* reply) {
  absl::StatusOr<Tokens::Authenticated> token = RequireRole(*context, tokens_, /*is_joining=*/true, Role::kWorker);
  if (!token.ok()) return new FinishedReactor(ToGrpc(token.status()));
  reply->set_coordinator_version(kVersion);
  reply->set_protocol_min(kProtocolMin);
  reply->set_protocol_max(kProtocolMax);
  reply->set_unix_ms(absl::ToUnixMillis(absl::Now()));
  reply->mutable_padding()->resize(std::min(request->reply_bytes(), kMaxPadding));
  return new FinishedReactor(grpc::Status::OK);
}

}  // namespace potluck
