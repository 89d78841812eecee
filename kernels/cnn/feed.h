// Where a runner's samples come from: shards that it fetches when they are first needed, read in the order of training.
//
// Thread-safe, but for what opens rounds.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/cnn/data/shards.h"
#include "kernels/cnn/engine.h"
#include "kernels/cnn/payload.h"
#include "kernels/workload/runner.h"

namespace potluck::cnn {

// One data set. `blobs` must outlive it.
class Feed {
 public:
  // Asks for all shards, in their order.
  Feed(const DataSpec& spec, BlobSource& blobs);

  const DataSpec& spec() const { return spec_; }
  const ShardReader& reader() const { return reader_; }
  // Opens the shard of a sample. Blocks while it is fetched, and fails when that does or a shard is not what it says.
  Status Need(uint64_t sample) { return reader_.IsOpen(reader_.ShardOf(sample)) ? Status() : OpenShardOf(sample); }

 private:
  Status OpenShardOf(uint64_t sample);

  const DataSpec spec_;
  BlobSource& blobs_;
  ShardReader reader_;
  std::mutex mutex_;  // One fetches at a time.
};

// An epoch's samples in the order of training.
struct EpochSamples {
  uint64_t seed = 0;
  uint64_t epoch = 0;
  std::vector<uint32_t> order;
};

// Samples of training: those at positions from `begin` on, all of one epoch. Borrows all but numbers.
class TrainingSource final : public SampleSource {
 public:
  TrainingSource(Feed& feed, const EpochSamples& samples, uint32_t shift, uint64_t begin)
      : feed_(feed), samples_(samples), shift_(shift), begin_(begin) {}
  // Fetches what samples [begin, end) lack, so that it does not happen while they are computed.
  Status Prepare(Interval samples);
  Status Gather(uint64_t first, uint32_t count, uint8_t* pixels, uint16_t* labels, uint32_t* positions) override;

 private:
  uint32_t SampleAt(uint64_t position) const { return samples_.order[position % samples_.order.size()]; }

  Feed& feed_;
  const EpochSamples& samples_;
  const uint32_t shift_;
  const uint64_t begin_;
};

// A data set from its first sample on.
class EvaluationSource final : public SampleSource {
 public:
  explicit EvaluationSource(Feed& feed) : feed_(feed) {}
  Status Prepare(Interval samples);
  Status Gather(uint64_t first, uint32_t count, uint8_t* pixels, uint16_t* labels, uint32_t* positions) override;

 private:
  Feed& feed_;
};

}  // namespace potluck::cnn
