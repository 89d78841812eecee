#include "worker/link.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/exchange_codec.h"
#include "proto/versions.h"

namespace potluck {
namespace {

constexpr absl::Duration kJoinDeadline = absl::Seconds(15);

absl::Status RefusalStatus(const v1::Refusal& refusal) {
  switch (refusal.reason()) {
    case v1::Refusal::OTHER_VERSION:
      return absl::FailedPreconditionError(refusal.message());
    case v1::Refusal::QUARANTINED:
      return absl::PermissionDeniedError(refusal.message());
    default:
      return absl::InvalidArgumentError(refusal.message());
  }
}

v1::JoinRequest ToWire(const Hello& hello) {
  v1::JoinRequest request;
  request.set_protocol_min(kProtocolMin);
  request.set_protocol_max(kProtocolMax);
  request.set_version(kVersion);
  request.set_installation(hello.installation);
  request.set_name(hello.name);
  request.set_platform(hello.platform);
  for (const DeviceInfo& device : hello.devices) *request.add_devices() = ToWire(device);
  if (hello.ends_in != absl::InfiniteDuration()) {
    request.set_seconds_left(static_cast<uint64_t>(std::max<int64_t>(1, absl::ToInt64Seconds(hello.ends_in))));
  }
  request.set_metered(hello.metered);
  return request;
}

}  // namespace

struct Link::JoinCall {
  v1::JoinRequest request;
  v1::JoinReply reply;
};

struct Link::ExchangeCall {
  v1::ExchangeRequest request;
  v1::ExchangeReply reply;
};

Link::~Link() {
  Cancel();
  MutexLock lock(&mutex_);
  while (calls_ > 0) changed_.Wait(&mutex_);
}

void Link::Reconnect() {
  stub_.reset();
  connection_.reset();
  next_address_ = (next_address_ + 1) % join_.addresses.size();
}

std::string Link::address() const { return join_.addresses[next_address_]; }

absl::Status Link::Prepare(grpc::ClientContext& context, absl::Duration deadline) {
  if (!stub_) {
    absl::StatusOr<Connection> connection = Connect(join_, {.address = next_address_});
    if (!connection.ok()) return connection.status();
    connection_ = std::make_shared<Connection>(*std::move(connection));
    stub_ = v1::Workers::NewStub(connection_->channel);
  }
  Authorize(context, join_.token);
  context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
  MutexLock lock(&mutex_);
  ++calls_;
  return absl::OkStatus();
}

void Link::CallOver() {
  MutexLock lock(&mutex_);
  if (--calls_ == 0) changed_.SignalAll();
}

void Link::Join(const Hello& hello, Joined done) {
  context_ = std::make_shared<grpc::ClientContext>();
  if (absl::Status prepared = Prepare(*context_, kJoinDeadline); !prepared.ok()) return done(prepared, {});
  auto call = std::make_shared<JoinCall>();
  call->request = ToWire(hello);
  stub_->async()->Join(
      context_.get(), &call->request, &call->reply,
      [this, call, context = context_, connection = connection_, done = std::move(done)](const grpc::Status& status) {
        Welcome welcome;
        absl::Status outcome;
        if (!status.ok()) {
          outcome = Explain(*connection, status);
        } else if (!call->reply.has_joined()) {
          outcome = RefusalStatus(call->reply.refused());
        } else {
          welcome.session = SessionId{call->reply.joined().session()};
          welcome.longest_hold = absl::Milliseconds(call->reply.joined().longest_hold_ms());
        }
        done(outcome, welcome);
        CallOver();
      });
}

void Link::Exchange(const ExchangeRequest& request, absl::Duration deadline, Exchanged done) {
  context_ = std::make_shared<grpc::ClientContext>();
  if (absl::Status prepared = Prepare(*context_, deadline); !prepared.ok()) return done(prepared, {});
  auto call = std::make_shared<ExchangeCall>();
  call->request = potluck::ToWire(request);
  stub_->async()->Exchange(
      context_.get(), &call->request, &call->reply,
      [this, call, context = context_, connection = connection_, done = std::move(done)](const grpc::Status& status) {
        if (!status.ok()) {
          done(Explain(*connection, status), {});
        } else if (absl::StatusOr<ExchangeReply> reply = FromWire(call->reply); reply.ok()) {
          done(absl::OkStatus(), *reply);
        } else {
          done(reply.status(), {});
        }
        CallOver();
      });
}

void Link::Cancel() {
  if (context_) context_->TryCancel();
}

}  // namespace potluck
