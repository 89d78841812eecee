#include "worker/worker.h"

#include <unistd.h>

#include <utility>

#include "worker/devices.h"
#include "worker/installation.h"
#include "worker/session.h"

namespace potluck {
namespace {

std::string HostName() {
  char name[65] = {};
  return gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "worker";
}

}  // namespace

class Worker::Impl {
 public:
  Impl(const WorkerOptions& options, Installation installation, std::vector<DeviceSpec> devices)
      : installation_(std::move(installation)), session_(options, installation_.id(), std::move(devices)) {}

  Session& session() { return session_; }

 private:
  const Installation installation_;  // Its lock is held as long as the worker lives.
  Session session_;
};

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(WorkerOptions options) {
  DeviceRequest request;
  request.device = options.device;
  request.threads = options.threads;
  request.dispatch = options.dispatch;
  request.program = options.program;
  absl::StatusOr<FoundDevices> found = FindDevices(request);
  if (!found.ok()) return found.status();
  if (!found->gpu_note.empty() && options.say) options.say(found->gpu_note);
  if (options.name.empty()) options.name = HostName();
  absl::StatusOr<Installation> installation =
      options.installation.empty() ? Installation::Take() : Installation::Named(options.installation);
  if (!installation.ok()) return installation.status();
  auto impl = std::make_unique<Impl>(options, *std::move(installation), std::move(found->devices));
  return std::unique_ptr<Worker>(new Worker(std::move(impl)));
}

Worker::Worker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Worker::~Worker() = default;

WorkerEnd Worker::Run(std::string& message) { return impl_->session().Run(message); }
void Worker::Drain() { impl_->session().Drain(); }
void Worker::StopNow() { impl_->session().StopNow(); }

}  // namespace potluck
