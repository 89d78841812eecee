#include "coordinator/coordinator.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/notification.h"
#include "coordinator/front_door.h"
#include "coordinator/identity.h"
#include "coordinator/service/blob_keeper.h"
#include "coordinator/service/driver.h"
#include "coordinator/service/job_service.h"
#include "coordinator/service/state_writer.h"
#include "coordinator/service/worker_service.h"
#include "coordinator/store/blob_store.h"
#include "coordinator/store/memory_store.h"
#include "coordinator/store/sqlite_store.h"
#include "coordinator/tokens.h"
#include "coordinator/web.h"
#include "kernels/workload/registry.h"
#include "proto/join_string.h"
#include "proto/transport_settings.h"

namespace potluck {
namespace {

// Names of the tokens that `serve` makes for itself.
constexpr char kWorkerToken[] = "worker.join";
constexpr char kAdminToken[] = "admin.join";

constexpr uint64_t kMostBlobBytesInMemory = 1 << 30;

PlannerFactory RegisteredPlanners() {
  return [](const std::string& workload, const std::string& spec, const BlobReader& blobs) {
    return MakePlanner(workload, spec, blobs);
  };
}

}  // namespace

class Coordinator::Impl {
 public:
  explicit Impl(CoordinatorOptions options) : options_(std::move(options)) {
    if (!options_.log) options_.log = [](const std::string&) {};
    if (!options_.planners) options_.planners = RegisteredPlanners();
  }
  ~Impl() { Stop(); }

  absl::Status Start() {
    if (absl::Status status = OpenState(); !status.ok()) return status;
    absl::StatusOr<StoreContents> contents = store_->Load();
    if (!contents.ok()) return contents.status();
    tokens_.Load(contents->tokens, contents->revoked_tokens);
    if (absl::Status status = Listen(); !status.ok()) return status;
    if (absl::Status status = OpenBlobs(); !status.ok()) return status;
    options_.core.scheduler.epoch = store_->epoch();
    // In memory a state would survive no more than the job itself: only the last one is of use.
    if (options_.state_directory.empty()) options_.core.save_interval = absl::InfiniteDuration();
    MakeDriver();
    driver_->Recover(*contents);
    blob_keeper_->Collect();  // Whatever no job names.
    if (absl::Status status = MakeJoinStrings(); !status.ok()) return status;
    StartServices();
    return absl::OkStatus();
  }

  void Stop() {
    if (stopped_.exchange(true)) return;
    if (door_) door_->Stop();  // Before the server: what it still held would leak otherwise.
    if (web_) web_->Stop();
    if (job_service_) job_service_->Stop();
    if (driver_) driver_->Stop();
    if (server_) {
      server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
      server_->Wait();
    }
  }

  absl::Status Wait() { return driver_->Wait(); }
  void WaitForWorkers(size_t count, absl::Duration limit) { driver_->WaitForSessions(count, limit); }
  int port() const { return door_->port(); }
  const std::string& worker_join_string() const { return worker_join_string_; }
  const std::string& admin_join_string() const { return admin_join_string_; }

 private:
  absl::Status OpenState() {
    if (options_.state_directory.empty()) {
      store_ = std::make_unique<MemoryStore>();
      absl::StatusOr<Identity> identity = Identity::Create(absl::Now());
      if (!identity.ok()) return identity.status();
      identity_ = *std::move(identity);
      return absl::OkStatus();
    }
    absl::StatusOr<std::unique_ptr<SqliteStore>> store = SqliteStore::Open(options_.state_directory);
    if (!store.ok()) return store.status();
    store_ = *std::move(store);
    absl::StatusOr<Identity> identity = Identity::LoadOrCreate(options_.state_directory, absl::Now());
    if (!identity.ok()) return identity.status();
    identity_ = *std::move(identity);
    return absl::OkStatus();
  }

  absl::Status OpenBlobs() {
    if (options_.state_directory.empty()) {
      blob_store_ = BlobStore::InMemory(std::min(options_.blob_quota_bytes, kMostBlobBytesInMemory));
    } else {
      absl::StatusOr<std::unique_ptr<BlobStore>> opened =
          BlobStore::OpenDirectory(absl::StrCat(options_.state_directory, "/blobs"), options_.blob_quota_bytes);
      if (!opened.ok()) return opened.status();
      blob_store_ = *std::move(opened);
    }
    const auto named = [this] { return driver_->Read([](const Core& core, Instant) { return core.NamedBlobs(); }); };
    blob_keeper_ = std::make_unique<BlobKeeper>(*blob_store_, named, options_.log);
    return absl::OkStatus();
  }

  void MakeDriver() {
    const auto read = [this](std::string_view digest) -> Result<std::string> {
      absl::StatusOr<std::string> bytes = blob_store_->Read(std::string(digest));
      if (!bytes.ok()) return Status::Error(std::string(bytes.status().message()));
      return *std::move(bytes);
    };
    const auto write_state = [this](const std::vector<SharedBytes>& parts, const auto& done) {
      const absl::StatusOr<std::unique_ptr<BlobKeeper::Put>> put = WriteState(*blob_keeper_, parts);
      if (put.ok()) {
        done((*put)->digest());
      } else {
        done(put.status());
      }
    };
    driver_ = std::make_unique<Driver>(options_.core, options_.planners, read, write_state, *store_, options_.log);
    driver_->OnBlobsReleased([this] { blob_keeper_->Collect(); });
  }

  absl::Status Listen() {
    WebServerOptions options;
    options.route = [this](const WebRequest& request) {
      if (!IsBundlePath(request.path)) return WelcomeRoute(request);
      return AnswerBundle(request, options_.bundle.get(), tokens_, absl::Now());
    };
    absl::StatusOr<std::unique_ptr<WebServer>> web = WebServer::Create(identity_, std::move(options));
    if (!web.ok()) return web.status();
    web_ = *std::move(web);
    FrontDoorOptions door;
    door.address = options_.listen;
    door.web = web_.get();
    absl::StatusOr<std::unique_ptr<FrontDoor>> opened = FrontDoor::Create(std::move(door));
    if (!opened.ok()) return opened.status();
    door_ = *std::move(opened);
    return absl::OkStatus();
  }

  // `is_for_here`: for whoever is on this machine, past whatever stands before it.
  std::string JoinStringFor(const std::string& secret, bool is_for_here = false) const {
    JoinString join;
    const bool is_past_proxy = options_.trust_proxy_ca && is_for_here;
    join.addresses =
        options_.public_addresses.empty() || is_past_proxy ? door_->addresses() : options_.public_addresses;
    if (!options_.trust_proxy_ca || is_for_here) join.pin = identity_.pin;
    join.token = secret;
    // Without a pin somebody else ends TLS, and could hand out a program of his own.
    if (join.pin.empty() && options_.bundle != nullptr) join.bundle = options_.bundle->digest;
    absl::StatusOr<std::string> text = FormatJoinString(join);
    return text.ok() ? *text : "";
  }

  // The join strings of a state directory stay the same: their files hold the secrets, the store their hashes.
  absl::Status MakeJoinStrings() {
    if (absl::Status status = MakeJoinString(kWorkerToken, Role::kWorker, worker_join_string_); !status.ok())
      return status;
    return MakeJoinString(kAdminToken, Role::kAdmin, admin_join_string_);
  }

  absl::Status MakeJoinString(const std::string& name, Role role, std::string& out) {
    const std::string file = absl::StrCat(options_.state_directory, "/", name);
    std::string secret;
    if (!options_.state_directory.empty()) {
      absl::StatusOr<JoinString> kept = LoadJoinString(file);
      if (kept.ok() && tokens_.Authenticate(kept->token, absl::Now()).ok()) secret = kept->token;
    }
    if (secret.empty()) {
      absl::StatusOr<Tokens::Created> created = tokens_.Create(name, role, absl::InfiniteDuration(), absl::Now());
      if (!created.ok()) return created.status();
      secret = created->secret;
      absl::Status stored;
      Notification is_stored;
      driver_->Append({created->fact}, [&](const absl::Status& status) {
        stored = status;
        is_stored.Notify();
      });
      is_stored.WaitForNotification();
      if (!stored.ok()) return stored;
    }
    out = JoinStringFor(secret, /*is_for_here=*/role == Role::kAdmin);
    if (options_.state_directory.empty()) return absl::OkStatus();
    return WriteSecretFile(file, out + "\n");
  }

  void StartServices() {
    worker_service_ = std::make_unique<WorkerService>(*driver_, tokens_, *blob_store_, options_.core,
                                                      options_.result_memory_bytes, options_.shared_folder);
    job_service_ = std::make_unique<JobService>(*driver_, *store_, tokens_, *blob_keeper_,
                                                [this](const std::string& secret) { return JoinStringFor(secret); });
    grpc::ServerBuilder builder;
    SetServerArguments(builder);
    builder.RegisterService(worker_service_.get());
    builder.RegisterService(job_service_.get());
    door_->AddAcceptor(builder, MakeServerCredentials(identity_));
    server_ = builder.BuildAndStart();
    driver_->Start();
    door_->Start();
  }

  CoordinatorOptions options_;
  std::atomic<bool> stopped_{false};
  Identity identity_;
  Tokens tokens_;
  std::unique_ptr<WebServer> web_;
  std::unique_ptr<FrontDoor> door_;
  std::unique_ptr<BlobStore> blob_store_;
  std::unique_ptr<BlobKeeper> blob_keeper_;
  // Those below hold on to those above; the store goes after the driver, whose events its thread still delivers.
  std::unique_ptr<Driver> driver_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<WorkerService> worker_service_;
  std::unique_ptr<JobService> job_service_;
  std::unique_ptr<grpc::Server> server_;
  std::string worker_join_string_;
  std::string admin_join_string_;
};

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(CoordinatorOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  if (absl::Status status = impl->Start(); !status.ok()) return status;
  return std::unique_ptr<Coordinator>(new Coordinator(std::move(impl)));
}

Coordinator::Coordinator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Coordinator::~Coordinator() = default;

int Coordinator::port() const { return impl_->port(); }
std::string Coordinator::worker_join_string() const { return impl_->worker_join_string(); }
std::string Coordinator::admin_join_string() const { return impl_->admin_join_string(); }
absl::Status Coordinator::Wait() { return impl_->Wait(); }
void Coordinator::WaitForWorkers(size_t count, absl::Duration limit) { impl_->WaitForWorkers(count, limit); }
void Coordinator::Stop() { impl_->Stop(); }

}  // namespace potluck
