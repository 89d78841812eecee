#include "kernels/nqueens/backtracking/run_vector.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "kernels/cpu/dispatch.h"
#include "kernels/nqueens/backtracking/cpu_engine.h"
#include "kernels/workload/parallel.h"

namespace potluck::nqueens {
namespace {

// Seeds that a thread takes at once: one that opens its rows from the start takes a tenth of a millisecond or so.
constexpr size_t kMaxSeedsAtOnce = 32;
// So many takes a thread, at least, so that all end together.
constexpr size_t kTakes = 128;

// The buffers of one thread, which no other thread's share a cache line with.
class WorkspaceBuffer {
 public:
  explicit WorkspaceBuffer(size_t bytes) : data_(::operator new (bytes, std::align_val_t{kWorkspaceAlignment})) {
    std::memset(data_.get(), 0, bytes);
  }
  void* get() const { return data_.get(); }

 private:
  struct Delete {
    void operator()(void* data) const { ::operator delete (data, std::align_val_t{kWorkspaceAlignment}); }
  };
  std::unique_ptr<void, Delete> data_;
};

class VectorEngine final : public CpuEngine {
 public:
  VectorEngine(int threads, const VectorPath& path) : CpuEngine(threads), path_(path) {
    for (int i = 0; i < threads; ++i) workspaces_.emplace_back(path.workspace_bytes);
  }

  int MaxRows() const override { return kVectorMaxRows; }
  Status Search(std::span<const Seed> seeds, const std::function<bool()>& cancelled) override {
    SeedQueue queue(seeds, counts());
    RunOnThreads(threads(), [&](int thread) { SearchOnThread(thread, queue, cancelled); });
    return Status();
  }

 private:
  void SearchOnThread(int thread, SeedQueue& queue, const std::function<bool()>& cancelled) {
    void* const workspace = workspaces_[static_cast<size_t>(thread)].get();
    const size_t at_once =
        std::clamp<size_t>(queue.size() / (static_cast<size_t>(threads()) * kTakes), 1, kMaxSeedsAtOnce);
    while (true) {
      if (cancelled()) queue.Stop();
      std::span<const Seed> seeds = queue.Take(at_once);
      if (seeds.empty()) return;
      // Buffers hold boards of one rank at a time.
      while (!seeds.empty()) {
        const uint32_t slot = seeds.front().slot;
        const auto other =
            std::find_if(seeds.begin(), seeds.end(), [&](const Seed& seed) { return seed.slot != slot; });
        const size_t count = static_cast<size_t>(other - seeds.begin());
        const SubtreeCounts counts = path_.search(workspace, shape(), seeds.data(), count);
        queue.Add(slot, counts.solutions, counts.nodes);
        seeds = seeds.subspan(count);
      }
    }
  }

  const VectorPath& path_;
  std::vector<WorkspaceBuffer> workspaces_;
};

}  // namespace

std::unique_ptr<SeedEngine> MakeVectorEngine(int threads, const VectorPath& path) {
  return std::make_unique<VectorEngine>(threads, path);
}

std::vector<const VectorPath*> SupportedVectorPaths() {
  std::vector<const VectorPath*> paths;
#if defined(__x86_64__)
  if (HasVbmi2()) paths.push_back(&kAvx512Vbmi2Path);
  if (IsSupported(Dispatch::kAvx512)) paths.push_back(&kAvx512Path);
  if (IsSupported(Dispatch::kAvx2)) paths.push_back(&kAvx2Path);
#endif
  return paths;
}

}  // namespace potluck::nqueens
