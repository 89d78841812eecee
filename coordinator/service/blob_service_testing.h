// For tests: an admin who puts blobs and submits jobs, and a worker who takes leases and gets blobs, both by raw stubs.
// What must not go wrong fails the test. Not thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/store/blob_store.h"
#include "proto/jobs.grpc.pb.h"
#include "proto/join_string.h"
#include "proto/nqueens.pb.h"
#include "proto/versions.h"
#include "proto/workers.grpc.pb.h"
#include "worker/transport.h"

namespace potluck {

inline std::string PieceOf(const std::string& bytes, uint64_t index) {
  return bytes.substr(index * kPieceBytes, kPieceBytes);
}

// Sets size and manifest.
template <typename Message>
void DescribeIn(Message& message, const std::string& bytes) {
  const Manifest manifest = DescribeBlob(bytes);
  message.set_size(manifest.size);
  for (const std::string& digest : manifest.pieces) message.mutable_manifest()->append(digest);
}

// One party's connection and token.
class Caller {
 public:
  explicit Caller(const std::string& join_string) : join_(ParseJoinString(join_string).value()) {
    channel_ = Connect(join_)->channel;
    jobs_ = v1::Jobs::NewStub(channel_);
    workers_ = v1::Workers::NewStub(channel_);
  }

  std::unique_ptr<grpc::ClientContext> Context() const {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(40));
    Authorize(*context, join_.token);
    return context;
  }
  v1::Jobs::Stub& jobs() const { return *jobs_; }
  v1::Workers::Stub& workers() const { return *workers_; }

 private:
  const JoinString join_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Jobs::Stub> jobs_;
  std::unique_ptr<v1::Workers::Stub> workers_;
};

class Admin : public Caller {
 public:
  using Caller::Caller;

  grpc::Status FindMissing(const std::string& bytes, std::vector<uint64_t>& missing) const {
    v1::FindMissingRequest request;
    DescribeIn(request, bytes);
    v1::FindMissingReply reply;
    const grpc::Status status = jobs().FindMissing(Context().get(), request, &reply);
    missing.assign(reply.indices().begin(), reply.indices().end());
    return status;
  }
  std::vector<uint64_t> Missing(const std::string& bytes) const {
    std::vector<uint64_t> missing;
    const grpc::Status status = FindMissing(bytes, missing);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return missing;
  }

  // A put, message by message.
  struct Stream {
    std::unique_ptr<grpc::ClientContext> context;
    v1::PutBlobReply reply;
    std::unique_ptr<grpc::ClientWriter<v1::PutBlobRequest>> writer;

    void Piece(uint64_t index, const std::string& data) {
      v1::PutBlobRequest request;
      request.set_index(index);
      request.set_data(data);
      writer->Write(request);  // False if the call is over: Finish says why.
    }
    grpc::Status Finish() {
      writer->WritesDone();
      return writer->Finish();
    }
  };
  std::unique_ptr<Stream> StartPut(const std::string& bytes) const {
    auto stream = std::make_unique<Stream>();
    stream->context = Context();
    stream->writer = jobs().PutBlob(stream->context.get(), &stream->reply);
    v1::PutBlobRequest request;
    DescribeIn(request, bytes);
    stream->writer->Write(request);
    return stream;
  }
  // These pieces; returns the digest.
  std::string Put(const std::string& bytes, const std::vector<uint64_t>& pieces) const {
    const std::unique_ptr<Stream> stream = StartPut(bytes);
    for (const uint64_t index : pieces) stream->Piece(index, PieceOf(bytes, index));
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return stream->reply.digest();
  }
  std::string Put(const std::string& bytes) const { return Put(bytes, Missing(bytes)); }

  // A job too long for any test to finish.
  grpc::Status Submit(const std::vector<std::string>& blobs, uint64_t& job, int32_t priority = 0) const {
    static int count = 0;
    v1::NQueensSpec spec;
    spec.set_n(20);
    spec.set_algorithm(1);
    v1::SubmitRequest request;
    request.set_request_id(absl::StrCat("request-", ++count));
    request.set_workload("nqueens");
    request.set_spec(spec.SerializeAsString());
    request.set_priority(priority);
    for (const std::string& blob : blobs) request.add_blobs(blob);
    v1::SubmitReply reply;
    const grpc::Status status = jobs().Submit(Context().get(), request, &reply);
    job = reply.job();
    return status;
  }
  uint64_t MustSubmit(const std::vector<std::string>& blobs, int32_t priority = 0) const {
    uint64_t job = 0;
    const grpc::Status status = Submit(blobs, job, priority);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return job;
  }
  void Cancel(uint64_t job) const {
    v1::JobRef request;
    request.set_job(job);
    v1::Empty reply;
    EXPECT_TRUE(jobs().Cancel(Context().get(), request, &reply).ok());
  }
  void CancelAndDelete(uint64_t job) const {
    Cancel(job);
    v1::JobRef request;
    request.set_job(job);
    v1::Empty reply;
    const grpc::Status status = jobs().Delete(Context().get(), request, &reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
  std::string NewWorkerJoinString() const {
    v1::CreateTokenRequest request;
    request.set_name("another");
    request.set_role(v1::TOKEN_ROLE_WORKER);
    v1::CreateTokenReply reply;
    EXPECT_TRUE(jobs().CreateToken(Context().get(), request, &reply).ok());
    return reply.join_string();
  }
};

class Worker : public Caller {
 public:
  Worker(const std::string& join_string, const std::string& name) : Caller(join_string) {
    v1::JoinRequest request;
    request.set_protocol_min(kProtocolMin);
    request.set_protocol_max(kProtocolMax);
    request.set_installation(absl::StrCat("installation of ", name));
    request.set_name(name);
    request.add_devices()->set_kind("cpu");
    v1::JoinReply reply;
    EXPECT_TRUE(workers().Join(Context().get(), request, &reply).ok());
    EXPECT_TRUE(reply.has_joined()) << reply.refused().message();
    session_ = reply.joined().session();
  }

  uint64_t session() const { return session_; }

  // Asks for one lease; returns the jobs' digests that came along.
  std::vector<std::string> TakeLease() {
    v1::ExchangeRequest request;
    request.set_session(session_);
    request.set_seq(1);
    request.add_free_capacity(1);
    request.set_no_wait(true);
    v1::ExchangeReply reply;
    EXPECT_TRUE(workers().Exchange(Context().get(), request, &reply).ok());
    EXPECT_EQ(reply.granted_size(), 1);
    if (reply.rounds_size() != 1) return {};
    return {reply.rounds(0).blobs().begin(), reply.rounds(0).blobs().end()};
  }

  // A get, message by message.
  struct Stream {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientReader<v1::BlobPiece>> reader;
  };
  std::unique_ptr<Stream> StartGet(const std::string& digest, uint64_t first_piece = 0, uint64_t session = 0) const {
    v1::GetBlobRequest request;
    request.set_session(session == 0 ? session_ : session);
    request.set_digest(digest);
    request.set_first_piece(first_piece);
    auto stream = std::make_unique<Stream>();
    stream->context = Context();
    stream->reader = workers().GetBlob(stream->context.get(), request);
    return stream;
  }
  // What came from `first_piece` on; checks order and manifest.
  grpc::Status Get(const std::string& digest, std::string& bytes, uint64_t first_piece = 0,
                   uint64_t session = 0) const {
    const std::unique_ptr<Stream> stream = StartGet(digest, first_piece, session);
    const auto& reader = stream->reader;
    bytes.clear();
    v1::BlobPiece piece;
    Manifest manifest;
    if (reader->Read(&piece)) {
      manifest.size = piece.size();
      for (size_t at = 0; at < piece.manifest().size(); at += 32) {
        manifest.pieces.push_back(piece.manifest().substr(at, 32));
      }
      EXPECT_EQ(BlobDigest(manifest), digest);
      while (reader->Read(&piece)) {
        EXPECT_EQ(piece.index(), first_piece++);
        bytes += piece.data();
      }
    }
    return reader->Finish();
  }

 private:
  uint64_t session_ = 0;
};

}  // namespace potluck
