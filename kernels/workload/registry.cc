#include "kernels/workload/registry.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "kernels/cpu/dispatch.h"
#include "kernels/cuda/gpu_runner.h"
#include "kernels/nqueens/planner.h"
#include "kernels/nqueens/runner.h"

namespace potluck {
namespace {

constexpr std::string_view kQueens = "nqueens";
constexpr int kMaxThreads = 4096;

std::string Join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

Status UnknownWorkload(std::string_view name) {
  return Status::Error("The workload is \"" + std::string(name) + "\"; allowed: " + Join(WorkloadNames()) + ".");
}

}  // namespace

Result<std::unique_ptr<Planner>> MakePlanner(std::string_view workload, std::string_view spec, const BlobReader&) {
  if (workload == kQueens) return nqueens::MakePlanner(spec);
  return UnknownWorkload(workload);
}

Result<std::unique_ptr<Runner>> MakeCpuRunner(std::string_view workload, const CpuOptions& options) {
  if (options.threads < 1 || options.threads > kMaxThreads) {
    return Status::Error("threads is " + std::to_string(options.threads) + "; allowed: 1 to " +
                         std::to_string(kMaxThreads) + ".");
  }
  const Result<Dispatch> dispatch = ChooseDispatch(options.dispatch);
  if (!dispatch.ok()) return dispatch.status();
  if (workload == kQueens) return nqueens::MakeCpuRunner(options.threads, *dispatch);
  return UnknownWorkload(workload);
}

Result<std::unique_ptr<Runner>> MakeGpuRunner(std::string_view workload, const std::string& plugin_path, int index) {
  if (workload != kQueens) return UnknownWorkload(workload);
  Result<std::unique_ptr<Runner>> runner = cuda::MakeGpuRunner(workload, plugin_path, index);
  if (!runner.ok()) return runner;
  const int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return nqueens::MakeGpuQueensRunner(std::move(runner).value(), threads);
}

std::vector<std::string> WorkloadNames() { return {std::string(kQueens)}; }

std::vector<std::string> DispatchNames() {
  std::vector<std::string> names;
  for (const Dispatch dispatch : AllDispatches()) names.emplace_back(ToString(dispatch));
  return names;
}

}  // namespace potluck
