// For tests: what may answer in place of a coordinator, on the loopback.
//
// Each serves from a thread of its own, one connection after the other, from its making to its destruction.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/front_door.h"
#include "coordinator/identity.h"
#include "coordinator/web.h"
#include "proto/join_string.h"
#include "proto/transport_settings.h"
#include "proto/versions.h"
#include "proto/workers.grpc.pb.h"

namespace potluck {

// Who writes to a peer that has hung up is to be told so, not killed.
inline const auto kBefore = signal(SIGPIPE, SIG_IGN);

inline constexpr char kFakeToken[] = "token-of-the-doctors-tests";

// A listening port of 127.0.0.1. Not accepted from, it takes connections and stays silent.
class FakePort {
 public:
  // `backlog` < 0: it refuses connections.
  explicit FakePort(int backlog = 16) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_TRUE(backlog < 0 || listen(socket_, backlog) == 0);
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  ~FakePort() {
    close(socket_);
    for (const int fd : fillers_) close(fd);
  }
  FakePort(const FakePort&) = delete;
  FakePort& operator=(const FakePort&) = delete;

  // Fills the queue of connections, so that the packets of further ones are dropped.
  void Fill() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port_));
    for (int i = 0; i < 8; ++i) {
      fillers_.push_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      connect(fillers_.back(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    }
  }

  int fd() const { return socket_; }
  int port() const { return port_; }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  const int socket_;
  int port_ = 0;
  std::vector<int> fillers_;
};

// Hands each connection to `serve`, which may block as long as its peer is there; the connection is closed afterwards.
class FakeServer {
 public:
  explicit FakeServer(std::function<void(int fd)> serve) : serve_(std::move(serve)) {
    EXPECT_EQ(pipe2(stop_, O_CLOEXEC), 0);
    thread_ = std::thread([this] { Accept(); });
  }
  ~FakeServer() {
    close(stop_[1]);
    thread_.join();
    close(stop_[0]);
  }
  std::string address() const { return port_.address(); }
  int port() const { return port_.port(); }

  // A server that sends these bytes at whatever comes first.
  static std::function<void(int)> Saying(const std::string& bytes) {
    return [bytes](int fd) {
      char request[4096];
      if (recv(fd, request, sizeof request, 0) > 0) send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    };
  }

 private:
  void Accept() {
    while (true) {
      pollfd watched[] = {{port_.fd(), POLLIN, 0}, {stop_[0], POLLIN, 0}};
      if (poll(watched, 2, -1) < 0) continue;
      if (watched[1].revents != 0) return;
      const int fd = accept4(port_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      timeval patience{20, 0};
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
      serve_(fd);
      close(fd);
    }
  }

  const std::function<void(int)> serve_;
  FakePort port_;
  int stop_[2] = {-1, -1};
  std::thread thread_;
};

// A TLS server with a certificate of its own, for CN=`name`, that chooses `alpn` (empty: none) if that is offered and
// says `answer` to a request.
class FakeTlsServer {
 public:
  FakeTlsServer(const std::string& name, std::string alpn, std::string answer)
      : alpn_(std::move(alpn)),
        answer_(std::move(answer)),
        context_(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free),
        server_(nullptr) {
    EVP_PKEY* const key = EVP_EC_gen("P-256");
    X509* const certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME* const subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.c_str()), -1,
                               -1, 0);
    X509_set_issuer_name(certificate, subject);
    EXPECT_GT(X509_sign(certificate, key, EVP_sha256()), 0);
    EXPECT_EQ(SSL_CTX_use_certificate(context_.get(), certificate), 1);
    EXPECT_EQ(SSL_CTX_use_PrivateKey(context_.get(), key), 1);
    BIO* const bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    char* pem = nullptr;
    const long size = BIO_get_mem_data(bio, &pem);
    pin_ = Pin(absl::string_view(pem, static_cast<size_t>(size))).value();
    BIO_free(bio);
    X509_free(certificate);
    EVP_PKEY_free(key);
    SSL_CTX_set_alpn_select_cb(context_.get(), &Choose, this);
    server_ = std::make_unique<FakeServer>([this](int fd) { Serve(fd); });
  }

  std::string address() const { return server_->address(); }
  const std::string& pin() const { return pin_; }

 private:
  static int Choose(SSL*, const unsigned char** out, unsigned char* length, const unsigned char* offered,
                    unsigned int offered_length, void* self) {
    const std::string& alpn = static_cast<FakeTlsServer*>(self)->alpn_;
    for (unsigned int at = 0; at < offered_length; at += 1u + offered[at]) {
      if (std::string(reinterpret_cast<const char*>(offered + at + 1), offered[at]) != alpn) continue;
      *out = offered + at + 1;
      *length = offered[at];
      return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
  }

  void Serve(int fd) {
    const std::unique_ptr<SSL, decltype(&SSL_free)> tls(SSL_new(context_.get()), &SSL_free);
    SSL_set_fd(tls.get(), fd);
    if (SSL_accept(tls.get()) != 1) return;
    char request[4096];
    if (SSL_read(tls.get(), request, sizeof request) <= 0) return;
    SSL_write(tls.get(), answer_.data(), static_cast<int>(answer_.size()));
    SSL_shutdown(tls.get());
  }

  const std::string alpn_, answer_;
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  std::string pin_;
  std::unique_ptr<FakeServer> server_;
};

// The service Workers as some other version of the coordinator has it, behind the real front door. Check is answered
// only if `protocol_max` > 0.
class FakeWorkers : public v1::Workers::Service {
 public:
  uint32_t protocol_min = 0, protocol_max = 0;
  std::string version = "0.0.9";
  v1::Refusal refusal;
  int64_t unix_ms = 0;  // 0: the true time.

  grpc::Status Join(grpc::ServerContext*, const v1::JoinRequest*, v1::JoinReply* reply) override {
    *reply->mutable_refused() = refusal;
    return grpc::Status::OK;
  }
  grpc::Status Check(grpc::ServerContext*, const v1::CheckRequest* request, v1::CheckReply* reply) override {
    if (protocol_max == 0) return {grpc::StatusCode::UNIMPLEMENTED, ""};
    reply->set_coordinator_version(version);
    reply->set_protocol_min(protocol_min);
    reply->set_protocol_max(protocol_max);
    reply->set_unix_ms(unix_ms == 0 ? absl::ToUnixMillis(absl::Now()) : unix_ms);
    reply->mutable_padding()->resize(request->reply_bytes());
    return grpc::Status::OK;
  }
};

class FakeCoordinator {
 public:
  // `service` may be any; it must outlive this.
  explicit FakeCoordinator(grpc::Service& service)
      : identity_(Identity::Create(absl::Now()).value()), web_(WebServer::Create(identity_, {}).value()) {
    FrontDoorOptions options;
    options.address = "127.0.0.1:0";
    options.web = web_.get();
    door_ = FrontDoor::Create(std::move(options)).value();
    grpc::ServerBuilder builder;
    SetServerArguments(builder);
    builder.RegisterService(&service);
    door_->AddAcceptor(builder, MakeServerCredentials(identity_));
    server_ = builder.BuildAndStart();
    door_->Start();
  }
  ~FakeCoordinator() {
    door_->Stop();
    server_->Shutdown(std::chrono::system_clock::now());
  }

  JoinString join() const { return {{door_->addresses().front()}, identity_.pin, kFakeToken}; }

 private:
  const Identity identity_;
  std::unique_ptr<WebServer> web_;
  std::unique_ptr<FrontDoor> door_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace potluck
