// For tests: a front door on the loopback with the web server and a gRPC service behind it that echoes every message.
//
// The echo needs the token kEchoToken; the sentence of a call without it is BearerToken's.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

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
#include "proto/transport_settings.h"

namespace potluck {

inline constexpr char kEchoToken[] = "echo-token-of-the-tests-0";

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
  explicit EchoCoordinator(FrontDoorOptions options = {}, absl::Time now = absl::Now())
      : identity_(Identity::Create(now).value()), web_(WebServer::Create(identity_, {}).value()) {
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
