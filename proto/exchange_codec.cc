#include "proto/exchange_codec.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"

namespace potluck {
namespace {

// What is beyond these is not taken note of.
constexpr size_t kMaxImplementations = 16;
constexpr size_t kMaxImplementationBytes = 64;

void Put(const RoundKey& key, v1::RoundRef* out) {
  out->set_job(static_cast<uint64_t>(key.job));
  out->set_number(key.round);
}

void Put(const LeaseId& id, v1::LeaseRef* out) {
  out->set_epoch(id.epoch);
  out->set_counter(id.counter);
}

RoundKey Get(const v1::RoundRef& round) { return {JobId{round.job()}, round.number()}; }
LeaseId Get(const v1::LeaseRef& lease) { return {lease.epoch(), lease.counter()}; }

absl::Status CheckInterval(const char* field, uint64_t begin, uint64_t end) {
  if (begin <= end) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " [", begin, ", ", end, ") ends before it begins"));
}

v1::SliceAnswer::Verdict ToWire(SliceVerdict verdict) {
  switch (verdict) {
    case SliceVerdict::kCommitted:
      return v1::SliceAnswer::COMMITTED;
    case SliceVerdict::kRepeat:
      return v1::SliceAnswer::REPEAT;
    case SliceVerdict::kDisagreement:
      return v1::SliceAnswer::DISAGREEMENT;
    case SliceVerdict::kOverlap:
      return v1::SliceAnswer::OVERLAP;
    case SliceVerdict::kClosed:
      return v1::SliceAnswer::CLOSED;
    case SliceVerdict::kInvalid:
      return v1::SliceAnswer::INVALID;
    case SliceVerdict::kNotHere:
      return v1::SliceAnswer::NOT_HERE;
  }
  return v1::SliceAnswer::VERDICT_UNSPECIFIED;
}

// A verdict that a newer coordinator knows and this worker does not is final all the same.
SliceVerdict FromWire(v1::SliceAnswer::Verdict verdict) {
  switch (verdict) {
    case v1::SliceAnswer::COMMITTED:
      return SliceVerdict::kCommitted;
    case v1::SliceAnswer::REPEAT:
      return SliceVerdict::kRepeat;
    case v1::SliceAnswer::DISAGREEMENT:
      return SliceVerdict::kDisagreement;
    case v1::SliceAnswer::OVERLAP:
      return SliceVerdict::kOverlap;
    case v1::SliceAnswer::CLOSED:
      return SliceVerdict::kClosed;
    case v1::SliceAnswer::NOT_HERE:
      return SliceVerdict::kNotHere;
    default:
      return SliceVerdict::kInvalid;
  }
}

}  // namespace

v1::LinkUse ToWire(const LinkUse& link) {
  v1::LinkUse out;
  out.set_bytes_received(link.bytes_received);
  out.set_seconds_receiving(link.seconds_receiving);
  out.set_bytes_sent(link.bytes_sent);
  out.set_seconds_sending(link.seconds_sending);
  return out;
}

v1::ExchangeRequest ToWire(const ExchangeRequest& request) {
  v1::ExchangeRequest out;
  out.set_session(static_cast<uint64_t>(request.session));
  out.set_seq(request.seq);
  for (const ReportedSlice& slice : request.slices) {
    v1::Slice* wire = out.add_slices();
    Put(slice.round, wire->mutable_round());
    wire->set_begin(slice.interval.begin);
    wire->set_end(slice.interval.end);
    Put(slice.lease, wire->mutable_lease());
    wire->set_slot(slice.slot);
    wire->set_busy_seconds(slice.busy_seconds);
    if (!slice.is_put) wire->set_payload(slice.payload);
    wire->set_digest(slice.digest);
    wire->set_is_put(slice.is_put);
  }
  for (const HeldLease& held : request.report.held) {
    v1::HeldLease* wire = out.add_held();
    Put(held.lease, wire->mutable_lease());
    Put(held.round, wire->mutable_round());
    wire->set_slot(held.slot);
    wire->set_begin(held.rest.begin);
    wire->set_end(held.rest.end);
    if (held.shrunk_to != std::numeric_limits<uint64_t>::max()) wire->set_shrunk_to(held.shrunk_to);
  }
  for (const uint32_t capacity : request.report.free_capacity) out.add_free_capacity(capacity);
  out.set_draining(request.report.draining);
  const LinkUse& link = request.report.link;
  if (link.bytes_received > 0 || link.bytes_sent > 0) *out.mutable_link() = ToWire(link);
  for (const RoundKey& round : request.known_rounds) Put(round, out.add_known_rounds());
  out.set_no_wait(request.no_wait);
  return out;
}

absl::StatusOr<ExchangeRequest> FromWire(v1::ExchangeRequest&& request) {
  ExchangeRequest out;
  out.session = SessionId{request.session()};
  out.seq = request.seq();
  for (v1::Slice& wire : *request.mutable_slices()) {
    if (absl::Status status = CheckInterval("slice", wire.begin(), wire.end()); !status.ok()) return status;
    if (wire.payload().size() > kMaxSliceBytes) {
      return absl::InvalidArgumentError(absl::StrCat("the payload of slice [", wire.begin(), ", ", wire.end(), ") has ",
                                                     wire.payload().size(), " bytes; allowed are ", kMaxSliceBytes));
    }
    ReportedSlice& slice = out.slices.emplace_back();
    slice.round = Get(wire.round());
    slice.interval = {wire.begin(), wire.end()};
    slice.lease = Get(wire.lease());
    slice.slot = wire.slot();
    // It only steers; what is not a time counts as none.
    slice.busy_seconds = wire.busy_seconds() >= 0 && wire.busy_seconds() < 1e9 ? wire.busy_seconds() : 0;
    slice.payload = std::move(*wire.mutable_payload());
    slice.digest = std::move(*wire.mutable_digest());
    slice.is_put = wire.is_put();
    // What was handed over apart has been hashed by whoever received it.
    const bool is_sound = slice.is_put ? slice.payload.empty() && slice.digest.size() == kSha256Bytes
                                       : slice.digest == Sha256(slice.payload);
    if (!is_sound) slice.digest.clear();
  }
  for (const v1::HeldLease& wire : request.held()) {
    if (absl::Status status = CheckInterval("lease", wire.begin(), wire.end()); !status.ok()) return status;
    HeldLease& held = out.report.held.emplace_back();
    held.lease = Get(wire.lease());
    held.round = Get(wire.round());
    held.slot = wire.slot();
    held.rest = {wire.begin(), wire.end()};
    if (wire.has_shrunk_to()) held.shrunk_to = wire.shrunk_to();
  }
  out.report.free_capacity.assign(request.free_capacity().begin(), request.free_capacity().end());
  out.report.draining = request.draining();
  out.report.link = {request.link().bytes_received(), request.link().seconds_receiving(), request.link().bytes_sent(),
                     request.link().seconds_sending()};
  for (const v1::RoundRef& round : request.known_rounds()) out.known_rounds.push_back(Get(round));
  out.no_wait = request.no_wait();
  return out;
}

v1::ExchangeReply ToWire(const ExchangeReply& reply) {
  v1::ExchangeReply out;
  out.set_seq(reply.seq);
  for (const SliceAnswer& answer : reply.answers) {
    v1::SliceAnswer* wire = out.add_answers();
    wire->set_verdict(ToWire(answer.verdict));
    wire->set_message(answer.message);
  }
  for (const Grant& grant : reply.orders.granted) {
    v1::Grant* wire = out.add_granted();
    Put(grant.lease, wire->mutable_lease());
    Put(grant.round, wire->mutable_round());
    wire->set_slot(grant.slot);
    wire->set_begin(grant.interval.begin);
    wire->set_end(grant.interval.end);
    wire->set_implementation(grant.implementation);
  }
  for (const Shrink& shrink : reply.orders.shrunk) {
    v1::Shrink* wire = out.add_shrunk();
    Put(shrink.lease, wire->mutable_lease());
    wire->set_end(shrink.end);
  }
  for (const LeaseId& lease : reply.orders.revoked) Put(lease, out.add_revoked());
  for (const RoundInfo& round : reply.rounds) {
    v1::RoundInfo* wire = out.add_rounds();
    Put(round.key, wire->mutable_round());
    wire->set_workload(round.workload);
    wire->set_payload(round.payload);
    for (const std::string& blob : round.blobs) wire->add_blobs(blob);
    for (const std::string& blob : round.bulk) wire->add_bulk(blob);
  }
  out.set_drain(reply.drain);
  out.set_call_within_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(reply.call_within)));
  return out;
}

absl::StatusOr<ExchangeReply> FromWire(const v1::ExchangeReply& reply) {
  ExchangeReply out;
  out.seq = reply.seq();
  for (const v1::SliceAnswer& answer : reply.answers()) {
    out.answers.push_back({FromWire(answer.verdict()), answer.message()});
  }
  for (const v1::Grant& wire : reply.granted()) {
    if (absl::Status status = CheckInterval("grant", wire.begin(), wire.end()); !status.ok()) return status;
    out.orders.granted.push_back(
        {Get(wire.lease()), Get(wire.round()), wire.slot(), {wire.begin(), wire.end()}, wire.implementation()});
  }
  for (const v1::Shrink& wire : reply.shrunk()) out.orders.shrunk.push_back({Get(wire.lease()), wire.end()});
  for (const v1::LeaseRef& wire : reply.revoked()) out.orders.revoked.push_back(Get(wire));
  for (const v1::RoundInfo& wire : reply.rounds()) {
    RoundInfo& round = out.rounds.emplace_back();
    round = {Get(wire.round()), wire.workload(), wire.payload()};
    round.blobs.assign(wire.blobs().begin(), wire.blobs().end());
    round.bulk.assign(wire.bulk().begin(), wire.bulk().end());
  }
  out.drain = reply.drain();
  out.call_within = absl::Milliseconds(reply.call_within_ms());
  return out;
}

v1::Device ToWire(const DeviceInfo& device) {
  v1::Device out;
  out.set_kind(device.kind);
  out.set_name(device.name);
  out.set_threads(device.threads);
  out.set_memory_bytes(device.memory_bytes);
  out.set_numerics_class(device.numerics_class);
  out.set_self_test(device.self_test);
  for (const std::string& name : device.implementations) out.add_implementations(name);
  return out;
}

DeviceInfo FromWire(const v1::Device& device) {
  DeviceInfo info{device.kind(),         device.name(),           device.threads(),
                  device.memory_bytes(), device.numerics_class(), device.self_test()};
  for (const std::string& name : device.implementations()) {
    const bool is_sound = !name.empty() && name.size() <= kMaxImplementationBytes;
    if (is_sound && info.implementations.size() < kMaxImplementations) info.implementations.push_back(name);
  }
  return info;
}

}  // namespace potluck
