// Sums of gradients over many samples, by several threads: what a worker's runner and the benchmarks share.
//
// The samples of a round are cut into micro-shards of fixed size (the last one may be smaller). Each is computed alone,
// by one thread; sums are added in a fixed binary tree, block [k 2^j, min((k+1) 2^j, shards)) being the sum of its two
// halves, left + right. So a block's bits depend on its samples, the parameters and the backend's numerics class, not
// on how many threads there are or which intervals were asked for.
//
// An Engine borrows its backend, which must outlive it. Not thread-safe: one call at a time; it uses the threads it
// was made with and keeps contexts and buffers between calls.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cnn/backend.h"
#include "kernels/cnn/model.h"
#include "kernels/cnn/payload.h"
#include "kernels/workload/interval.h"
#include "kernels/workload/status.h"

namespace potluck::cnn {

// The samples of a round, in its order. Thread-safe.
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  // Copies samples [first, first + count): `pixels` [count][channels][height][width], `labels` [count], and `positions`
  // [count], where each stands in the whole run (ShardInput::positions; anything where there is no dropout).
  virtual Status Gather(uint64_t first, uint32_t count, uint8_t* pixels, uint16_t* labels, uint32_t* positions) = 0;
};

// The samples of a round, and what dropout needs to know of it.
struct Batch {
  uint64_t samples = 0;
  uint64_t seed = 0;
  uint32_t step = 0;
};

// A block of micro-shards that was computed.
struct BlockSum {
  Interval shards;
  std::span<float> gradient;  // In native order; empty after Evaluate. The engine's, valid during the call.
  Tally tally;                // steps is 0.
};
using BlockSink = std::function<Status(const BlockSum&)>;

class Engine {
 public:
  // `model` is the backend's. Contexts are made when they are first needed.
  Engine(const Backend& backend, const Model& model, int threads, uint32_t micro_shard);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  uint64_t Shards(const Batch& batch) const { return (batch.samples + micro_shard_ - 1) / micro_shard_; }
  int threads() const { return threads_; }
  uint32_t micro_shard() const { return micro_shard_; }

  // The gradients of `shards`, an interval of [0, Shards(batch)), one sum a block of DyadicBlocks (dyadic.h), given to
  // `sink` in ascending order by the calling thread. `cancelled`, if there is one, is asked between micro-shards, from
  // any thread; if it says yes, the call ends with a status and the sink is not called. Fails with what the source, the
  // backend or the sink says.
  Status Gradient(const PreparedParameters& parameters, SampleSource& source, const Batch& batch, Interval shards,
                  const BlockSink& sink, const std::function<bool()>& cancelled = {});
  // Loss and hits, without dropout; otherwise the same.
  Status Evaluate(const PreparedParameters& parameters, SampleSource& source, const Batch& batch, Interval shards,
                  const BlockSink& sink, const std::function<bool()>& cancelled = {});

 private:
  class Run;
  struct Lane;  // What a thread works with.
  struct Buffers;

  Status Compute(bool gradient, const PreparedParameters& parameters, SampleSource& source, const Batch& batch,
                 Interval shards, const BlockSink& sink, const std::function<bool()>& cancelled);

  const Backend& backend_;
  const uint64_t sample_pixels_;
  const int threads_;
  const uint32_t micro_shard_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::unique_ptr<Buffers> buffers_;
};

}  // namespace potluck::cnn
