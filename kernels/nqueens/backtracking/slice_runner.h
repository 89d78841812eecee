// What the CPU's and the GPU's backtracking share: opening a round and turning per-rank counts into a payload, slice by
// slice (slices.h). They differ only in the SeedEngine that searches seeds.
//
// Not thread-safe, except that a RunControl may be used from other threads during Run.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/nqueens/backtracking/prefix.h"
#include "kernels/nqueens/backtracking/seed_stream.h"
#include "kernels/nqueens/payload.h"
#include "kernels/nqueens/slices.h"
#include "kernels/workload/runner.h"

namespace potluck::nqueens {

// Searches the subtrees of seeds on one device. Not thread-safe.
class SeedEngine {
 public:
  virtual ~SeedEngine() = default;
  // Seeds never have more open rows than this; at least kMinRows.
  virtual int MaxRows() const = 0;
  // How many seeds the next Search call should bring, at most.
  virtual size_t BatchSeeds() const = 0;
  // Starts a slice: counts of slots [0, slots) begin at zero. `shape.rows` is the same for all seeds of the slice.
  virtual Status Begin(const SearchShape& shape, size_t slots) = 0;
  // Searches, or queues, these seeds; returns early, with counts that mean nothing, once `cancelled` says so.
  virtual Status Search(std::span<const Seed> seeds, const std::function<bool()>& cancelled) = 0;
  // Waits for all that is queued and adds each slot's counts into `counts`.
  virtual Status Finish(std::span<RankCounts> counts, const std::function<bool()>& cancelled) = 0;
};

class SliceRunner : public Runner, private SliceComputer {
 public:
  explicit SliceRunner(std::unique_ptr<SeedEngine> engine) : engine_(std::move(engine)) {}

  // Counts a small board and compares totals, nodes and checksum with known ones.
  Status SelfTest() override;
  Status Open(const RoundInput& round) override;
  Status Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) override;
  // The same, steered through functions.
  Status Run(Interval interval, const Steering& steering, const RunOptions& options, const SliceSink& sink);

  // The open round's table; Open must have succeeded.
  const PrefixTable& table() const { return round_->table; }

 private:
  struct OpenRound {
    PrefixTable table;
    SlicePacer pacer{1};  // In ranks. One of a large board may take minutes: begin with one.
  };

  uint64_t Size() const override { return table().size(); }
  double Work(Interval interval) const override { return static_cast<double>(interval.size()); }
  uint64_t Cut(Interval rest, double work) const override;
  Result<std::optional<Counts>> Compute(Interval slice, const Steering& steering) override;
  // Counts all of board n with DefaultDepth(n), the interior included.
  Result<Counts> CountBoard(int n);

  std::unique_ptr<SeedEngine> engine_;
  std::unique_ptr<OpenRound> round_;
  std::vector<Seed> seeds_;
  std::vector<RankCounts> rank_counts_;
};

// The payload of a slice from its ranks' unmirrored counts; nullopt on a 128-bit overflow.
std::optional<Counts> SumRanks(const PrefixTable& table, Interval slice, std::span<const RankCounts> counts);

}  // namespace potluck::nqueens
