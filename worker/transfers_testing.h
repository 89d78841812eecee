// What the tests of transfers share: a coordinator that only knows blobs and results, behind the real front door, and
// does what a test wants to go wrong.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/blob.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "coordinator/front_testing.h"
#include "proto/workers.grpc.pb.h"
#include "worker/link.h"

namespace potluck {

// Thread-safe.
class FakeWorkers : public v1::Workers::Service {
 public:
  // Returns the digest.
  std::string Serve(const std::string& bytes) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    const std::string digest = BlobDigest(DescribeBlob(bytes));
    blobs_[digest] = bytes;
    return digest;
  }
  // Called before each message of a GetBlob (pieces counted from 0, -1: the first message) and of a PutResult; what it
  // returns ends the call unless it is OK. May change a piece.
  using Hook = std::function<grpc::Status(int64_t piece, std::string* data)>;
  void SetHook(Hook hook) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    hook_ = std::move(hook);
  }
  // What can be shared goes through files in that folder: "get a shared", "put 1.2 300000 bytes shared".
  void ShareIn(const std::string& folder) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    shared_ = folder;
  }
  // "get a 0", "put 1.2 300000 bytes": a line a call, once it has begun; blobs by their first byte.
  std::vector<std::string> calls() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    return calls_;
  }
  std::string result() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    return result_;
  }

  grpc::Status GetBlob(grpc::ServerContext*, const v1::GetBlobRequest* request,
                       grpc::ServerWriter<v1::BlobPiece>* writer) override {
    const std::string* bytes = nullptr;
    std::string shared;
    {
      MutexLock lock(&mutex_);
      const auto it = blobs_.find(request->digest());
      if (it == blobs_.end()) return {grpc::StatusCode::NOT_FOUND, "there is no such blob"};
      bytes = &it->second;  // Blobs stay.
      if (request->may_share()) shared = shared_;
      calls_.push_back(absl::StrCat("get ", bytes->substr(0, 1), " ",
                                    shared.empty() ? absl::StrCat(request->first_piece()) : "shared"));
    }
    const Manifest manifest = DescribeBlob(*bytes);
    v1::BlobPiece message;
    message.set_size(manifest.size);
    if (!shared.empty()) {
      message.set_file("bulk-1");
      std::ofstream(shared + "/bulk-1", std::ios::binary) << *bytes;
      writer->Write(message);
      return grpc::Status::OK;
    }
    for (const std::string& digest : manifest.pieces) message.mutable_manifest()->append(digest);
    std::string nothing;
    if (const grpc::Status status = Hooked(-1, &nothing); !status.ok()) return status;
    writer->Write(message);
    for (uint64_t i = request->first_piece(); i < manifest.pieces.size(); ++i) {
      message.Clear();
      message.set_index(i);
      message.set_data(bytes->data() + i * kPieceBytes, PieceSize(manifest, i));
      if (const grpc::Status status = Hooked(static_cast<int64_t>(i), message.mutable_data()); !status.ok()) {
        return status;
      }
      if (!writer->Write(message)) break;
    }
    return grpc::Status::OK;
  }

  grpc::Status PutResult(grpc::ServerContext*, grpc::ServerReader<v1::PutResultRequest>* reader,
                         v1::PutResultReply* reply) override {
    v1::PutResultRequest message;
    if (!reader->Read(&message)) return grpc::Status::CANCELLED;
    std::string result;
    result.reserve(message.size());
    Sha256Stream digest;
    {
      MutexLock lock(&mutex_);
      calls_.push_back(absl::StrCat("put ", message.lease().epoch(), ".", message.lease().counter(), " ",
                                    message.size(), " bytes", message.file().empty() ? "" : " shared"));
      if (!message.file().empty()) {
        std::ifstream file(shared_ + "/" + message.file(), std::ios::binary);
        result.assign(std::istreambuf_iterator<char>(file), {});
        digest.Add(result);
      }
    }
    std::string nothing;
    if (const grpc::Status status = Hooked(-1, &nothing); !status.ok()) return status;
    for (int64_t i = 0; reader->Read(&message); ++i) {
      if (const grpc::Status status = Hooked(i, message.mutable_data()); !status.ok()) return status;
      digest.Add(message.data());
      result += message.data();
    }
    reply->set_digest(digest.Digest());
    MutexLock lock(&mutex_);
    result_ = std::move(result);
    return grpc::Status::OK;
  }

 private:
  grpc::Status Hooked(int64_t piece, std::string* data) ABSL_LOCKS_EXCLUDED(mutex_) {
    Hook hook;
    {
      MutexLock lock(&mutex_);
      hook = hook_;
    }
    return hook ? hook(piece, data) : grpc::Status::OK;
  }

  Mutex mutex_;
  std::map<std::string, std::string> blobs_ ABSL_GUARDED_BY(mutex_);
  Hook hook_ ABSL_GUARDED_BY(mutex_);
  std::string shared_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mutex_);
  std::string result_ ABSL_GUARDED_BY(mutex_);  // The last one that was handed over.
};

// A service over TLS.
template <typename Service>
class FakeCoordinator {
 public:
  FakeCoordinator() : identity_(Identity::Create(absl::Now()).value()), web_(WebServer::Create(identity_, {}).value()) {
    FrontDoorOptions options;
    options.address = "127.0.0.1:0";
    options.web = web_.get();
    door_ = FrontDoor::Create(std::move(options)).value();
    grpc::ServerBuilder builder;
    SetServerArguments(builder);
    builder.RegisterService(&service_);
    door_->AddAcceptor(builder, MakeServerCredentials(identity_));
    server_ = builder.BuildAndStart();
    door_->Start();
  }
  ~FakeCoordinator() {
    door_->Stop();
    server_->Shutdown(std::chrono::system_clock::now());
  }

  Service& service() { return service_; }
  JoinString join() const { return {{door_->addresses().front()}, identity_.pin, "token"}; }
  std::shared_ptr<const Line> NewLine() const {
    auto line = std::make_shared<Line>();
    line->token = join().token;
    line->connection = *Connect(join());
    line->stub = v1::Workers::NewStub(line->connection.channel);
    return line;
  }

 private:
  const Identity identity_;
  std::unique_ptr<WebServer> web_;
  Service service_;
  std::unique_ptr<FrontDoor> door_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace potluck
