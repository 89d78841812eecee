// Networks that do not lead to a coordinator: what a worker and a command say of them.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/exit_code.h"
#include "coordinator/identity.h"
#include "proto/join_string.h"
#include "tests/bad_input/program.h"

namespace potluck {
namespace {

using Words = std::vector<std::string>;

struct WebServerOptions {
  std::string answer;     // Whole, to whatever is asked.
  bool tls = false;       // With a key of its own.
  std::string alpn = "";  // What it speaks within TLS: "\x02h2", "\x08http/1.1"; empty: it does not say.
};

// A web server of somebody else's on a loopback port, one connection after the other.
class SomeWebServer {
 public:
  explicit SomeWebServer(WebServerOptions options) : options_(std::move(options)), stop_(eventfd(0, EFD_CLOEXEC)) {
    socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(socket_, 16), 0);
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    if (options_.tls) MakeContext();
    thread_ = std::thread([this] { Serve(); });
  }
  ~SomeWebServer() {
    const uint64_t one = 1;
    EXPECT_EQ(write(stop_, &one, sizeof one), static_cast<ssize_t>(sizeof one));
    thread_.join();
    SSL_CTX_free(context_);
    close(socket_);
    close(stop_);
  }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  void MakeContext() {
    const Identity identity = Identity::Create(absl::Now()).value();
    context_ = SSL_CTX_new(TLS_server_method());
    const std::unique_ptr<BIO, decltype(&BIO_free)> key(
        BIO_new_mem_buf(identity.key_pem.data(), static_cast<int>(identity.key_pem.size())), &BIO_free);
    const std::unique_ptr<BIO, decltype(&BIO_free)> certificate(
        BIO_new_mem_buf(identity.certificate_pem.data(), static_cast<int>(identity.certificate_pem.size())), &BIO_free);
    EVP_PKEY* const private_key = PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr);
    X509* const x509 = PEM_read_bio_X509(certificate.get(), nullptr, nullptr, nullptr);
    EXPECT_EQ(SSL_CTX_use_certificate(context_, x509), 1);
    EXPECT_EQ(SSL_CTX_use_PrivateKey(context_, private_key), 1);
    EVP_PKEY_free(private_key);
    X509_free(x509);
    if (!options_.alpn.empty()) SSL_CTX_set_alpn_select_cb(context_, &SomeWebServer::SelectAlpn, &options_);
  }

  static int SelectAlpn(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                        unsigned int offered_size, void* options) {
    const std::string& alpn = static_cast<const WebServerOptions*>(options)->alpn;
    unsigned char* chosen = nullptr;
    if (SSL_select_next_proto(&chosen, out_size, reinterpret_cast<const unsigned char*>(alpn.data()),
                              static_cast<unsigned int>(alpn.size()), offered,
                              offered_size) != OPENSSL_NPN_NEGOTIATED) {
      return SSL_TLSEXT_ERR_NOACK;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
  }

  void Serve() {
    // OpenSSL writes to connections that the other side has closed.
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
    while (true) {
      pollfd files[] = {{socket_, POLLIN, 0}, {stop_, POLLIN, 0}};
      if (poll(files, 2, -1) < 0 || files[1].revents != 0) return;
      const int connection = accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
      if (connection < 0) continue;
      const timeval patience = {5, 0};
      setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
      Answer(connection);
      close(connection);
    }
  }

  void Answer(int connection) {
    char request[4096];
    if (context_ == nullptr) {
      if (recv(connection, request, sizeof request, 0) > 0) {
        send(connection, options_.answer.data(), options_.answer.size(), MSG_NOSIGNAL);
      }
      return;
    }
    SSL* const ssl = SSL_new(context_);
    SSL_set_fd(ssl, connection);
    if (SSL_accept(ssl) == 1 && SSL_read(ssl, request, sizeof request) > 0) {
      SSL_write(ssl, options_.answer.data(), static_cast<int>(options_.answer.size()));
    }
    SSL_free(ssl);
  }

  WebServerOptions options_;
  const int stop_;
  int socket_ = -1;
  int port_ = 0;
  SSL_CTX* context_ = nullptr;
  std::thread thread_;
};

const char kPage[] = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 21\r\n\r\n<html>log in</html>\r\n";
const char kRedirect[] =
    "HTTP/1.1 302 Found\r\nLocation: http://login.example/?next=1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

// A join string that reads well, for a coordinator that is not there.
std::string JoinStringOf(const std::string& address) {
  return FormatJoinString({{address}, std::string(32, 'p'), std::string(32, 't')}).value();
}

// A command gives up with the sentence; a worker says it, and tries again until it is sent away.
void ExpectUnreachable(const std::string& address, const Words& parts) {
  SCOPED_TRACE(address);
  const std::string join = JoinStringOf(address);
  Words all = {absl::StrCat("the coordinator at ", address, " cannot be reached: ")};
  all.insert(all.end(), parts.begin(), parts.end());
  ExpectOneSentence(RunPotluck({"jobs", "list", "--coordinator", join}), kExitUnreachable, all);
  Program worker({"join", join, "--device", "cpu", "--threads", "1"});
  ASSERT_TRUE(worker.WaitForError("; trying again\n")) << worker.err();
  worker.Signal(SIGTERM);
  const Ended ended = worker.Wait();
  EXPECT_EQ(ended.code, kExitOk) << ended.err;
  for (const std::string& part : all) EXPECT_NE(ended.err.find(part), std::string::npos) << ended.err;
  EXPECT_EQ(ended.err.find("SSL"), std::string::npos) << "libraries' own words say nothing to people: " << ended.err;
}

TEST(NetworkTest, AWebServerWithoutTlsIsNamed) {
  const SomeWebServer server({.answer = kPage});
  ExpectUnreachable(server.address(), {"does not speak TLS", "check the address and the port"});
}

TEST(NetworkTest, ACaptivePortalIsNamed) {
  const SomeWebServer portal({.answer = kRedirect});
  ExpectUnreachable(portal.address(), {"this network's log-in page", "open any web page in a browser"});
}

TEST(NetworkTest, AWebServerWithTlsThatIsNoCoordinatorIsNamed) {
  for (const char* alpn : {"", "\x08http/1.1"}) {
    const SomeWebServer server({.answer = kPage, .tls = true, .alpn = alpn});
    ExpectUnreachable(server.address(), {"a web server answers there, but no coordinator", "log-in page"});
  }
}

TEST(NetworkTest, AServerThatSpeaksHttp2WithAnotherCertificateIsRefused) {
  const SomeWebServer server({.answer = kPage, .tls = true, .alpn = "\x02h2"});
  const std::string join = JoinStringOf(server.address());
  const Words parts = {server.address(), "another key", "ask for a new join string", "answers in its place"};
  ExpectOneSentence(RunPotluck({"jobs", "list", "--coordinator", join}), kExitRefused, parts);
  ExpectOneSentence(RunPotluck({"join", join, "--device", "cpu", "--threads", "1"}), kExitRefused, parts);
}

TEST(NetworkTest, ANameThatCannotBeFoundIsToldFromAPortWhereNothingListens) {
  // Names have parts of at most 63 characters: that this one is not there is known without asking any name server.
  ExpectUnreachable(absl::StrCat(std::string(64, 'x'), ".example:4242"),
                    {"its name cannot be found", "internet access", "Kaggle"});
  std::string closed;
  {
    const SomeWebServer gone({.answer = kPage});
    closed = gone.address();
  }
  ExpectUnreachable(closed, {"nothing listens there", "forwards the port"});
}

}  // namespace
}  // namespace potluck
