#include "kernels/cuda/gpu_runner.h"

#include <utility>

#include "kernels/cuda/loader.h"

namespace potluck::cuda {
namespace {

// What the callbacks of one run() reach through their context.
struct RunContext {
  RunControl& control;
  const SliceSink& sink;
};

uint64_t Claim(void* context, uint64_t begin, uint64_t wanted_end) {
  return static_cast<RunContext*>(context)->control.Claim(begin, wanted_end);
}

void Slice(void* context, uint64_t begin, uint64_t end, const char* payload, size_t size, double busy_seconds) {
  static_cast<RunContext*>(context)->sink({begin, end}, {payload, size}, busy_seconds);
}

int Cancelled(void* context) { return static_cast<RunContext*>(context)->control.cancelled() ? 1 : 0; }

class GpuRunner final : public Runner {
 public:
  GpuRunner(std::shared_ptr<const Plugin> plugin, PotluckCudaRunner* runner)
      : plugin_(std::move(plugin)), runner_(runner) {}
  ~GpuRunner() override { plugin_->api().destroy(runner_); }
  GpuRunner(const GpuRunner&) = delete;
  GpuRunner& operator=(const GpuRunner&) = delete;

  Status SelfTest() override { return Checked(plugin_->api().self_test(runner_)); }
  Status Open(const RoundInput& round) override {
    return Checked(plugin_->api().open(runner_, round.payload.data(), round.payload.size()));
  }
  Status Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) override {
    RunContext context{control, sink};
    const PotluckCudaCallbacks callbacks{&context, Claim, Slice, Cancelled};
    return Checked(plugin_->api().run(runner_, interval.begin, interval.end, options.slice_seconds, &callbacks));
  }

 private:
  Status Checked(int code) const { return code == 0 ? Status() : plugin_->LastError(); }

  std::shared_ptr<const Plugin> plugin_;
  PotluckCudaRunner* runner_;
};

}  // namespace

Result<std::unique_ptr<Runner>> MakeGpuRunner(std::string_view workload, const std::string& plugin_path, int index) {
  Result<std::shared_ptr<const Plugin>> plugin = Plugin::Load(plugin_path);
  if (!plugin.ok()) return plugin.status();
  PotluckCudaRunner* runner = nullptr;
  if ((*plugin)->api().create(std::string(workload).c_str(), index, &runner) != 0) return (*plugin)->LastError();
  return std::unique_ptr<Runner>(std::make_unique<GpuRunner>(std::move(*plugin), runner));
}

}  // namespace potluck::cuda
