#include "worker/worker.h"

#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "worker/devices.h"
#include "worker/gpu_lock.h"
#include "worker/installation.h"
#include "worker/platform.h"
#include "worker/session.h"

namespace potluck {
namespace {

std::string HostName() {
  char name[65] = {};
  return gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "worker";
}

// A session's known end, where there is one and nobody has named another, and says so.
void SetKnownEnd(const FoundDevices& found, WorkerOptions& options) {
  const Platform& platform = ThisPlatform();
  const bool has_gpu = HasNvidiaDevice() || std::any_of(found.devices.begin(), found.devices.end(),
                                                        [](const DeviceSpec& d) { return d.kind == "cuda"; });
  const ExpectedEnd end = KnownEnd(platform, has_gpu, SessionAge());
  options.ends_in = end.in;
  if (!end.sentence.empty() && options.say) options.say(end.sentence);
}

}  // namespace

class Worker::Impl {
 public:
  Impl(const WorkerOptions& options, Installation installation, std::vector<GpuLock> gpus,
       std::vector<DeviceSpec> devices)
      : installation_(std::move(installation)),
        gpus_(std::move(gpus)),
        session_(options, installation_.id(), std::move(devices)) {}

  Session& session() { return session_; }

 private:
  // Locks are held as long as the worker lives.
  const Installation installation_;
  const std::vector<GpuLock> gpus_;
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
  absl::StatusOr<std::vector<GpuLock>> gpus = TakeGpus(options.device, *found);
  if (!gpus.ok()) return gpus.status();
  if (!found->gpu_note.empty() && options.say) options.say(found->gpu_note);
  if (options.platform_limits && options.ends_in == absl::InfiniteDuration()) SetKnownEnd(*found, options);
  if (options.name.empty()) options.name = HostName();
  absl::StatusOr<Installation> installation =
      options.installation.empty() ? Installation::Take() : Installation::Named(options.installation);
  if (!installation.ok()) return installation.status();
  auto impl = std::make_unique<Impl>(options, *std::move(installation), *std::move(gpus), std::move(found->devices));
  return std::unique_ptr<Worker>(new Worker(std::move(impl)));
}

Worker::Worker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Worker::~Worker() = default;

WorkerEnd Worker::Run(std::string& message) { return impl_->session().Run(message); }
void Worker::Drain() { impl_->session().Drain(); }
void Worker::StopNow() { impl_->session().StopNow(); }

}  // namespace potluck
