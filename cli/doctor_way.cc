#include "cli/doctor_way.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "cli/doctor_connection.h"
#include "cli/doctor_line.h"
#include "cli/output.h"

namespace potluck {
namespace {

constexpr char kReach[] = "docs/reach.md lists the ways to make a coordinator reachable";

// What was found by one step is what the next one goes on from.
class Way {
 public:
  Way(const JoinString& join, size_t address, const WayOptions& options)
      : join_(join),
        address_(join.addresses[address]),
        where_(SplitAddress(address_)),
        options_(options),
        line_(join, address, options.step_limit) {}

  std::vector<CheckRow> Go() {
    using Step = CheckRow (Way::*)();
    const std::pair<const char*, Step> steps[] = {
        {"proxy", &Way::UseProxy},       {"name", &Way::Resolve},         {"tcp", &Way::Connect},
        {"tls", &Way::Handshake},        {"http2", &Way::Http2},          {"token", &Way::Token},
        {"version", &Way::Version},      {"round-trip", &Way::RoundTrip}, {"throughput", &Way::Throughput},
        {"clock-skew", &Way::ClockSkew}, {"keepalive", &Way::Keepalive},
    };
    std::vector<CheckRow> rows;
    bool is_clear = true;
    for (const auto& [name, step] : steps) {
      rows.push_back(is_clear ? (this->*step)() : SkipRow(name, "not tried"));
      rows.back().data["address"] = address_;
      is_clear = is_clear && rows.back().status != CheckStatus::kFail;
    }
    return rows;
  }

 private:
  CheckRow UseProxy();
  CheckRow Resolve();
  CheckRow Connect();
  CheckRow Handshake();
  CheckRow JudgePeer(const TlsPeer& peer);
  CheckRow NoTls(const absl::Status& status, std::optional<HttpAnswer> answer);
  CheckRow NotOurKey(const TlsPeer& peer);
  CheckRow Http2() { return line_.Http2(); }
  CheckRow Token() { return line_.Token(); }
  CheckRow Version() { return line_.Version(); }
  CheckRow RoundTrip() { return line_.RoundTrip(); }
  CheckRow Throughput() { return line_.Throughput(); }
  CheckRow ClockSkew() { return line_.ClockSkew(); }
  CheckRow Keepalive() {
    if (!options_.is_long) return SkipRow("keepalive", "not tried: --long stays silent for 90 s and looks");
    if (options_.say) {
      options_.say(
          absl::StrCat("staying silent for ", TimeText(options_.silence), " to see whether the connection lives"));
    }
    return line_.Keepalive(options_.silence);
  }

  // Whom TCP goes to: the proxy, if there is one.
  const HostPort& hop() const { return proxy_ ? proxy_->where : where_; }
  std::string HopText() const { return proxy_ ? absl::StrCat("the proxy ", proxy_->where.host) : where_.host; }
  // A new connection as far as the coordinator.
  absl::StatusOr<Socket> Open();

  const JoinString& join_;
  const std::string address_;
  const HostPort where_;
  const WayOptions& options_;
  std::optional<Proxy> proxy_;
  std::vector<SocketAddress> resolved_;
  DoctorLine line_;
};

CheckRow Way::UseProxy() {
  proxy_ = ProxyFor(address_);
  if (!proxy_) return OkRow("proxy", absl::StrCat("none on the way to ", address_));
  CheckRow row = OkRow("proxy", absl::StrCat("the environment's ", proxy_->variable, " sends it through ",
                                             proxy_->where.host, ":", proxy_->where.port));
  row.data = {{"variable", proxy_->variable}, {"host", proxy_->where.host}, {"port", proxy_->where.port}};
  return row;
}

CheckRow Way::Resolve() {
  absl::StatusOr<std::vector<SocketAddress>> resolved = ResolveName(hop(), options_.step_limit);
  if (!resolved.ok()) {
    const std::string remedy =
        absl::IsNotFound(resolved.status())
            ? "check the spelling of that host; if no other name resolves either, this machine has no network (Kaggle: "
              "switch internet on in the notebook's settings)"
            : "this machine has no network, or its name server is not to be had: switch the network on (Kaggle: "
              "internet, "
              "in the notebook's settings)";
    return FailRow("name",
                   absl::StrCat("the name of ", HopText(), " cannot be resolved: ", resolved.status().message()),
                   remedy, kExitUnreachable);
  }
  resolved_ = *std::move(resolved);
  std::vector<std::string> texts;
  for (const SocketAddress& address : resolved_) texts.push_back(address.text);
  CheckRow row = OkRow("name", absl::StrCat(HopText(), " is ", absl::StrJoin(texts, ", ")));
  row.data = {{"addresses", texts}};
  return row;
}

absl::StatusOr<Socket> Way::Open() {
  absl::StatusOr<Socket> socket = ConnectTcp(resolved_, options_.step_limit);
  if (!socket.ok() || !proxy_) return socket;
  if (absl::Status opened = ConnectThroughProxy(*socket, *proxy_, address_, options_.step_limit); !opened.ok()) {
    return absl::FailedPreconditionError(opened.message());
  }
  return socket;
}

CheckRow Way::Connect() {
  const absl::Time start = AwakeNow();
  const absl::StatusOr<Socket> socket = Open();
  if (socket.ok()) {
    CheckRow row = OkRow("tcp", absl::StrCat("connected to ", address_, proxy_ ? " through the proxy" : "", " in ",
                                             TimeText(AwakeNow() - start)));
    row.data = {{"seconds", absl::ToDoubleSeconds(AwakeNow() - start)}};
    return row;
  }
  const std::string what =
      absl::StrCat("no connection to ", proxy_ ? HopText() : address_, ": ", socket.status().message());
  if (absl::IsFailedPrecondition(socket.status())) {
    return FailRow(
        "tcp",
        absl::StrCat("the proxy ", proxy_->where.host, " opens no way to ", address_, ": ", socket.status().message()),
        absl::StrCat("have it allow CONNECT to that port, or name the coordinator's host in no_proxy if it can "
                     "be reached without it"),
        kExitUnreachable);
  }
  if (absl::IsDeadlineExceeded(socket.status())) {
    return FailRow(
        "tcp", what,
        absl::StrCat("packets vanish on the way: a firewall here or there lets them not through, the port is not "
                     "forwarded, or the address is an old one; ",
                     kReach),
        kExitUnreachable);
  }
  return FailRow(
      "tcp", what,
      absl::StrCat("see that the coordinator runs (`potluck serve`) and that its port is forwarded to it; ", kReach),
      kExitUnreachable);
}

CheckRow Way::Handshake() {
  std::optional<HttpAnswer> answer;
  // Hung up before anything else is asked there: some servers serve one at a time.
  const absl::StatusOr<TlsPeer> peer = [&]() -> absl::StatusOr<TlsPeer> {
    const absl::StatusOr<Socket> socket = Open();
    if (!socket.ok()) return socket.status();
    return TlsHandshake(*socket, where_.host, "h2", options_.step_limit, &answer);
  }();
  return peer.ok() ? JudgePeer(*peer) : NoTls(peer.status(), std::move(answer));
}

CheckRow Way::NoTls(const absl::Status& status, std::optional<HttpAnswer> answer) {
  // Many HTTP servers say nothing to a TLS handshake, or only that it is no request: asked properly, they say more.
  if (!absl::IsDeadlineExceeded(status) && !absl::IsAborted(status)) {
    if (const absl::StatusOr<Socket> socket = Open(); socket.ok()) {
      if (std::optional<HttpAnswer> asked = AskPlainHttp(*socket, where_.host, options_.step_limit)) answer = asked;
    }
  }
  CheckRow row = FailRow("tls", absl::StrCat(address_, ": ", status.message()), kReach, kExitUnreachable);
  if (answer && answer->is_captive_portal()) {
    row.message = absl::StrCat("a sign-in page answers in place of ", address_, " (HTTP ", answer->status,
                               answer->location.empty() ? "" : absl::StrCat(", sends to ", answer->location), ")");
    row.remedy = "this network wants you to sign in first: open any page in a browser there, then try again";
  } else if (answer) {
    row.message =
        absl::StrCat("an HTTP server without TLS answers at ", address_, " (HTTP ", answer->status,
                     answer->server.empty() ? "" : absl::StrCat(", ", answer->server), "), not a coordinator");
    row.remedy =
        "check the port in the join string; a reverse proxy there must speak TLS to workers, or pass TCP through";
  } else if (absl::IsFailedPrecondition(status)) {
    row.remedy = "another program listens there: check the port in the join string";
  } else if (absl::IsAborted(status)) {
    row.remedy = absl::StrContains(status.message(), "protocol")
                     ? "what ends TLS there must offer TLS 1.2 or newer and HTTP/2 (ALPN h2)"
                     : "another program listens there, or something in between breaks TLS: try another network";
  } else if (absl::IsDeadlineExceeded(status)) {
    row.remedy =
        "something in between takes connections and stays silent, or the coordinator is stopped: look at its "
        "terminal, and try another network";
  } else {
    row.remedy =
        absl::StrCat("a forwarder whose other end is gone hangs up like this: see that the coordinator runs; ", kReach);
  }
  return row;
}

CheckRow Way::NotOurKey(const TlsPeer& peer) {
  std::optional<HttpAnswer> answer;
  if (const absl::StatusOr<Socket> socket = Open(); socket.ok()) {
    answer = AskHttps(*socket, where_.host, options_.step_limit);
  }
  if (answer && answer->is_captive_portal()) return NoTls(absl::PermissionDeniedError("another key"), answer);
  if (absl::StrContains(peer.subject, "CN=potluck")) {
    return FailRow("tls", absl::StrCat("the coordinator at ", address_, " has another key than the join string says"),
                   "it was set up anew, or is another one: ask for a new join string", kExitRefused);
  }
  return FailRow(
      "tls",
      absl::StrCat("something else answers in place of the coordinator at ", address_, ": its certificate is of ",
                   peer.subject, ", issued by ", peer.issuer),
      "check the address; a program or network that looks into TLS must leave this connection alone; behind a "
      "terminator of yours, serve with --trust-proxy-ca",
      kExitRefused);
}

CheckRow Way::JudgePeer(const TlsPeer& peer) {
  if (!join_.pin.empty() && peer.pin != join_.pin) return NotOurKey(peer);
  if (join_.pin.empty() && !peer.trusted.ok()) {
    return FailRow(
        "tls", absl::StrCat("the certificate at ", address_, " is not to be trusted: ", peer.trusted.message()),
        "the join string has no pin, so a known authority must vouch for that name: have the terminator show "
        "such a certificate, install ca-certificates here, or use a join string with a pin",
        kExitRefused);
  }
  if (peer.alpn != "h2") {
    return FailRow("tls", absl::StrCat(address_, " speaks TLS but no HTTP/2 (ALPN h2)"),
                   "what ends TLS there must offer HTTP/2 and pass gRPC on (nginx: http2 and grpc_pass)",
                   kExitUnreachable);
  }
  CheckRow row = OkRow("tls", absl::StrCat(peer.version, join_.pin.empty() ? ", a certificate that the system trusts"
                                                                           : ", the pinned key"));
  row.data = {{"version", peer.version}, {"pinned", !join_.pin.empty()}};
  if (!join_.pin.empty() || peer.version == "TLSv1.3") return row;
  row.status = CheckStatus::kWarn;
  row.remedy = "have what ends TLS there offer TLS 1.3";
  return row;
}

}  // namespace

CheckRow CheckJoinString(const absl::StatusOr<JoinString>& join) {
  if (!join.ok()) {
    return FailRow("join-string", std::string(join.status().message()),
                   "copy the whole join string again, from potluck:// to its end, in quotes");
  }
  CheckRow row =
      OkRow("join-string", absl::StrCat("complete, for ", absl::StrJoin(join->addresses, ", "),
                                        join->pin.empty() ? ", without a pinned key" : ", with a pinned key"));
  row.data = {{"addresses", join->addresses}, {"pinned", !join->pin.empty()}};
  if (!join->pin.empty()) return row;
  row.status = CheckStatus::kWarn;
  row.remedy = "whoever ends TLS on the way can read along; that is how serve --trust-proxy-ca is meant";
  return row;
}

std::vector<CheckRow> CheckWay(const JoinString& join, size_t address, const WayOptions& options) {
  return Way(join, address, options).Go();
}

}  // namespace potluck
