#include "coordinator/front_door.h"

#include <netdb.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/notification.h"
#include "coordinator/front_testing.h"
#include "coordinator/listener.h"
#include "gtest/gtest.h"

namespace potluck {
namespace {

constexpr char kPage[] = "This is a Potluck coordinator; workers join with `potluck join`, see README.\n";

// The bytes with which an OpenSSL client begins.
std::string HelloBytes() {
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free);
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), &SSL_free);
  BIO* out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
  SSL_connect(ssl.get());
  char* data = nullptr;
  const long length = BIO_get_mem_data(out, &data);
  return std::string(data, static_cast<size_t>(length));
}

grpc::Status CallOnce(EchoCoordinator& coordinator) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = coordinator.identity().certificate_pem;
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("potluck");
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  grpc::ClientContext context;
  context.AddMetadata(kAuthorizationKey, absl::StrCat(kBearerPrefix, kEchoToken));
  std::string reply;
  const grpc::Status status =
      CallEcho(grpc::CreateCustomChannel(coordinator.address(), grpc::SslCredentials(options), arguments), context,
               "hello", &reply);
  if (status.ok()) {
    EXPECT_EQ(reply, "hello");
  }
  return status;
}

constexpr char kGetPage[] = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

TEST(FrontDoorTest, AnH2OnlyClientReachesGrpc) {
  EchoCoordinator coordinator;
  EXPECT_EQ(CallOnce(coordinator).error_message(), "");
  EXPECT_EQ(coordinator.door().counts().to_grpc, 1u);
  EXPECT_EQ(coordinator.door().counts().to_web, 0u);
}

TEST(FrontDoorTest, BrowsersAndClientsWithoutAlpnReachThePage) {
  EchoCoordinator coordinator;
  for (const auto& [alpn, chosen] :
       {std::pair<std::string, std::string>("\x02h2\x08http/1.1", "http/1.1"),
        std::pair<std::string, std::string>("\x08http/1.1", "http/1.1"), std::pair<std::string, std::string>("", "")}) {
    TlsClient client(coordinator.door().port(), alpn);
    ASSERT_TRUE(client.connected());
    EXPECT_EQ(client.version(), "TLSv1.3");
    EXPECT_EQ(client.protocol(), chosen);
    const std::string answer = client.Ask(kGetPage);
    EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 200 OK\r\n")) << answer;
    EXPECT_TRUE(absl::EndsWith(answer, absl::StrCat("\r\n\r\n", kPage))) << answer;
  }
  EXPECT_EQ(coordinator.door().counts().to_web, 3u);
}

TEST(FrontDoorTest, AClientWithoutTls13GetsTheAlert) {
  EchoCoordinator coordinator;
  TlsClient client(coordinator.door().port(), "\x02h2", TLS1_2_VERSION);
  EXPECT_FALSE(client.connected());
  EXPECT_EQ(client.reason(), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
  EXPECT_EQ(coordinator.door().counts().old_tls, 1u);
}

TEST(FrontDoorTest, PlainHttpIsToldToUseTls) {
  EchoCoordinator coordinator;
  for (const char* request : {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}) {
    Socket socket(coordinator.door().port());
    socket.Send(request);
    EXPECT_EQ(socket.ReceiveAll(),
              "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 98\r\n"
              "Connection: close\r\n\r\n"
              "This port of a Potluck coordinator speaks TLS only: use https:// in a browser, or `potluck join`.\n");
  }
  EXPECT_EQ(coordinator.door().counts().plain_http, 2u);
}

TEST(FrontDoorTest, GarbageIsClosedAtOnce) {
  EchoCoordinator coordinator;
  for (const std::string& garbage :
       {std::string("\0\0\0\0", 4), std::string("SSH-2.0-x\r\n"), std::string(10000, '\xff')}) {
    Socket socket(coordinator.door().port());
    socket.Send(garbage);
    EXPECT_EQ(socket.ReceiveAll(), "");
  }
  EXPECT_EQ(coordinator.door().counts().garbage, 3u);
}

TEST(FrontDoorTest, SilenceIsClosedAtTheDeadline) {
  EchoCoordinator coordinator({.hello_deadline = absl::Milliseconds(50)});
  for (const std::string& beginning : {std::string(), std::string("GE"), HelloBytes().substr(0, 100)}) {
    Socket socket(coordinator.door().port());
    if (!beginning.empty()) socket.Send(beginning);
    EXPECT_EQ(socket.ReceiveAll(), "");
  }
  EXPECT_EQ(coordinator.door().counts().timed_out, 3u);
}

TEST(FrontDoorTest, AHelloThatIsBrokenOffIsClosedAtOnce) {
  EchoCoordinator coordinator({.hello_deadline = absl::InfiniteDuration()});
  Socket socket(coordinator.door().port());
  socket.Send(HelloBytes().substr(0, 100));
  shutdown(socket.fd(), SHUT_WR);
  EXPECT_EQ(socket.ReceiveAll(), "");
  EXPECT_EQ(coordinator.door().counts().garbage, 1u);
}

TEST(FrontDoorTest, AHelloThatComesByteByByteIsUnderstood) {
  EchoCoordinator coordinator;
  Socket socket(coordinator.door().port());
  for (char c : HelloBytes()) socket.Send(std::string(1, c));
  char answer = 0;
  EXPECT_EQ(recv(socket.fd(), &answer, 1, 0), 1);
  EXPECT_EQ(answer, 22) << "a handshake record of the web server";
  EXPECT_EQ(coordinator.door().counts().to_web, 1u);
}

TEST(FrontDoorTest, TwoHundredSilentConnectionsDoNotHinderACall) {
  EchoCoordinator coordinator;
  std::vector<Socket> silent;
  for (int i = 0; i < 200; ++i) {
    silent.emplace_back(coordinator.door().port());
    ASSERT_TRUE(silent.back().connected());
    if (i % 2 == 0) silent.back().Send("\x16");
  }
  EXPECT_EQ(CallOnce(coordinator).error_message(), "");
  const FrontDoorCounts counts = coordinator.door().counts();
  EXPECT_EQ(counts.accepted, 201u);
  EXPECT_EQ(counts.to_grpc, 1u);
  EXPECT_EQ(counts.crowded_out, 0u);
}

TEST(FrontDoorTest, TheOldestUndecidedMakesRoom) {
  EchoCoordinator coordinator({.max_undecided = 3});
  std::vector<Socket> silent;
  for (int i = 0; i < 5; ++i) silent.emplace_back(coordinator.door().port());
  EXPECT_EQ(silent[0].ReceiveAll(), "");
  EXPECT_EQ(silent[1].ReceiveAll(), "");
  EXPECT_EQ(coordinator.door().counts().crowded_out, 2u);
  for (int i = 2; i < 5; ++i) {
    silent[i].Send("GET ");
    EXPECT_TRUE(absl::StartsWith(silent[i].ReceiveAll(), "HTTP/1.1 400")) << i;
  }
}

TEST(FrontDoorTest, RunningOutOfDescriptorsIsSurvived) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the undefined-behaviour sanitizer needs descriptors of its own to look at memory";
#endif
  Notification paused;
  EchoCoordinator coordinator({.log = [&](const std::string& message) {
    if (absl::StartsWith(message, "cannot accept") && !paused.HasBeenNotified()) paused.Notify();
  }});
  Socket late(coordinator.door().port(), false);
  const int used = dup(late.fd());  // The lowest free descriptor.
  close(used);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(used);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  late.Connect(coordinator.door().port());
  const bool seen = paused.WaitForNotificationWithTimeout(absl::Seconds(20));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(seen);
  late.Send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(absl::StartsWith(late.ReceiveAll(), "HTTP/1.1 400"));
}

TEST(FrontDoorTest, StopClosesTheUndecidedAndThePort) {
  EchoCoordinator coordinator({.max_undecided = 1});
  const int port = coordinator.door().port();
  Socket first(port), second(port);
  EXPECT_EQ(first.ReceiveAll(), "") << "crowded out: the second is admitted";
  coordinator.door().Stop();
  coordinator.door().Stop();
  EXPECT_EQ(second.ReceiveAll(), "");
  EXPECT_FALSE(Socket(port).connected());
}

TEST(WebTest, AnythingElseIsNotFound) {
  EchoCoordinator coordinator;
  TlsClient client(coordinator.door().port(), "\x08http/1.1");
  const std::string answer = client.Ask("GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 404 Not Found\r\n")) << answer;
}

TEST(WebTest, AConnectionServesSeveralRequestsAndHeadHasNoBody) {
  EchoCoordinator coordinator;
  TlsClient client(coordinator.door().port(), "\x08http/1.1");
  const std::string answer = client.Ask(absl::StrCat(
      "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", kGetPage));
  const size_t second = answer.find("HTTP/1.1 404"), third = answer.find("HTTP/1.1 200", 1);
  EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 200")) << answer;
  EXPECT_TRUE(absl::StrContains(answer.substr(0, second), absl::StrCat("Content-Length: ", sizeof kPage - 1)))
      << answer;
  EXPECT_TRUE(absl::EndsWith(answer.substr(0, second), "\r\n\r\n")) << answer;
  EXPECT_LT(second, third) << answer;
  EXPECT_TRUE(absl::EndsWith(answer, kPage)) << answer;
}

TEST(WebTest, BadRequestsAreAnswered) {
  EchoCoordinator coordinator;
  auto ask = [&](const std::string& request) {
    return TlsClient(coordinator.door().port(), "\x08http/1.1").Ask(request).substr(0, 12);
  };
  EXPECT_EQ(ask("nonsense\r\n\r\n"), "HTTP/1.1 400");
  EXPECT_EQ(ask(absl::StrCat("GET / HTTP/1.1\r\nX: ", std::string(20000, 'x'), "\r\n\r\n")), "HTTP/1.1 431");
  EXPECT_EQ(ask("POST / HTTP/1.1\r\nContent-Length: 70000\r\n\r\n"), "HTTP/1.1 413");
}

TEST(WebTest, AProtocolThatNobodySpeaksIsRefused) {
  EchoCoordinator coordinator;
  TlsClient client(coordinator.door().port(), "\x06spdy/1");
  EXPECT_FALSE(client.connected());
  EXPECT_EQ(client.reason(), SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
}

TEST(ListenerTest, APortInUseIsSaid) {
  EchoCoordinator coordinator;
  const std::string address = absl::StrCat("127.0.0.1:", coordinator.door().port());
  EXPECT_EQ(
      FrontDoor::Create({.address = address}).status(),
      absl::AlreadyExistsError(absl::StrCat("cannot listen on '", address, "': port ", coordinator.door().port(),
                                            " is in use by another program; stop that one or choose another port")));
}

TEST(ListenerTest, AMalformedAddressIsSaid) {
  auto complaint = [](const std::string& address) { return std::string(Listen(address).status().message()); };
  EXPECT_EQ(
      complaint("127.0.0.1"),
      "cannot listen on '127.0.0.1': it has no port; write host:port, or :port for every address of this machine");
  EXPECT_EQ(complaint("127.0.0.1:65536"),
            "cannot listen on '127.0.0.1:65536': a port is a number from 0 to 65535, 0 to let the system choose");
  EXPECT_EQ(complaint("::1:0"), "cannot listen on '::1:0': an IPv6 address stands in brackets, as in [::1]:4242");
  EXPECT_EQ(complaint("[::1:0"), "cannot listen on '[::1:0': the bracket of the IPv6 address is not closed");
  EXPECT_EQ(complaint("192.0.2.1:0"), "cannot listen on '192.0.2.1:0': this machine has no such address");
}

TEST(ListenerTest, AHostNameIsListenedOnAtEachOfItsAddressesWithOnePort) {
  if (gethostbyname("localhost") == nullptr) GTEST_SKIP() << "this machine does not know the name localhost";
  absl::StatusOr<Listener> listener = Listen("localhost:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_GT(listener->port, 0);
  EXPECT_EQ(listener->sockets.size(), listener->addresses.size());
  for (const std::string& address : listener->addresses) {
    EXPECT_TRUE(absl::EndsWith(address, absl::StrCat(":", listener->port))) << address;
  }
  for (int fd : listener->sockets) close(fd);
}

}  // namespace
}  // namespace potluck
