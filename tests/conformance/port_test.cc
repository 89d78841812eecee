// What strangers do to the port: plain HTTP, garbage, silence, old TLS. Each is turned away, and work goes on.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/conformance/table.h"

namespace potluck {
namespace {

// A plain connection to the loopback.
class Socket {
 public:
  explicit Socket(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    is_connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  Socket(Socket&& other) noexcept : fd_(other.fd_), is_connected_(other.is_connected_) { other.fd_ = -1; }
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }

  int fd() const { return fd_; }
  bool is_connected() const { return is_connected_; }
  void Send(const std::string& bytes) const {
    // A peer that has closed already is no surprise here.
    (void)!send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  // All that comes until the other side closes; fails the test if it does not within `limit`.
  std::string ReadToEnd(absl::Duration limit) const {
    std::string text;
    const absl::Time until = absl::Now() + limit;
    while (absl::Now() < until) {
      pollfd file = {fd_, POLLIN, 0};
      if (poll(&file, 1, static_cast<int>(absl::ToInt64Milliseconds(until - absl::Now())) + 1) <= 0) continue;
      char buffer[4096];
      const ssize_t size = read(fd_, buffer, sizeof buffer);
      if (size <= 0) return text;
      text.append(buffer, static_cast<size_t>(size));
    }
    ADD_FAILURE() << "still open after " << absl::FormatDuration(limit) << "; so far: " << text;
    return text;
  }

 private:
  int fd_;
  bool is_connected_;
};

class PortTest : public testing::Test {
 protected:
  PortTest() {
    CoordinatorOptions options;
    options.core.longest_hold = absl::Seconds(1);
    coordinator_ = Coordinator::Start(std::move(options)).value();
  }
  ~PortTest() override { ExpectStillWorks(); }

  void ExpectStillWorks() {
    potluck::ExpectStillWorks(coordinator_->worker_join_string(), coordinator_->admin_join_string());
  }
  int port() const { return coordinator_->port(); }

  // A TLS handshake with at most and at least these versions; the error's reason, or "" and the version in `version`.
  std::string Handshake(int least, int most, const std::string& alpn, std::string* version) {
    const Socket socket(port());
    std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free);
    SSL_CTX_set_min_proto_version(context.get(), least);
    SSL_CTX_set_max_proto_version(context.get(), most);
    std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), &SSL_free);
    SSL_set_fd(ssl.get(), socket.fd());
    SSL_set_alpn_protos(ssl.get(), reinterpret_cast<const unsigned char*>(alpn.data()),
                        static_cast<unsigned>(alpn.size()));
    ERR_clear_error();
    if (SSL_connect(ssl.get()) == 1) {
      *version = SSL_get_version(ssl.get());
      return "";
    }
    const char* reason = ERR_reason_error_string(ERR_get_error());
    return reason == nullptr ? "closed" : reason;
  }

  std::unique_ptr<Coordinator> coordinator_;
};

TEST_F(PortTest, PlainHttpIsToldHowToCome) {
  for (const char* request : {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /potluck.v1.Workers/Join HTTP/1.0\r\n\r\n"}) {
    const Socket socket(port());
    socket.Send(request);
    const std::string answer = socket.ReadToEnd(absl::Seconds(15));
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 400") << answer;
    EXPECT_NE(answer.find("https"), std::string::npos) << answer;
  }
}

TEST_F(PortTest, GarbageIsClosed) {
  const std::vector<std::string> garbage = {
      std::string(1, '\0'),
      std::string(70'000, '\xff'),
      "SSH-2.0-OpenSSH_9.2\r\n",
      std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),                    // HTTP/2 without TLS.
      std::string("\x16\x03\x01\xff\xff", 5) + std::string(70'000, 'x'),  // A TLS record that is too long.
      std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10),        // A ClientHello with nothing in it.
      std::string("\x15\x03\x01\x00\x02\x02\x28", 7),                     // A TLS alert.
  };
  for (const std::string& bytes : garbage) {
    const Socket socket(port());
    socket.Send(bytes);
    shutdown(socket.fd(), SHUT_WR);
    socket.ReadToEnd(absl::Seconds(15));
  }
}

TEST_F(PortTest, SilenceHoldsUpNobodyAndIsClosedAtTheDeadline) {
  std::vector<Socket> silent;
  for (int i = 0; i < 100; ++i) silent.emplace_back(port());
  const Socket slow(port());
  slow.Send("\x16\x03");  // Begins as TLS and stops there.
  ExpectStillWorks();
  for (const Socket& socket : silent) {
    ASSERT_TRUE(socket.is_connected());
    EXPECT_EQ(socket.ReadToEnd(absl::Seconds(30)), "");
  }
  slow.ReadToEnd(absl::Seconds(30));
}

TEST_F(PortTest, AFloodOfConnectionsThatSayNothingKeepsNobodyOut) {
  std::vector<Socket> flood;
  for (int i = 0; i < 700; ++i) flood.emplace_back(port());  // More than may be undecided.
  ExpectStillWorks();
}

TEST_F(PortTest, OldTlsIsToldTheVersion) {
  std::string version;
  for (const char* alpn : {"\x02h2", "\x08http/1.1", ""}) {
    EXPECT_EQ(Handshake(TLS1_2_VERSION, TLS1_2_VERSION, alpn, &version), "tlsv1 alert protocol version");
    EXPECT_EQ(Handshake(TLS1_2_VERSION, TLS1_3_VERSION, alpn, &version), "");
    EXPECT_EQ(version, "TLSv1.3");
  }
}

TEST_F(PortTest, TlsThatIsBrokenOffLeavesNothingBehind) {
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free);
  for (int i = 0; i < 50; ++i) {
    // The ClientHello is sent, and the connection dropped without a look at the answer.
    const Socket socket(port());
    std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), &SSL_free);
    BIO* sent = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), sent);
    SSL_set_alpn_protos(ssl.get(), reinterpret_cast<const unsigned char*>("\x02h2"), 3);
    SSL_connect(ssl.get());
    char* hello = nullptr;
    const long size = BIO_get_mem_data(sent, &hello);
    socket.Send(std::string(hello, static_cast<size_t>(size)));
  }
}

}  // namespace
}  // namespace potluck
