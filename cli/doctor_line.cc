#include "cli/doctor_line.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "cli/output.h"
#include "proto/versions.h"

namespace potluck {
namespace {

constexpr int kRoundTrips = 9;
// Each only if the one before it was quick.
constexpr size_t kLoads[] = {size_t{64} << 10, size_t{256} << 10, size_t{1} << 20};
constexpr absl::Duration kQuick = absl::Milliseconds(500);
constexpr double kSlowLine = 50e3;  // Bytes a second.
constexpr absl::Duration kFarAway = absl::Seconds(1);
constexpr absl::Duration kMuchSkew = absl::Minutes(1);
constexpr char kOld[] = "the coordinator is of an older version that answers no diagnosis";

}  // namespace

grpc::Status DoctorLine::AskToJoin() {
  v1::JoinRequest request;  // No name, no devices: refused, after token and versions were looked at.
  request.set_protocol_min(kProtocolMin);
  request.set_protocol_max(kProtocolMax);
  request.set_version(kVersion);
  grpc::ClientContext context;
  Authorize(context, join_.token);
  context.set_deadline(absl::ToChronoTime(absl::Now() + limit_));
  join_reply_.Clear();
  return stub_->Join(&context, request, &join_reply_);
}

absl::StatusOr<absl::Duration> DoctorLine::Check(size_t bytes_up, size_t bytes_down) {
  v1::CheckRequest request;
  request.mutable_padding()->resize(bytes_up);
  request.set_reply_bytes(static_cast<uint32_t>(bytes_down));
  grpc::ClientContext context;
  Authorize(context, join_.token);
  context.set_deadline(absl::ToChronoTime(absl::Now() + limit_));
  const absl::Time start = AwakeNow();
  const grpc::Status status = stub_->Check(&context, request, &check_reply_);
  if (!status.ok()) return Explain(*connection_, status);
  return AwakeNow() - start;
}

CheckRow DoctorLine::NotReached(const grpc::Status& status) const {
  const std::string& words = status.error_message();
  if (absl::StrContains(words, "http2 header with status") || absl::StrContains(words, "HTTP status code")) {
    return FailRow(
        "http2", absl::StrCat(connection_->address, " speaks HTTP/2, but no coordinator is behind it: ", words),
        "have the reverse proxy there pass gRPC on to the coordinator (nginx: grpc_pass grpcs://...), and see "
        "that the coordinator runs",
        kExitUnreachable);
  }
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
    return FailRow("http2", absl::StrCat("another gRPC server than a coordinator answers at ", connection_->address),
                   "check the address and the port in the join string", kExitUnreachable);
  }
  return FailRow("http2", absl::StrCat("no gRPC call gets through to ", connection_->address, ": ", words),
                 "something in between breaks HTTP/2: try another network, or have the proxy there pass gRPC on",
                 kExitUnreachable);
}

CheckRow DoctorLine::Http2() {
  absl::StatusOr<Connection> connection = Connect(join_, {.address = address_});
  if (!connection.ok()) return FailRow("http2", std::string(connection.status().message()), "", kExitUnreachable);
  connection_ = *std::move(connection);
  stub_ = v1::Workers::NewStub(connection_->channel);
  joined_ = AskToJoin();
  const bool came_from_proxy = absl::StrContains(joined_.error_message(), "http2 header with status");
  const bool is_answer = joined_.ok() || joined_.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
                         joined_.error_code() == grpc::StatusCode::PERMISSION_DENIED;
  if (!is_answer || came_from_proxy) return NotReached(joined_);
  return OkRow("http2", "a coordinator answers by gRPC");
}

CheckRow DoctorLine::Token() const {
  if (joined_.ok()) return OkRow("token", "valid, for a worker");
  return FailRow("token", joined_.error_message(),
                 "ask whoever runs the coordinator for a new join string of role worker (`potluck token create --role "
                 "worker --name NAME`)",
                 kExitRefused);
}

CheckRow DoctorLine::Version() {
  const absl::StatusOr<absl::Duration> checked = Check(0, 0);
  is_old_ = absl::IsUnimplemented(checked.status());
  const std::string theirs = checked.ok() ? check_reply_.coordinator_version() : "of an older version";
  const bool is_other = join_reply_.has_refused() && join_reply_.refused().reason() == v1::Refusal::OTHER_VERSION;
  CheckRow row = OkRow("version", absl::StrCat("the coordinator is ", theirs, ", this is ", kVersion));
  row.data = {{"here", kVersion}, {"protocol_min", kProtocolMin}, {"protocol_max", kProtocolMax}};
  if (checked.ok()) row.data["coordinator"] = theirs;
  if (!is_other) return row;
  row.status = CheckStatus::kFail;
  row.exit_code = kExitOtherVersion;
  row.message = join_reply_.refused().message();
  row.remedy = "install the same release of potluck on both sides";
  if (checked.ok() && check_reply_.protocol_max() < kProtocolMin) {
    row.remedy = absl::StrCat("the coordinator (", theirs, ") is older: update it, or install ", theirs, " here");
  } else if (checked.ok() && check_reply_.protocol_min() > kProtocolMax) {
    row.remedy = absl::StrCat("this program is older: install ", theirs, " here");
  }
  return row;
}

CheckRow DoctorLine::RoundTrip() {
  if (is_old_) return WarnRow("round-trip", kOld, "update the coordinator to have the line measured");
  std::vector<absl::Duration> times;
  for (int i = 0; i < kRoundTrips; ++i) {
    const absl::StatusOr<absl::Duration> time = Check(0, 0);
    if (!time.ok()) {
      return FailRow("round-trip", std::string(time.status().message()),
                     "the connection does not last for a few calls: try another network", kExitUnreachable);
    }
    times.push_back(*time);
  }
  std::sort(times.begin(), times.end());
  round_trip_ = times[times.size() / 2];
  CheckRow row =
      OkRow("round-trip", absl::StrCat("median ", absl::ToInt64Microseconds(round_trip_) / 1000.0, " ms of ",
                                       kRoundTrips, " calls, ", absl::ToInt64Microseconds(times.front()) / 1000.0,
                                       " to ", absl::ToInt64Microseconds(times.back()) / 1000.0, " ms"));
  row.data = {{"median_seconds", absl::ToDoubleSeconds(round_trip_)},
              {"least_seconds", absl::ToDoubleSeconds(times.front())},
              {"most_seconds", absl::ToDoubleSeconds(times.back())}};
  if (round_trip_ < kFarAway) return row;
  row.status = CheckStatus::kWarn;
  row.remedy = "counting bears that, training does not: for training use a nearer coordinator";
  return row;
}

absl::StatusOr<double> DoctorLine::Rate(bool is_up) {
  double rate = 0;
  for (const size_t load : kLoads) {
    const absl::StatusOr<absl::Duration> time = Check(is_up ? load : 0, is_up ? 0 : load);
    if (!time.ok()) return rate > 0 ? absl::StatusOr<double>(rate) : time.status();
    const absl::Duration carrying = std::max(*time - round_trip_, absl::Microseconds(1));
    rate = static_cast<double>(load) / absl::ToDoubleSeconds(carrying);
    if (*time > kQuick) break;
  }
  return rate;
}

CheckRow DoctorLine::Throughput() {
  if (is_old_) return SkipRow("throughput", "not measured: the coordinator is older");
  const absl::StatusOr<double> up = Rate(true), down = up.ok() ? Rate(false) : up;
  if (!down.ok()) {
    return FailRow("throughput", absl::StrCat("64 KiB do not get through: ", down.status().message()),
                   "something in between lets short messages pass only (a wrong MTU does): try another network",
                   kExitUnreachable);
  }
  CheckRow row =
      OkRow("throughput", absl::StrCat(Metric(*up), "B/s to the coordinator, ", Metric(*down), "B/s from it"));
  row.data = {{"up_bytes_per_second", std::round(*up)}, {"down_bytes_per_second", std::round(*down)}};
  if (std::min(*up, *down) >= kSlowLine) return row;
  row.status = CheckStatus::kWarn;
  row.remedy = "counting bears that (join with --metered), training does not";
  return row;
}

CheckRow DoctorLine::ClockSkew() {
  if (is_old_) return SkipRow("clock-skew", "not measured: the coordinator is older");
  const absl::StatusOr<absl::Duration> time = Check(0, 0);
  if (!time.ok()) return SkipRow("clock-skew", "not measured");
  const absl::Duration skew = absl::Now() - *time / 2 - absl::FromUnixMillis(check_reply_.unix_ms());
  CheckRow row = OkRow("clock-skew", "the two clocks agree");
  row.data = {{"seconds", absl::ToDoubleSeconds(skew)}};
  if (absl::AbsDuration(skew) < kMuchSkew) return row;
  row.status = CheckStatus::kWarn;
  row.message = absl::StrCat("this clock is ", TimeText(absl::AbsDuration(skew)),
                             skew > absl::ZeroDuration() ? " ahead of" : " behind", " the coordinator's");
  row.remedy = "set the clock that is wrong: tokens end, and certificates are judged, by the clock";
  return row;
}

CheckRow DoctorLine::Keepalive(absl::Duration silence) {
  const std::string remedy =
      "something on the way cuts connections that are quiet: raise its idle limit (nginx: grpc_read_timeout; haproxy: "
      "timeout client, timeout server), or use a forwarder that lets HTTP/2 pings through";
  const absl::Time start = AwakeNow();
  grpc_connectivity_state state = connection_->channel->GetState(false);
  const bool is_cut = state != GRPC_CHANNEL_READY ||
                      connection_->channel->WaitForStateChange(state, absl::ToChronoTime(absl::Now() + silence));
  const absl::Duration lived = AwakeNow() - start;
  CheckRow row = OkRow("keepalive", absl::StrCat("the connection lived through ", TimeText(silence), " of silence"));
  row.data = {{"survived", !is_cut}, {"seconds", absl::ToDoubleSeconds(lived)}};
  const grpc::Status after = AskToJoin();
  if (!is_cut && after.ok()) return row;
  row.data["survived"] = false;
  row.status = CheckStatus::kFail;
  row.exit_code = kExitUnreachable;
  row.remedy = remedy;
  row.message = is_cut ? absl::StrCat("the connection was cut after ", TimeText(lived), " of silence")
                       : absl::StrCat("after ", TimeText(silence),
                                      " of silence no call gets through: ", Explain(*connection_, after).message());
  // A worker only connects anew and goes on.
  if (is_cut && after.ok()) {
    row.status = CheckStatus::kWarn;
    absl::StrAppend(&row.message, "; a new one was made at once");
  }
  return row;
}

}  // namespace potluck
