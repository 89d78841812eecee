// The way to a coordinator, with all that may stand in it.
#include "cli/doctor_way.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/doctor_connection.h"
#include "cli/doctor_testing.h"
#include "coordinator/coordinator.h"
#include "proto/jobs.grpc.pb.h"
#include "tests/end_to_end/forwarder.h"

namespace potluck {
namespace {

using Rows = std::vector<CheckRow>;

JoinString JoinTo(const std::string& address, const std::string& pin = std::string(32, 'p')) {
  return {{address}, pin, kFakeToken};
}

WayOptions Quick(absl::Duration limit = absl::Seconds(20)) {
  WayOptions options;
  options.step_limit = limit;
  return options;
}

const CheckRow& RowOf(const Rows& rows, const std::string& check) {
  static const CheckRow kNone;
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const CheckRow& row) { return row.check == check; });
  EXPECT_NE(found, rows.end()) << check;
  return found == rows.end() ? kNone : *found;
}

// The steps up to `check` are well, that one failed with this code and these words, and nothing was tried after it.
void ExpectFailedAt(const Rows& rows, const std::string& check, int code, const std::vector<std::string>& words,
                    const std::vector<std::string>& remedy = {}) {
  bool has_failed = false;
  for (const CheckRow& row : rows) {
    SCOPED_TRACE(RowText(row));
    EXPECT_FALSE(absl::StrContains(row.message + row.remedy + row.data.dump(), kFakeToken));
    if (row.check == check) {
      has_failed = true;
      EXPECT_EQ(row.status, CheckStatus::kFail);
      EXPECT_EQ(row.exit_code, code);
      EXPECT_NE(row.remedy, "");
      for (const std::string& word : words) EXPECT_TRUE(absl::StrContains(row.message, word)) << word;
      for (const std::string& word : remedy) EXPECT_TRUE(absl::StrContains(row.remedy, word)) << word;
    } else if (has_failed) {
      EXPECT_EQ(row.status, CheckStatus::kSkip);
      EXPECT_EQ(row.message, "not tried");
    } else {
      EXPECT_EQ(row.status, CheckStatus::kOk);
    }
  }
  EXPECT_TRUE(has_failed);
}

class DoctorWayTest : public testing::Test {
 protected:
  DoctorWayTest() : coordinator_(Coordinator::Start({}).value()) {
    join_ = ParseJoinString(coordinator_->worker_join_string()).value();
  }

  std::unique_ptr<Coordinator> coordinator_;
  JoinString join_;
};

TEST_F(DoctorWayTest, AllIsWellOnTheWayToARealCoordinatorAndNoWorkerJoins) {
  const Rows rows = CheckWay(join_, 0, Quick());
  for (const CheckRow& row : rows) {
    EXPECT_EQ(row.status, row.check == "keepalive" ? CheckStatus::kSkip : CheckStatus::kOk) << RowText(row);
    EXPECT_EQ(row.data["address"], join_.addresses[0]);
    EXPECT_FALSE(absl::StrContains(row.message + row.remedy + row.data.dump(), join_.token));
  }
  EXPECT_EQ(rows.size(), 11u);
  EXPECT_GT(RowOf(rows, "round-trip").data["median_seconds"], 0);
  EXPECT_GT(RowOf(rows, "throughput").data["up_bytes_per_second"], 0);
  EXPECT_GT(RowOf(rows, "throughput").data["down_bytes_per_second"], 0);
  EXPECT_EQ(RowOf(rows, "tls").data["version"], "TLSv1.3");
  EXPECT_EQ(RowOf(rows, "version").data["coordinator"], kVersion);
}

TEST_F(DoctorWayTest, AnotherPinOfACoordinatorIsRefused) {
  join_.pin[0] = static_cast<char>(join_.pin[0] ^ 1);
  ExpectFailedAt(CheckWay(join_, 0, Quick()), "tls", kExitRefused, {"has another key than the join string says"},
                 {"ask for a new join string"});
}

TEST_F(DoctorWayTest, WithoutAPinACoordinatorsOwnCertificateIsNotTrusted) {
  join_.pin.clear();
  ExpectFailedAt(CheckWay(join_, 0, Quick()), "tls", kExitRefused, {"not to be trusted", "self"}, {"no pin"});
}

TEST_F(DoctorWayTest, AnUnknownTokenAndOneOfAnotherRoleAreRefused) {
  join_.token = kFakeToken;
  ExpectFailedAt(CheckWay(join_, 0, Quick()), "token", kExitRefused, {"token"}, {"token create --role worker"});
  const JoinString admin = ParseJoinString(coordinator_->admin_join_string()).value();
  ExpectFailedAt(CheckWay(admin, 0, Quick()), "token", kExitRefused, {"role admin", "needs worker"});
}

TEST_F(DoctorWayTest, AProxyOfTheEnvironmentIsUsedAndNamed) {
  // Whatever it is asked for, the way goes to the coordinator.
  const int port = static_cast<int>(coordinator_->port());
  end_to_end::ForwarderFaults faults = end_to_end::SlowLink(1e9);
  end_to_end::Forwarder behind(port, faults);
  FakeServer proxy([&](int fd) {
    char request[4096];
    std::string header;
    while (!absl::StrContains(header, "\r\n\r\n")) {
      const ssize_t got = recv(fd, request, sizeof request, 0);
      if (got <= 0) return;
      header.append(request, static_cast<size_t>(got));
    }
    EXPECT_TRUE(absl::StartsWith(header, "CONNECT coordinator.example:4242 HTTP/1.")) << header;
    EXPECT_FALSE(absl::StrContains(header, join_.token));
    const absl::string_view opened = "HTTP/1.1 200 Opened\r\n\r\n";
    send(fd, opened.data(), opened.size(), MSG_NOSIGNAL);
    const absl::StatusOr<Socket> far =
        ConnectTcp(ResolveName({"127.0.0.1", absl::StrCat(behind.port())}, absl::Seconds(9)).value(), absl::Seconds(9));
    ASSERT_TRUE(far.ok()) << far.status();
    // Until either side ends.
    char bytes[1 << 16];
    while (true) {
      pollfd watched[] = {{fd, POLLIN, 0}, {far->fd(), POLLIN, 0}};
      if (poll(watched, 2, 20'000) <= 0) return;
      for (const int side : {0, 1}) {
        if (watched[side].revents == 0) continue;
        const ssize_t got = recv(watched[side].fd, bytes, sizeof bytes, 0);
        const std::string carried(bytes, static_cast<size_t>(std::max<ssize_t>(0, got)));
        const int other = watched[1 - side].fd;
        fcntl(other, F_SETFL, fcntl(other, F_GETFL) & ~O_NONBLOCK);
        if (got <= 0 || send(other, carried.data(), carried.size(), MSG_NOSIGNAL) < 0) return;
      }
    }
  });
  join_.addresses = {"coordinator.example:4242"};
  setenv("grpc_proxy", absl::StrCat("http://user:secret@", proxy.address()).c_str(), 1);
  const Rows rows = CheckWay(join_, 0, Quick());
  unsetenv("grpc_proxy");
  for (const CheckRow& row : rows) {
    EXPECT_EQ(row.status, row.check == "keepalive" ? CheckStatus::kSkip : CheckStatus::kOk) << RowText(row);
    EXPECT_FALSE(absl::StrContains(row.message + row.data.dump(), "secret"));
  }
  EXPECT_EQ(RowOf(rows, "proxy").data["variable"], "grpc_proxy");
}

TEST_F(DoctorWayTest, AProxyThatOpensNoWayIsToldInItsOwnWords) {
  FakeServer proxy(FakeServer::Saying("HTTP/1.1 403 Forbidden by the school\r\n\r\n"));
  setenv("https_proxy", absl::StrCat("http://", proxy.address()).c_str(), 1);
  const Rows rows = CheckWay(JoinTo("coordinator.example:4242"), 0, Quick());
  unsetenv("https_proxy");
  ExpectFailedAt(rows, "tcp", kExitUnreachable, {"opens no way", "403 Forbidden by the school"}, {"no_proxy"});
}

TEST_F(DoctorWayTest, TheLongWayTellsWhetherTheConnectionLivedThroughSilence) {
  WayOptions options = Quick();
  options.is_long = true;
  options.silence = absl::Milliseconds(300);
  const CheckRow lived = RowOf(CheckWay(join_, 0, options), "keepalive");
  EXPECT_EQ(lived.status, CheckStatus::kOk) << RowText(lived);
  EXPECT_EQ(lived.data["survived"], true);

  auto forwarder = std::make_unique<end_to_end::Forwarder>(coordinator_->port(), end_to_end::SlowLink(1e9));
  join_.addresses = {absl::StrCat("127.0.0.1:", forwarder->port())};
  options.silence = absl::Seconds(20);
  options.say = [&](const std::string& sentence) {
    EXPECT_TRUE(absl::StrContains(sentence, "silent")) << sentence;
    forwarder.reset();
  };
  const CheckRow cut = RowOf(CheckWay(join_, 0, options), "keepalive");
  EXPECT_EQ(cut.status, CheckStatus::kFail) << RowText(cut);
  EXPECT_EQ(cut.data["survived"], false);
  EXPECT_TRUE(absl::StrContains(cut.message, "was cut after")) << cut.message;
  EXPECT_TRUE(absl::StrContains(cut.remedy, "idle limit")) << cut.remedy;
}

TEST(DoctorStrangersTest, AnUnknownNameIsTold) {
  ExpectFailedAt(CheckWay(JoinTo("no-such-host.invalid:4242"), 0, Quick()), "name", kExitUnreachable,
                 {"no-such-host.invalid", "cannot be resolved"}, {"no network"});
}

TEST(DoctorStrangersTest, APortThatRefusesOrSwallowsIsTold) {
  const FakePort closed(-1);
  ExpectFailedAt(CheckWay(JoinTo(closed.address()), 0, Quick()), "tcp", kExitUnreachable, {closed.address(), "refused"},
                 {"potluck serve"});
  FakePort full(0);
  full.Fill();
  ExpectFailedAt(CheckWay(JoinTo(full.address()), 0, Quick(absl::Milliseconds(300))), "tcp", kExitUnreachable,
                 {"does not answer"}, {"packets vanish"});
}

TEST(DoctorStrangersTest, OneThatTakesConnectionsAndSaysNothingIsTold) {
  const FakePort silent;
  ExpectFailedAt(CheckWay(JoinTo(silent.address()), 0, Quick(absl::Milliseconds(300))), "tls", kExitUnreachable,
                 {"nothing answers the TLS handshake"}, {"stays silent"});
}

TEST(DoctorStrangersTest, OneThatHangsUpIsTold) {
  FakeServer server([](int) {});
  ExpectFailedAt(CheckWay(JoinTo(server.address()), 0, Quick()), "tls", kExitUnreachable, {"hangs up"}, {"forwarder"});
}

TEST(DoctorStrangersTest, AnHttpServerIsTold) {
  FakeServer server(FakeServer::Saying("HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n"));
  ExpectFailedAt(CheckWay(JoinTo(server.address()), 0, Quick()), "tls", kExitUnreachable,
                 {"an HTTP server without TLS", "400", "nginx"}, {"port"});
}

TEST(DoctorStrangersTest, ACaptivePortalIsToldWhetherItSpeaksTlsOrNot) {
  const std::string sign_in = "HTTP/1.1 302 Found\r\nLocation: http://login.hotel.example/\r\n\r\n";
  FakeServer plain(FakeServer::Saying(sign_in));
  ExpectFailedAt(CheckWay(JoinTo(plain.address()), 0, Quick()), "tls", kExitUnreachable,
                 {"a sign-in page", "http://login.hotel.example/"}, {"sign in first"});
  FakeTlsServer secured("login.hotel.example", "http/1.1", sign_in);
  ExpectFailedAt(CheckWay(JoinTo(secured.address()), 0, Quick()), "tls", kExitUnreachable,
                 {"a sign-in page", "http://login.hotel.example/"}, {"sign in first"});
}

TEST(DoctorStrangersTest, AnotherTlsServerIsNamedByItsCertificate) {
  FakeTlsServer server("www.example", "http/1.1", "HTTP/1.1 200 OK\r\n\r\n");
  ExpectFailedAt(CheckWay(JoinTo(server.address()), 0, Quick()), "tls", kExitRefused,
                 {"something else answers", "CN=www.example"}, {"--trust-proxy-ca"});
}

TEST(DoctorStrangersTest, TheRightKeyWithoutHttp2IsTold) {
  FakeTlsServer server("potluck coordinator", "", "");
  ExpectFailedAt(CheckWay(JoinTo(server.address(), server.pin()), 0, Quick()), "tls", kExitUnreachable, {"no HTTP/2"},
                 {"grpc_pass"});
}

TEST(DoctorStrangersTest, AnotherProtocolIsTold) {
  FakeServer server(FakeServer::Saying("SSH-2.0-OpenSSH_9.2\r\n"));
  ExpectFailedAt(CheckWay(JoinTo(server.address()), 0, Quick()), "tls", kExitUnreachable, {"does not speak TLS"},
                 {"another program"});
}

TEST(DoctorVersionsTest, OfTwoVersionsItSaysWhichToUpdate) {
  FakeWorkers workers;
  workers.refusal.set_reason(v1::Refusal::OTHER_VERSION);
  workers.refusal.set_message("this worker speaks protocol versions 1 to 1, the coordinator 7 to 9");
  const FakeCoordinator coordinator(workers);
  // One that answers no Check.
  ExpectFailedAt(CheckWay(coordinator.join(), 0, Quick()), "version", kExitOtherVersion, {"7 to 9"}, {"same release"});
  workers.version = "9.9.9";
  workers.protocol_min = 7;
  workers.protocol_max = 9;
  ExpectFailedAt(CheckWay(coordinator.join(), 0, Quick()), "version", kExitOtherVersion, {"7 to 9"},
                 {"this program is older", "install 9.9.9 here"});
}

TEST(DoctorVersionsTest, AnOlderCoordinatorIsAWarningAndTheRestGoesOn) {
  FakeWorkers workers;
  workers.refusal.set_reason(v1::Refusal::INVALID);
  const FakeCoordinator coordinator(workers);
  const Rows rows = CheckWay(coordinator.join(), 0, Quick());
  EXPECT_EQ(RowOf(rows, "token").status, CheckStatus::kOk);
  EXPECT_EQ(RowOf(rows, "version").status, CheckStatus::kOk);
  EXPECT_EQ(RowOf(rows, "round-trip").status, CheckStatus::kWarn);
  EXPECT_TRUE(absl::StrContains(RowOf(rows, "round-trip").message, "older version"));
  EXPECT_EQ(RowOf(rows, "throughput").status, CheckStatus::kSkip);
}

TEST(DoctorVersionsTest, AClockThatIsWrongIsAWarning) {
  FakeWorkers workers;
  workers.refusal.set_reason(v1::Refusal::INVALID);
  workers.protocol_min = workers.protocol_max = 1;
  workers.unix_ms = absl::ToUnixMillis(absl::Now() - absl::Hours(3));
  const FakeCoordinator coordinator(workers);
  const CheckRow row = RowOf(CheckWay(coordinator.join(), 0, Quick()), "clock-skew");
  EXPECT_EQ(row.status, CheckStatus::kWarn);
  EXPECT_TRUE(absl::StrContains(row.message, "ahead of")) << row.message;
}

TEST(DoctorVersionsTest, AnotherGrpcServerIsTold) {
  class Other : public v1::Jobs::Service {};
  Other jobs;
  const FakeCoordinator coordinator(jobs);
  ExpectFailedAt(CheckWay(coordinator.join(), 0, Quick()), "http2", kExitUnreachable, {"another gRPC server"},
                 {"port"});
}

TEST(DoctorProxyTest, TheEnvironmentIsReadAsGrpcReadsIt) {
  const auto proxy_for = [](const std::string& address) {
    const std::optional<Proxy> proxy = ProxyFor(address);
    return proxy ? absl::StrCat(proxy->variable, " ", proxy->where.host, " ", proxy->where.port) : "none";
  };
  EXPECT_EQ(proxy_for("a.example:1"), "none");
  setenv("http_proxy", "http://third.example:3", 1);
  EXPECT_EQ(proxy_for("a.example:1"), "http_proxy third.example 3");
  setenv("https_proxy", "http://second.example:2/", 1);
  EXPECT_EQ(proxy_for("a.example:1"), "https_proxy second.example 2");
  setenv("grpc_proxy", "http://first.example", 1);
  EXPECT_EQ(proxy_for("a.example:1"), "grpc_proxy first.example 443");
  EXPECT_EQ(proxy_for("127.0.0.1:1"), "none");
  setenv("no_proxy", "b.example,.EXAMPLE", 1);
  EXPECT_EQ(proxy_for("a.example:1"), "none");
  setenv("no_grpc_proxy", "b.example", 1);
  EXPECT_EQ(proxy_for("a.example:1"), "grpc_proxy first.example 443");
  setenv("grpc_proxy", "socks5://first.example:1", 1);
  EXPECT_EQ(proxy_for("a.example:1"), "none");
  for (const char* name : {"http_proxy", "https_proxy", "grpc_proxy", "no_proxy", "no_grpc_proxy"}) unsetenv(name);
}

}  // namespace
}  // namespace potluck
