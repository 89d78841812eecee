// The gRPC face towards people's programs: jobs, blobs, workers, tokens. Checks roles, translates, and hands events to
// the driver. Asynchronous (callback API). Thread-safe; borrows driver, store, tokens and blobs.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "base/mutex.h"
#include "coordinator/service/blob_keeper.h"
#include "coordinator/service/driver.h"
#include "coordinator/store/store.h"
#include "coordinator/tokens.h"
#include "proto/jobs.grpc.pb.h"

namespace potluck {

class WatchReactor;

class JobService final : public v1::Jobs::CallbackService {
 public:
  // Makes a join string of a token's secret.
  using JoinStringMaker = std::function<std::string(const std::string& secret)>;

  JobService(Driver& driver, Store& store, Tokens& tokens, BlobKeeper& blobs, JoinStringMaker join_string);
  // Ends all watches, so that the server can shut down.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  using Unary = grpc::ServerUnaryReactor;
  using Context = grpc::CallbackServerContext;
  Unary* Submit(Context* context, const v1::SubmitRequest* request, v1::SubmitReply* reply) override;
  Unary* List(Context* context, const v1::ListRequest* request, v1::ListReply* reply) override;
  grpc::ServerWriteReactor<v1::JobStatus>* Watch(Context* context, const v1::WatchRequest* request) override;
  grpc::ServerWriteReactor<v1::SlicesReply>* Slices(Context* context, const v1::JobRef* request) override;
  Unary* Change(Context* context, const v1::ChangeRequest* request, v1::Empty* reply) override;
  Unary* Cancel(Context* context, const v1::JobRef* request, v1::Empty* reply) override;
  Unary* Delete(Context* context, const v1::JobRef* request, v1::Empty* reply) override;
  Unary* FindMissing(Context* context, const v1::FindMissingRequest* request, v1::FindMissingReply* reply) override;
  grpc::ServerReadReactor<v1::PutBlobRequest>* PutBlob(Context* context, v1::PutBlobReply* reply) override;
  grpc::ServerWriteReactor<v1::BlobPiece>* GetBlob(Context* context, const v1::GetJobBlobRequest* request) override;
  Unary* ListWorkers(Context* context, const v1::Empty* request, v1::ListWorkersReply* reply) override;
  Unary* DrainWorker(Context* context, const v1::DrainWorkerRequest* request, v1::Empty* reply) override;
  Unary* PardonWorker(Context* context, const v1::PardonWorkerRequest* request, v1::Empty* reply) override;
  Unary* Sessions(Context* context, const v1::SessionsRequest* request, v1::SessionsReply* reply) override;
  Unary* CreateToken(Context* context, const v1::CreateTokenRequest* request, v1::CreateTokenReply* reply) override;
  Unary* ListTokens(Context* context, const v1::Empty* request, v1::ListTokensReply* reply) override;
  Unary* RevokeToken(Context* context, const v1::RevokeTokenRequest* request, v1::Empty* reply) override;
  Unary* About(Context* context, const v1::Empty* request, v1::AboutReply* reply) override;

 private:
  friend class WatchReactor;
  // Finishes the reactor with PermissionDenied or the like, or returns the caller's token.
  bool Admit(Context* context, Role role, Unary* reactor, Tokens::Authenticated* token = nullptr);
  void SubmitWithBlobs(Unary* reactor, JobSubmitted job, const v1::SubmitRequest& request, v1::SubmitReply* reply);
  // Runs a request of the core's and finishes the reactor with its outcome.
  void Request(Unary* reactor, std::function<Outbox(Core&, Instant, CallId)> event,
               std::function<void(JobId)> answer = nullptr);
  absl::Status ReadSessions(const v1::SessionsRequest& request, v1::SessionsReply& reply);
  // By name (the valid ones, or else one that was revoked) or by number.
  std::vector<TokenId> TokensNamed(const std::string& name_or_id) const;
  void AddWatch(WatchReactor* watch, JobId job) ABSL_LOCKS_EXCLUDED(mutex_);
  void RemoveWatch(WatchReactor* watch, JobId job) ABSL_LOCKS_EXCLUDED(mutex_);
  void WakeWatches(JobId job) ABSL_LOCKS_EXCLUDED(mutex_);

  Driver& driver_;
  Store& store_;
  Tokens& tokens_;
  BlobKeeper& blobs_;
  const JoinStringMaker join_string_;
  Mutex mutex_;
  std::multimap<JobId, WatchReactor*> watches_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace potluck
