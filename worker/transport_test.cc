#include "worker/transport.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/client_hello.h"
#include "coordinator/front_testing.h"
#include "coordinator/listener.h"
#include "gtest/gtest.h"

namespace potluck {
namespace {

JoinString JoinStringOf(const EchoCoordinator& coordinator) {
  return {{coordinator.address()}, coordinator.identity().pin, kEchoToken};
}

// Connects, calls the echo, and explains what came of it.
absl::Status Try(const JoinString& join, const ConnectOptions& options = {}, const std::string& message = "hello") {
  absl::StatusOr<Connection> connection = Connect(join, options);
  if (!connection.ok()) return connection.status();
  grpc::ClientContext context;
  Authorize(context, join.token);
  std::string reply;
  const grpc::Status status = CallEcho(connection->channel, context, message, &reply);
  if (status.ok()) {
    EXPECT_EQ(reply, message);
  }
  return Explain(*connection, status);
}

TEST(TransportTest, TheRightPinAndTokenReachTheCoordinator) {
  EchoCoordinator coordinator;
  EXPECT_EQ(Try(JoinStringOf(coordinator)), absl::OkStatus());
  EXPECT_EQ(coordinator.door().counts().to_grpc, 1u);
}

TEST(TransportTest, AnotherKeyIsRefusedAndSaid) {
  EchoCoordinator coordinator;
  JoinString join = JoinStringOf(coordinator);
  join.pin[31] = static_cast<char>(join.pin[31] ^ 1);
  EXPECT_EQ(Try(join),
            absl::PermissionDeniedError(absl::StrCat(
                "the coordinator at ", coordinator.address(),
                " has another key than the join string says: it was set up anew (ask for a new join string), ",
                "or something between here and there answers in its place")));
}

TEST(TransportTest, WithoutAPinASelfSignedCertificateIsRefused) {
  EchoCoordinator coordinator;
  JoinString join = JoinStringOf(coordinator);
  join.pin.clear();
  const absl::Status status = Try(join);
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(absl::StartsWith(status.message(), absl::StrCat("the certificate of ", coordinator.address()))) << status;
}

TEST(TransportTest, WithoutAPinTheSystemsRootsDecide) {
  EchoCoordinator coordinator;
  JoinString join = JoinStringOf(coordinator);
  join.pin.clear();
  const char* before = getenv("SSL_CERT_FILE");
  const std::string kept = before == nullptr ? "" : before;
  // Its own certificate is an authority of this system, and is for the loopback addresses.
  const std::string roots = testing::TempDir() + "/roots-of-the-coordinator.pem";
  std::ofstream(roots) << coordinator.identity().certificate_pem;
  setenv("SSL_CERT_FILE", roots.c_str(), 1);
  EXPECT_EQ(Try(join), absl::OkStatus());
  setenv("SSL_CERT_FILE", "/nowhere/at/all.pem", 1);
  EXPECT_EQ(Connect(join).status().code(), absl::StatusCode::kInvalidArgument);
  setenv("SSL_CERT_FILE", kept.c_str(), 1);  // Empty counts as none.
}

TEST(TransportTest, NobodyThereIsToldApartFromAWrongKey) {
  absl::StatusOr<Listener> listener = Listen("127.0.0.1:0");
  ASSERT_TRUE(listener.ok());
  close(listener->sockets.front());
  const absl::Status status = Try({listener->addresses, std::string(32, 'x'), kEchoToken});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_FALSE(absl::StrContains(status.message(), "another key")) << status;
}

TEST(TransportTest, TheCallerChoosesTheAddress) {
  EchoCoordinator coordinator;
  JoinString join = JoinStringOf(coordinator);
  join.addresses.insert(join.addresses.begin(), "unresolvable.invalid:1");
  EXPECT_EQ(Try(join, {.address = 1}), absl::OkStatus());
  EXPECT_EQ(Try(join, {.address = 2}),
            absl::InvalidArgumentError("the join string has 2 addresses, number 2 (from 0) was asked for"));
}

TEST(TransportTest, TheTokenIsCheckedAtTheOtherEnd) {
  EchoCoordinator coordinator;
  JoinString join = JoinStringOf(coordinator);
  join.token = "another";
  EXPECT_EQ(Try(join), absl::UnauthenticatedError("wrong token"));
  grpc::ClientContext without;
  EXPECT_EQ(CallEcho(Connect(join)->channel, without, "hello").error_message(),
            "the call carries no token; workers and commands take theirs from the join string");
}

TEST(TransportTest, MessagesAreAsLongAsAgreedAndNoLonger) {
  EchoCoordinator coordinator;
  EXPECT_EQ(Try(JoinStringOf(coordinator), {}, std::string(kMaxMessageBytes, 'x')), absl::OkStatus());
  EXPECT_EQ(Try(JoinStringOf(coordinator), {}, std::string(kMaxMessageBytes + 1, 'x')).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(TransportTest, LoopbackDoesNotGoThroughAProxy) {
  EchoCoordinator coordinator;
  setenv("grpc_proxy", "http://127.0.0.1:9", 1);
  const absl::Status status = Try(JoinStringOf(coordinator));
  unsetenv("grpc_proxy");
  EXPECT_EQ(status, absl::OkStatus());
  for (const char* address : {"localhost:1", "LocalHost:1", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  for (const char* address : {"128.0.0.1:1", "[::2]:1", "localhost.example.org:1", "127.example.org:1"}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

// The front door tells workers from browsers by what they offer.
TEST(TransportTest, OffersH2ButNotHttp11) {
  absl::StatusOr<Listener> listener = Listen("127.0.0.1:0");
  ASSERT_TRUE(listener.ok());
  const int gate = listener->sockets.front();
  absl::StatusOr<Connection> connection = Connect({listener->addresses, std::string(32, 'x'), kEchoToken});
  ASSERT_TRUE(connection.ok());
  std::thread caller([&] {
    grpc::ClientContext context;
    EXPECT_EQ(CallEcho(connection->channel, context, "hello").error_code(), grpc::StatusCode::UNAVAILABLE);
  });
  int fd = -1;
  while ((fd = accept(gate, nullptr, nullptr)) < 0 && (errno == EAGAIN || errno == EINTR)) {
    pollfd readable{gate, POLLIN, 0};
    if (poll(&readable, 1, 20'000) != 1) break;
  }
  std::string bytes;
  ClientHello hello;
  char buffer[4096];
  ssize_t got = 0;
  while (hello.state == ClientHello::State::kNeedsMore && (got = recv(fd, buffer, sizeof buffer, 0)) > 0) {
    bytes.append(buffer, static_cast<size_t>(got));
    hello = ParseClientHello(bytes);
  }
  close(fd);
  close(gate);
  caller.join();
  EXPECT_EQ(hello.state, ClientHello::State::kComplete);
  EXPECT_EQ(std::count(hello.alpn.begin(), hello.alpn.end(), "h2"), 1);
  EXPECT_EQ(std::count(hello.alpn.begin(), hello.alpn.end(), "http/1.1"), 0);
  EXPECT_TRUE(hello.offers_tls13);
}

}  // namespace
}  // namespace potluck
