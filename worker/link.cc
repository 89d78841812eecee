#include "worker/link.h"

#include <algorithm>
#include <iterator>
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
  request.set_place(hello.place);
  request.set_session_age_seconds(static_cast<uint64_t>(std::max<int64_t>(0, absl::ToInt64Seconds(hello.session_age))));
  request.set_lacks_gpu(hello.lacks_gpu);
  return request;
}

}  // namespace

struct Link::Call {
  std::shared_ptr<const Line> line;
  grpc::ClientContext context;
  v1::JoinRequest join_request;
  v1::JoinReply join_reply;
  v1::ExchangeRequest exchange_request;
  v1::ExchangeReply exchange_reply;
  bool is_over = false;  // Guarded by the link's mutex.
};

Link::Link(JoinString join) : join_(std::move(join)) {}

Link::~Link() {
  Cancel();
  MutexLock lock(&mutex_);
  while (in_flight_ > 0) changed_.Wait(&mutex_);
}

void Link::Reconnect() {
  line_.reset();
  next_address_ = (next_address_ + 1) % join_.addresses.size();
}

std::string Link::address() const { return join_.addresses[next_address_]; }

absl::StatusOr<Link::Call*> Link::Prepare(absl::Duration deadline) {
  ForgetFinishedCalls();
  if (line_ == nullptr) {
    absl::StatusOr<Connection> connection = Connect(join_, {.address = next_address_});
    if (!connection.ok()) return connection.status();
    auto line = std::make_shared<Line>();
    line->connection = *std::move(connection);
    line->stub = v1::Workers::NewStub(line->connection.channel);
    line->token = join_.token;
    line_ = std::move(line);
  }
  Call& call = *calls_.emplace_back(std::make_unique<Call>());
  call.line = line_;
  Authorize(call.context, line_->token);
  call.context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
  MutexLock lock(&mutex_);
  ++in_flight_;
  return &call;
}

void Link::CallOver(Call& call) {
  MutexLock lock(&mutex_);
  call.is_over = true;
  if (--in_flight_ == 0) changed_.SignalAll();
}

void Link::ForgetFinishedCalls() {
  std::list<std::unique_ptr<Call>> finished;
  MutexLock lock(&mutex_);
  for (auto it = calls_.begin(); it != calls_.end();) {
    const auto next = std::next(it);
    if ((*it)->is_over) finished.splice(finished.end(), calls_, it);
    it = next;
  }
}

void Link::Join(const Hello& hello, Joined done) {
  absl::StatusOr<Call*> prepared = Prepare(kJoinDeadline);
  if (!prepared.ok()) return done(prepared.status(), {});
  Call* const call = *prepared;
  call->join_request = ToWire(hello);
  line_->stub->async()->Join(&call->context, &call->join_request, &call->join_reply,
                             [this, call, done = std::move(done)](const grpc::Status& status) {
                               Welcome welcome;
                               absl::Status outcome;
                               const v1::JoinReply& reply = call->join_reply;
                               if (!status.ok()) {
                                 outcome = Explain(call->line->connection, status);
                               } else if (!reply.has_joined()) {
                                 outcome = RefusalStatus(reply.refused());
                               } else {
                                 welcome.session = SessionId{reply.joined().session()};
                                 welcome.longest_hold = absl::Milliseconds(reply.joined().longest_hold_ms());
                               }
                               done(outcome, welcome);
                               CallOver(*call);
                             });
}

void Link::Exchange(const ExchangeRequest& request, absl::Duration deadline, Exchanged done) {
  absl::StatusOr<Call*> prepared = Prepare(deadline);
  if (!prepared.ok()) return done(prepared.status(), {});
  Call* const call = *prepared;
  call->exchange_request = potluck::ToWire(request);
  line_->stub->async()->Exchange(&call->context, &call->exchange_request, &call->exchange_reply,
                                 [this, call, done = std::move(done)](const grpc::Status& status) {
                                   if (!status.ok()) {
                                     done(Explain(call->line->connection, status), {});
                                   } else if (absl::StatusOr<ExchangeReply> reply = FromWire(call->exchange_reply);
                                              reply.ok()) {
                                     done(absl::OkStatus(), *reply);
                                   } else {
                                     done(reply.status(), {});
                                   }
                                   CallOver(*call);
                                 });
}

void Link::Cancel() {
  if (!calls_.empty()) calls_.back()->context.TryCancel();
}

}  // namespace potluck
