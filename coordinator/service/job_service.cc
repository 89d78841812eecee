#include "coordinator/service/job_service.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "coordinator/identity.h"
#include "coordinator/service/blob_streams.h"
#include "coordinator/service/convert.h"
#include "coordinator/service/slice_stream.h"
#include "coordinator/service/watch.h"
#include "coordinator/service/worker_service.h"
#include "proto/transport_settings.h"
#include "proto/versions.h"

namespace potluck {
namespace {

constexpr size_t kMaxSpecBytes = 1 << 20;
constexpr int kMaxBlobs = 1024;
constexpr size_t kSessionsAPage = 1000;  // Some 300 KB.
constexpr absl::Duration kShortestWatchInterval = absl::Milliseconds(50);

class Reactor final : public grpc::ServerUnaryReactor {
 public:
  void OnDone() override { delete this; }
};

// Each once, in the order given.
absl::StatusOr<std::vector<std::string>> BlobsOf(const v1::SubmitRequest& request) {
  if (request.blobs_size() > kMaxBlobs) {
    return absl::InvalidArgumentError(
        absl::StrCat("blobs has ", request.blobs_size(), " digests; allowed are at most ", kMaxBlobs));
  }
  std::vector<std::string> blobs;
  for (const std::string& digest : request.blobs()) {
    if (digest.size() != kSha256Bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("blobs has a digest of ", digest.size(), " bytes; allowed are ", kSha256Bytes));
    }
    if (std::find(blobs.begin(), blobs.end(), digest) == blobs.end()) blobs.push_back(digest);
  }
  return blobs;
}

uint64_t ResidentBytes() {
  uint64_t pages = 0, resident = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "re"); file != nullptr) {
    if (std::fscanf(file, "%lu %lu", &pages, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

JobService::JobService(Driver& driver, Store& store, Tokens& tokens, BlobKeeper& blobs, JoinStringMaker join_string)
    : driver_(driver), store_(store), tokens_(tokens), blobs_(blobs), join_string_(std::move(join_string)) {
  driver_.OnJobEnded([this](JobId job) { WakeWatches(job); });
}

bool JobService::Admit(Context* context, Role role, Unary* reactor, Tokens::Authenticated* token) {
  absl::StatusOr<Tokens::Authenticated> found = RequireRole(*context, tokens_, /*is_joining=*/true, role);
  if (!found.ok()) {
    reactor->Finish(ToGrpc(found.status()));
    return false;
  }
  if (token != nullptr) *token = *std::move(found);
  return true;
}

void JobService::Request(Unary* reactor, std::function<Outbox(Core&, Instant, CallId)> event,
                         std::function<void(JobId)> answer) {
  const CallId call =
      driver_.Await(Driver::RequestDone([reactor, answer = std::move(answer)](const absl::Status& status, JobId job) {
        if (status.ok() && answer) answer(job);
        reactor->Finish(ToGrpc(status));
      }));
  driver_.Do([&event, call](Core& core, Instant now) { return event(core, now, call); });
}

// ---- Jobs

grpc::ServerUnaryReactor* JobService::Submit(Context* context, const v1::SubmitRequest* request,
                                             v1::SubmitReply* reply) {
  auto* reactor = new Reactor;
  Tokens::Authenticated token;
  if (!Admit(context, Role::kAdmin, reactor, &token)) return reactor;
  const auto refuse = [reactor](const std::string& why) {
    reactor->Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, why));
    return reactor;
  };
  if (request->request_id().size() < 8 || request->request_id().size() > 128) {
    return refuse(absl::StrCat("request_id has ", request->request_id().size(), " characters; allowed are 8 to 128"));
  }
  if (!request->name().empty()) {
    if (absl::Status name = ValidateName(request->name()); !name.ok()) return refuse(std::string(name.message()));
  }
  if (request->spec().size() > kMaxSpecBytes) return refuse("the specification is longer than 1 MiB");
  const double weight = request->weight() == 0 ? 1 : request->weight();
  if (!(weight > 0 && weight <= 1000)) {
    return refuse(absl::StrCat("weight is ", weight, "; allowed is more than 0 and at most 1000"));
  }
  if (!(request->verify() >= 0 && request->verify() <= 1)) {
    return refuse(absl::StrCat("verify is ", request->verify(), "; allowed is 0 to 1"));
  }
  JobSubmitted job;
  job.request_id = request->request_id();
  job.workload = request->workload();
  job.name = request->name();
  job.spec = request->spec();
  job.submitted_by = token.name;
  job.priority = request->priority();
  job.weight = weight;
  job.verify = request->verify();
  SubmitWithBlobs(reactor, std::move(job), *request, reply);
  return reactor;
}

void JobService::SubmitWithBlobs(Unary* reactor, JobSubmitted job, const v1::SubmitRequest& request,
                                 v1::SubmitReply* reply) {
  const absl::StatusOr<std::vector<std::string>> blobs = BlobsOf(request);
  if (!blobs.ok()) return reactor->Finish(ToGrpc(blobs.status()));
  const absl::StatusOr<std::shared_ptr<BlobKeeper::Hold>> hold = blobs_.HoldForJob(*blobs);
  if (!hold.ok()) return reactor->Finish(ToGrpc(hold.status()));
  Request(
      reactor, [&](Core& core, Instant now, CallId call) { return core.Submit(now, call, std::move(job), *blobs); },
      [reply, hold = *hold](JobId id) {
        hold->Named();
        reply->set_job(static_cast<uint64_t>(id));
      });
}

grpc::ServerUnaryReactor* JobService::List(Context* context, const v1::ListRequest*, v1::ListReply* reply) {
  auto* reactor = new Reactor;
  if (!Admit(context, Role::kViewer, reactor)) return reactor;
  const std::vector<JobView> jobs = driver_.Read([](const Core& core, Instant) { return core.Jobs(); });
  for (const JobView& view : jobs) *reply->add_jobs() = ToWire(view);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<v1::JobStatus>* JobService::Watch(Context* context, const v1::WatchRequest* request) {
  absl::StatusOr<Tokens::Authenticated> token = RequireRole(*context, tokens_, /*is_joining=*/true, Role::kViewer);
  if (!token.ok()) return new WatchReactor(*this, ToGrpc(token.status()));
  const absl::Duration interval = absl::Milliseconds(request->interval_ms() == 0 ? 500 : request->interval_ms());
  return new WatchReactor(*this, JobId{request->job()}, std::max(interval, kShortestWatchInterval));
}

grpc::ServerWriteReactor<v1::SlicesReply>* JobService::Slices(Context* context, const v1::JobRef* request) {
  absl::StatusOr<Tokens::Authenticated> token = RequireRole(*context, tokens_, /*is_joining=*/true, Role::kViewer);
  if (!token.ok()) return new SliceStreamReactor(token.status());
  return new SliceStreamReactor(driver_, store_, JobId{request->job()});
}

grpc::ServerUnaryReactor* JobService::Change(Context* context, const v1::ChangeRequest* request, v1::Empty*) {
  auto* reactor = new Reactor;
  if (!Admit(context, Role::kAdmin, reactor)) return reactor;
  Core::Settings settings;
  if (request->has_paused()) settings.paused = request->paused();
  if (request->has_priority()) settings.priority = request->priority();
  if (request->has_weight()) settings.weight = request->weight();
  Request(reactor, [&](Core& core, Instant now, CallId call) {
    return core.Change(now, call, JobId{request->job()}, settings);
  });
  return reactor;
}

grpc::ServerUnaryReactor* JobService::Cancel(Context* context, const v1::JobRef* request, v1::Empty*) {
  auto* reactor = new Reactor;
  if (!Admit(context, Role::kAdmin, reactor)) return reactor;
  Request(reactor, [&](Core& core, Instant now, CallId call) { return core.Cancel(now, call, JobId{request->job()}); });
  return reactor;
}

grpc::ServerUnaryReactor* JobService::Delete(Context* context, const v1::JobRef* request, v1::Empty*) {
  auto* reactor = new Reactor;
  if (!Admit(context, Role::kAdmin, reactor)) return reactor;
  Request(reactor, [&](Core& core, Instant now, CallId call) { return core.Delete(now, call, JobId{request->job()}); });
  return reactor;
}

// ---- Blobs

grpc::ServerUnaryReactor* JobService::FindMissing(Context* context, const v1::FindMissingRequest* request,
                                                  v1::FindMissingReply* reply) {
  auto* reactor = new Reactor;
  if (!Admit(context, Role::kAdmin, reactor)) return reactor;
  const absl::StatusOr<Manifest> manifest = ManifestFromWire(request->size(), request->manifest());
  absl::Status status = manifest.status();
  if (status.ok()) {
    const absl::StatusOr<std::unique_ptr<BlobKeeper::Put>> put = blobs_.StartPut(*manifest);
    status = put.status();
    if (put.ok()) reply->mutable_indices()->Assign((*put)->missing().begin(), (*put)->missing().end());
  }
  reactor->Finish(ToGrpc(status));
  return reactor;
}

grpc::ServerReadReactor<v1::PutBlobRequest>* JobService::PutBlob(Context* context, v1::PutBlobReply* reply) {
  absl::StatusOr<Tokens::Authenticated> token = RequireRole(*context, tokens_, /*is_joining=*/true, Role::kAdmin);
  if (!token.ok()) return new PutBlobReactor(blobs_, token.status());
  return new PutBlobReactor(blobs_, reply);
}

grpc::ServerWriteReactor<v1::BlobPiece>* JobService::GetBlob(Context* context, const v1::GetJobBlobRequest* request) {
  absl::StatusOr<Tokens::Authenticated> token = RequireRole(*context, tokens_, /*is_joining=*/true, Role::kViewer);
  if (!token.ok()) return new GetBlobReactor(token.status());
  const auto is_named = [this, job = JobId{request->job()}, blob = request->digest()] {
    return driver_.Read([&](const Core& core, Instant) { return core.IsNamed(job, blob); });
  };
  BlobPieces pieces;
  pieces.manifest = [this, is_named, blob = request->digest()]() -> absl::StatusOr<Manifest> {
    if (absl::Status named = is_named(); !named.ok()) return named;
    return blobs_.store().ReadManifest(blob);
  };
  pieces.piece = [this, is_named, blob = request->digest()](uint64_t index) -> absl::StatusOr<std::string> {
    if (absl::Status named = is_named(); !named.ok()) return named;
    return blobs_.store().ReadPiece(blob, index);
  };
  return new GetBlobReactor(std::move(pieces), request->first_piece());
}

// ---- Workers

grpc::ServerUnaryReactor* JobService::ListWorkers(Context* context, const v1::Empty*, v1::ListWorkersReply* reply) {
  auto* reactor = new Reactor;
  if (!Admit(context, Role::kViewer, reactor)) return reactor;
  const std::vector<WorkerView> workers = driver_.Read([](const Core& core, Instant now) { return core.Workers(now); });
  for (const WorkerView& view : workers) *reply->add_workers() = ToWire(view);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* JobService::DrainWorker(Context* context, const v1::DrainWorkerRequest* request, v1::Empty*) {
  auto* reactor = new Reactor;
  if (!Admit(context, Role::kAdmin, reactor)) return reactor;
  absl::Status drained = absl::UnavailableError("the coordinator is stopping");
  driver_.Do([&](Core& core, Instant now) {
    Outbox outbox;
    drained = core.Drain(request->name(), outbox, now);
    return outbox;
  });
  reactor->Finish(ToGrpc(drained));
  return reactor;
}

grpc::ServerUnaryReactor* JobService::PardonWorker(Context* context, const v1::PardonWorkerRequest* request,
                                                   v1::Empty*) {
  auto* reactor = new Reactor;
  if (!Admit(context, Role::kAdmin, reactor)) return reactor;
  Request(reactor, [&](Core& core, Instant now, CallId call) { return core.Pardon(now, call, request->name()); });
  return reactor;
}

grpc::ServerUnaryReactor* JobService::Sessions(Context* context, const v1::SessionsRequest* request,
                                               v1::SessionsReply* reply) {
  auto* reactor = new Reactor;
  if (!Admit(context, Role::kViewer, reactor)) return reactor;
  reactor->Finish(ToGrpc(ReadSessions(*request, *reply)));
  return reactor;
}

absl::Status JobService::ReadSessions(const v1::SessionsRequest& request, v1::SessionsReply& reply) {
  if (request.since_unix_ms() < 0) {
    return absl::InvalidArgumentError(absl::StrCat("since_unix_ms is ", request.since_unix_ms(),
                                                   "; allowed is 0 for all, or milliseconds since 1970"));
  }
  const absl::Time since =
      request.since_unix_ms() == 0 ? absl::InfinitePast() : absl::FromUnixMillis(request.since_unix_ms());
  const absl::StatusOr<std::vector<StoredSession>> sessions =
      store_.ReadSessions({request.after(), since, kSessionsAPage});
  if (!sessions.ok()) return sessions.status();
  std::map<TokenId, std::string> names;
  for (const Tokens::Listed& token : tokens_.List()) names[token.created.token] = token.created.name;
  for (const StoredSession& session : *sessions) {
    v1::SessionStatus& out = *reply.add_sessions() = ToWire(session);
    if (const auto name = names.find(session.opened.token); name != names.end()) out.set_token_name(name->second);
  }
  if (sessions->size() == kSessionsAPage) reply.set_next(sessions->back().opened.number);
  reply.set_now_unix_ms(absl::ToUnixMillis(absl::Now()));
  if (request.after() != 0) return absl::OkStatus();
  const absl::StatusOr<std::vector<CoordinatorRan>> runs = store_.ReadRuns(since);
  if (!runs.ok()) return runs.status();
  for (const CoordinatorRan& run : *runs) {
    v1::TimeSpan& out = *reply.add_ran();
    out.set_from_unix_ms(absl::ToUnixMillis(run.began));
    out.set_to_unix_ms(absl::ToUnixMillis(run.until));
  }
  return absl::OkStatus();
}

// ---- Tokens

grpc::ServerUnaryReactor* JobService::CreateToken(Context* context, const v1::CreateTokenRequest* request,
                                                  v1::CreateTokenReply* reply) {
  auto* reactor = new Reactor;
  if (!Admit(context, Role::kAdmin, reactor)) return reactor;
  if (request->role() < v1::TOKEN_ROLE_WORKER || request->role() > v1::TOKEN_ROLE_ADMIN) {
    reactor->Finish(
        grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "role is unknown; allowed are worker, viewer, admin"));
    return reactor;
  }
  const absl::Duration lifetime =
      request->lifetime_seconds() == 0 ? absl::InfiniteDuration() : absl::Seconds(request->lifetime_seconds());
  absl::StatusOr<Tokens::Created> created =
      tokens_.Create(request->name(), static_cast<Role>(request->role()), lifetime, absl::Now());
  if (!created.ok()) {
    reactor->Finish(ToGrpc(created.status()));
    return reactor;
  }
  const TokenId id = created->fact.token;
  driver_.Append({created->fact}, [this, reactor, reply, id, secret = created->secret](const absl::Status& status) {
    if (status.ok()) {
      reply->set_join_string(join_string_(secret));
      reply->set_token(static_cast<uint64_t>(id));
    } else {
      tokens_.Forget(id);
    }
    reactor->Finish(ToGrpc(status));
  });
  return reactor;
}

grpc::ServerUnaryReactor* JobService::ListTokens(Context* context, const v1::Empty*, v1::ListTokensReply* reply) {
  auto* reactor = new Reactor;
  if (!Admit(context, Role::kAdmin, reactor)) return reactor;
  for (const Tokens::Listed& token : tokens_.List()) *reply->add_tokens() = ToWire(token);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

std::vector<TokenId> JobService::TokensNamed(const std::string& name_or_id) const {
  std::vector<TokenId> valid, revoked;
  uint64_t number = 0;
  const bool is_number = absl::SimpleAtoi(name_or_id, &number);
  for (const Tokens::Listed& token : tokens_.List()) {
    if (is_number && token.created.token == TokenId{number}) return {token.created.token};
    if (token.created.name == name_or_id) (token.revoked ? revoked : valid).push_back(token.created.token);
  }
  if (valid.empty() && !revoked.empty()) return {revoked.back()};
  return valid;
}

grpc::ServerUnaryReactor* JobService::RevokeToken(Context* context, const v1::RevokeTokenRequest* request, v1::Empty*) {
  auto* reactor = new Reactor;
  if (!Admit(context, Role::kAdmin, reactor)) return reactor;
  const std::vector<TokenId> matching = TokensNamed(request->name_or_id());
  const auto refuse = [reactor](grpc::StatusCode code, const std::string& why) {
    reactor->Finish(grpc::Status(code, why));
    return reactor;
  };
  if (matching.empty()) {
    return refuse(grpc::StatusCode::NOT_FOUND,
                  absl::StrCat("there is no token \"", request->name_or_id(), "\" (potluck token list shows them)"));
  }
  if (matching.size() > 1) {
    return refuse(grpc::StatusCode::FAILED_PRECONDITION,
                  absl::StrCat(matching.size(), " tokens are named \"", request->name_or_id(),
                               "\"; revoke by number (potluck token list)"));
  }
  const TokenId id = matching.front();
  const absl::Time now = absl::Now();
  const absl::Status revoked = tokens_.Revoke(id, now).status();
  driver_.Do([id](Core& core, Instant then) { return core.DropSessionsOf(then, id); });
  // Also when it was revoked before: that may not have been stored.
  driver_.Append({TokenRevoked{id, now}}, [reactor, revoked](const absl::Status& stored) {
    reactor->Finish(ToGrpc(stored.ok() ? revoked : stored));
  });
  return reactor;
}

grpc::ServerUnaryReactor* JobService::About(Context* context, const v1::Empty*, v1::AboutReply* reply) {
  auto* reactor = new Reactor;
  if (!Admit(context, Role::kViewer, reactor)) return reactor;
  reply->set_version(kVersion);
  reply->set_epoch(static_cast<uint64_t>(store_.epoch()));
  const std::vector<WorkerView> workers = driver_.Read([](const Core& core, Instant now) { return core.Workers(now); });
  reply->set_workers(static_cast<uint32_t>(std::count_if(
      workers.begin(), workers.end(), [](const WorkerView& worker) { return worker.quarantined.empty(); })));
  reply->set_store_bytes(store_.SizeBytes());
  reply->set_resident_bytes(ResidentBytes());
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

// ---- Watches

void JobService::AddWatch(WatchReactor* watch, JobId job) {
  MutexLock lock(&mutex_);
  watches_.emplace(job, watch);
}

void JobService::RemoveWatch(WatchReactor* watch, JobId job) {
  MutexLock lock(&mutex_);
  for (auto [it, end] = watches_.equal_range(job); it != end; ++it) {
    if (it->second != watch) continue;
    watches_.erase(it);
    return;
  }
}

// A watch removes itself before it is deleted, and needs the mutex for that: so those found here are alive meanwhile.
void JobService::WakeWatches(JobId job) {
  MutexLock lock(&mutex_);
  for (auto [it, end] = watches_.equal_range(job); it != end; ++it) it->second->Wake(/*is_over=*/false);
}

void JobService::Stop() {
  MutexLock lock(&mutex_);
  for (const auto& [job, watch] : watches_) watch->Wake(/*is_over=*/true);
}

}  // namespace potluck
