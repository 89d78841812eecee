// For tests: a front door on the loopback with the web server and a gRPC service behind it that echoes every message,
// and clients that speak to it by hand.
//
// The echo needs the token kEchoToken; the sentence of a call without it is BearerToken's.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "coordinator/front_door.h"
#include "coordinator/identity.h"
#include "coordinator/web.h"
#include "gtest/gtest.h"
#include "proto/transport_settings.h"

namespace potluck {

inline constexpr char kEchoToken[] = "echo-token-of-the-tests-0";

// A blocking client socket; whatever takes longer than 20 s fails.
class Socket {
 public:
  // `receive_buffer`: bytes that wait to be read at most, roughly; 0: as the system likes.
  explicit Socket(int port, bool connect_now = true, int receive_buffer = 0)
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval limit{20, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (receive_buffer > 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect_now) Connect(port);
  }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }

  void Connect(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<in_port_t>(port));
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }

  void Send(const std::string& bytes) {
    EXPECT_EQ(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  // All until the other side closes; "(timeout)" at the end if it does not.
  std::string ReceiveAll() {
    std::string all;
    char buffer[4096];
    ssize_t got = 0;
    while ((got = recv(fd_, buffer, sizeof buffer, 0)) > 0) all.append(buffer, static_cast<size_t>(got));
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? all + "(timeout)" : all;
  }

  int fd() const { return fd_; }
  bool connected() const { return connected_; }

 private:
  int fd_;
  bool connected_ = false;
};

// A TLS client of OpenSSL. `alpn` in wire format, empty for none.
class TlsClient {
 public:
  TlsClient(int port, const std::string& alpn, int max_version = TLS1_3_VERSION, int receive_buffer = 0)
      : socket_(port, true, receive_buffer), context_(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free) {
    SSL_CTX_set_max_proto_version(context_.get(), max_version);
    ssl_ = {SSL_new(context_.get()), &SSL_free};
    if (!alpn.empty()) {
      SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(alpn.data()),
                          static_cast<unsigned>(alpn.size()));
    }
    SSL_set_fd(ssl_.get(), socket_.fd());
    ERR_clear_error();
    connected_ = SSL_connect(ssl_.get()) == 1;
    if (!connected_) reason_ = ERR_GET_REASON(ERR_peek_error());
  }

  // Sends the request, returns the answer up to the end of the connection.
  std::string Ask(const std::string& request) {
    if (!connected_) return "not connected";
    Send(request);
    std::string answer;
    while (Receive(answer)) {
    }
    return answer;
  }
  void Send(const std::string& request) { SSL_write(ssl_.get(), request.data(), static_cast<int>(request.size())); }
  // Adds what comes next; false at the end.
  bool Receive(std::string& answer) {
    char buffer[4096];
    const int got = SSL_read(ssl_.get(), buffer, sizeof buffer);
    if (got > 0) answer.append(buffer, static_cast<size_t>(got));
    return got > 0;
  }

  int fd() const { return socket_.fd(); }
  bool connected() const { return connected_; }
  int reason() const { return reason_; }
  std::string version() const { return SSL_get_version(ssl_.get()); }
  std::string protocol() const {
    const unsigned char* name = nullptr;
    unsigned length = 0;
    SSL_get0_alpn_selected(ssl_.get(), &name, &length);
    return std::string(reinterpret_cast<const char*>(name), length);
  }

 private:
  Socket socket_;
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_{nullptr, &SSL_free};
  bool connected_ = false;
  int reason_ = 0;
};

// Sends the first message back.
class EchoReactor : public grpc::ServerGenericBidiReactor {
 public:
  explicit EchoReactor(const grpc::GenericCallbackServerContext& context) {
    const absl::StatusOr<absl::string_view> token = BearerToken(context);
    if (!token.ok()) {
      Finish(grpc::Status(grpc::StatusCode::UNAUTHENTICATED, std::string(token.status().message())));
    } else if (*token != kEchoToken) {
      Finish(grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "wrong token"));
    } else {
      StartRead(&message_);
    }
  }
  void OnReadDone(bool ok) override {
    if (ok) {
      StartWrite(&message_);
    } else {
      Finish(grpc::Status::OK);
    }
  }
  void OnWriteDone(bool /*ok*/) override { Finish(grpc::Status::OK); }
  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer message_;
};

class EchoService : public grpc::CallbackGenericService {
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new EchoReactor(*context);
  }
};

class EchoCoordinator {
 public:
  explicit EchoCoordinator(FrontDoorOptions options = {}, absl::Time now = absl::Now(), WebServerOptions web = {})
      : identity_(Identity::Create(now).value()), web_(WebServer::Create(identity_, std::move(web)).value()) {
    if (options.address == FrontDoorOptions().address) options.address = "127.0.0.1:0";
    options.web = web_.get();
    door_ = FrontDoor::Create(std::move(options)).value();
    grpc::ServerBuilder builder;
    SetServerArguments(builder);
    builder.RegisterCallbackGenericService(&service_);
    door_->AddAcceptor(builder, MakeServerCredentials(identity_));
    server_ = builder.BuildAndStart();
    door_->Start();
  }
  ~EchoCoordinator() {
    door_->Stop();
    server_->Shutdown(std::chrono::system_clock::now());
  }

  const Identity& identity() const { return identity_; }
  FrontDoor& door() { return *door_; }
  std::string address() const { return door_->addresses().front(); }

 private:
  const Identity identity_;
  std::unique_ptr<WebServer> web_;
  EchoService service_;
  std::unique_ptr<FrontDoor> door_;
  std::unique_ptr<grpc::Server> server_;
};

// Calls the echo once; `reply` gets what came back.
inline grpc::Status CallEcho(const std::shared_ptr<grpc::Channel>& channel, grpc::ClientContext& context,
                             const std::string& message, std::string* reply = nullptr) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  const grpc::Slice slice(message);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  grpc::Status status;
  auto call = stub.PrepareUnaryCall(&context, "/potluck.Test/Echo", request, &queue);
  call->StartCall();
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (status.ok() && reply != nullptr) {
    std::vector<grpc::Slice> slices;
    if (response.Dump(&slices).ok()) {
      for (const grpc::Slice& part : slices) {
        reply->append(reinterpret_cast<const char*>(part.begin()), part.size());
      }
    }
  }
  return status;
}

}  // namespace potluck
