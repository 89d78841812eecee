#include "kernels/nqueens/backtracking/run_cpu.h"

#include "kernels/nqueens/backtracking/cpu_engine.h"
#include "kernels/nqueens/backtracking/run_vector.h"
#include "kernels/nqueens/backtracking/search.h"
#include "kernels/workload/parallel.h"

namespace potluck::nqueens {
namespace {

// Subtrees that one thread searches in turns: each is a chain of dependent instructions, several fill the processor.
constexpr int kLanes = 4;

// One lane with the seed it is at. Each step is a placement, so that a subtree's nodes are its number of steps.
struct BusyLane {
  SaveLane<kScalarMaxRows> lane;
  uint32_t slot = 0;
  uint64_t first_step = 0;
};

// One thread's share of the queue.
class ThreadSearch {
 public:
  ThreadSearch(const SearchShape& shape, SeedQueue& queue, const std::function<bool()>& cancelled)
      : shape_(shape), queue_(queue), cancelled_(cancelled) {}

  void Run() {
    int busy = 0;
    while (busy < kLanes && Refill(lanes_[busy], 0)) ++busy;
    const int idle = busy == kLanes ? SearchAll() : kLanes;
    for (int i = 0; i < busy; ++i) {
      if (i != idle) FinishOne(lanes_[i]);
    }
  }

 private:
  bool Refill(BusyLane& busy, uint64_t step) {
    if (cancelled_()) queue_.Stop();
    const Seed* const seed = queue_.Next();
    if (seed == nullptr) return false;
    busy.lane.Start(shape_, *seed);
    busy.slot = seed->slot;
    busy.first_step = step;
    return true;
  }
  // Steps all lanes in turn until one runs dry; returns which.
  int SearchAll() {
    const SearchShape shape = shape_;
    for (step_ = 1;; ++step_) {
#pragma GCC unroll 4
      for (int i = 0; i < kLanes; ++i) {
        if (lanes_[i].lane.Step(shape)) [[likely]] {
          continue;
        }
        queue_.Add(lanes_[i].slot, lanes_[i].lane.solutions(), step_ - lanes_[i].first_step);
        if (Refill(lanes_[i], step_)) continue;
        // The lanes after this one have not had this step.
        for (int j = i + 1; j < kLanes; ++j) ++lanes_[j].first_step;
        return i;
      }
    }
  }
  void FinishOne(BusyLane& busy) {
    uint64_t step = step_ + 1;
    while (busy.lane.Step(shape_)) ++step;
    queue_.Add(busy.slot, busy.lane.solutions(), step - busy.first_step);
  }

  const SearchShape shape_;
  SeedQueue& queue_;
  const std::function<bool()>& cancelled_;
  uint64_t step_ = 0;
  BusyLane lanes_[kLanes];
};

class ScalarEngine final : public CpuEngine {
 public:
  using CpuEngine::CpuEngine;
  int MaxRows() const override { return kScalarMaxRows; }
  Status Search(std::span<const Seed> seeds, const std::function<bool()>& cancelled) override {
    SeedQueue queue(seeds, counts());
    RunOnThreads(threads(), [&](int) { ThreadSearch(shape(), queue, cancelled).Run(); });
    return Status();
  }
};

// AVX-512 has two paths: the one in 16-bit lanes where the processor can compress those.
std::unique_ptr<SeedEngine> MakeEngine(int threads, [[maybe_unused]] Dispatch dispatch) {
#if defined(__x86_64__)
  if (dispatch == Dispatch::kAvx512) return MakeVectorEngine(threads, HasVbmi2() ? kAvx512Vbmi2Path : kAvx512Path);
  if (dispatch == Dispatch::kAvx2) return MakeVectorEngine(threads, kAvx2Path);
#endif
  return std::make_unique<ScalarEngine>(threads);
}

}  // namespace

Status CpuEngine::Begin(const SearchShape& shape, size_t slots) {
  shape_ = shape;
  counts_.assign(slots, RankCounts{});
  return Status();
}

Status CpuEngine::Finish(std::span<RankCounts> counts, const std::function<bool()>&) {
  for (size_t slot = 0; slot < counts.size(); ++slot) {
    counts[slot].solutions += counts_[slot].solutions;
    counts[slot].nodes += counts_[slot].nodes;
  }
  return Status();
}

std::unique_ptr<SliceRunner> MakeBacktrackingRunner(int threads, Dispatch dispatch) {
  return std::make_unique<SliceRunner>(MakeEngine(threads, dispatch));
}

}  // namespace potluck::nqueens
