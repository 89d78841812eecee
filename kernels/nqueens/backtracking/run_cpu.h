// The N-Queens search on CPU threads (OpenMP): a SeedEngine for SliceRunner. Not thread-safe.
#pragma once

#include <memory>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/nqueens/backtracking/slice_runner.h"

namespace potluck::nqueens {

// Open rows of a seed, at most: some 10^5 placements, below a millisecond, so that threads end a slice together.
inline constexpr int kCpuMaxRows = 13;

class CpuEngine final : public SeedEngine {
 public:
  // `threads` >= 1.
  explicit CpuEngine(int threads) : threads_(threads) {}

  int MaxRows() const override { return kCpuMaxRows; }
  size_t BatchSeeds() const override { return size_t{1} << 18; }
  Status Begin(const SearchShape& shape, size_t slots) override;
  Status Search(std::span<const Seed> seeds, const std::function<bool()>& cancelled) override;
  Status Finish(std::span<RankCounts> counts, const std::function<bool()>& cancelled) override;

 private:
  int threads_;
  SearchShape shape_{};
  std::vector<RankCounts> counts_;
};

// A Runner on `threads` (>= 1) threads by this code path, which the processor must support.
std::unique_ptr<SliceRunner> MakeBacktrackingRunner(int threads, Dispatch dispatch);

}  // namespace potluck::nqueens
