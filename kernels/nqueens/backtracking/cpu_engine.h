// What the CPU's code paths for the N-Queens search share: seeds handed out to threads, and counts a slot gathered from
// them. The header declares a base class; run_cpu.cc has the scalar path, run_vector.cc those in vectors.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <span>
#include <vector>

#include "kernels/nqueens/backtracking/slice_runner.h"

namespace potluck::nqueens {

// Hands out seeds and receives their counts. Thread-safe; borrows both spans.
class SeedQueue {
 public:
  SeedQueue(std::span<const Seed> seeds, std::span<RankCounts> counts) : seeds_(seeds), counts_(counts) {}

  // The next one; nullptr when there are no more.
  const Seed* Next() {
    const size_t index = next_.fetch_add(1, std::memory_order_relaxed);
    return index < seeds_.size() ? &seeds_[index] : nullptr;
  }
  // The next `most` (>= 1) seeds, or as many as there still are.
  std::span<const Seed> Take(size_t most) {
    const size_t begin = next_.fetch_add(most, std::memory_order_relaxed);
    return begin < seeds_.size() ? seeds_.subspan(begin, std::min(most, seeds_.size() - begin))
                                 : std::span<const Seed>();
  }
  void Add(uint32_t slot, uint64_t solutions, uint64_t nodes) {
    std::atomic_ref(counts_[slot].solutions).fetch_add(solutions, std::memory_order_relaxed);
    std::atomic_ref(counts_[slot].nodes).fetch_add(nodes, std::memory_order_relaxed);
  }
  void Stop() { next_.store(seeds_.size(), std::memory_order_relaxed); }
  size_t size() const { return seeds_.size(); }

 private:
  const std::span<const Seed> seeds_;
  const std::span<RankCounts> counts_;
  // On a cache line of its own: every thread writes it.
  alignas(64) std::atomic<size_t> next_{0};
};

// A SeedEngine on CPU threads (OpenMP). Not thread-safe.
class CpuEngine : public SeedEngine {
 public:
  // `threads` >= 1.
  explicit CpuEngine(int threads) : threads_(threads) {}

  size_t BatchSeeds() const override { return size_t{1} << 18; }
  Status Begin(const SearchShape& shape, size_t slots) override;
  Status Finish(std::span<RankCounts> counts, const std::function<bool()>& cancelled) override;

 protected:
  int threads() const { return threads_; }
  const SearchShape& shape() const { return shape_; }
  std::span<RankCounts> counts() { return counts_; }

 private:
  const int threads_;
  SearchShape shape_{};
  std::vector<RankCounts> counts_;
};

}  // namespace potluck::nqueens
