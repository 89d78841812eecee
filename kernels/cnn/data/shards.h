// A data set as shards, the pieces that workers fetch and keep (CnnData in proto/cnn.proto): samples x pixels, then
// samples x label (2 bytes, little-endian); all shards but the last have as many samples.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "kernels/cnn/data/data_set.h"
#include "kernels/cnn/payload.h"
#include "kernels/workload/status.h"

namespace potluck::cnn {

// So that a shard has about 1 MiB, at most (unless one image is larger); at most `samples`.
uint32_t SamplesAShard(const Shape& shape, uint64_t samples);
uint64_t ShardCount(uint64_t samples, uint32_t samples_a_shard);
// The bytes of shard `index`, below ShardCount.
std::string EncodeShard(const DataSet& data, uint32_t samples_a_shard, uint64_t index);
// All of a DataSpec but for the shards' digests.
DataSpec DescribeData(const DataSet& data);

// The samples of a data set whose shards come one by one, in any order. Files are mapped: they must not change, and may
// be removed. Thread-safe; Open may run beside reads of other shards.
class ShardReader {
 public:
  // `spec` as CheckSpec lets it pass.
  explicit ShardReader(const DataSpec& spec);
  ~ShardReader();
  ShardReader(const ShardReader&) = delete;
  ShardReader& operator=(const ShardReader&) = delete;

  const Shape& shape() const { return shape_; }
  uint64_t samples() const { return samples_; }
  uint64_t shards() const { return views_.size(); }
  uint64_t ShardOf(uint64_t sample) const { return sample / samples_a_shard_; }

  bool IsOpen(uint64_t shard) const { return views_[shard].load(std::memory_order_acquire) != nullptr; }
  // Takes the shard's bytes from a file. Fails with a sentence that names the shard, where its length or a label is
  // wrong. One that is open stays as it is.
  Status Open(uint64_t shard, const std::string& path);
  // The same from memory.
  Status Adopt(uint64_t shard, std::string bytes);

  // Of a sample whose shard is open.
  const uint8_t* image(uint64_t sample) const {
    return views_[sample / samples_a_shard_].load(std::memory_order_acquire) +
           sample % samples_a_shard_ * shape_.size();
  }
  uint16_t label(uint64_t sample) const;

 private:
  struct Bytes;

  uint64_t SamplesOf(uint64_t shard) const;
  Status Check(uint64_t shard, std::span<const uint8_t> bytes) const;
  Status Keep(uint64_t shard, std::unique_ptr<Bytes> bytes);

  const Shape shape_;
  const uint32_t classes_;
  const uint64_t samples_;
  const uint32_t samples_a_shard_;
  std::vector<std::atomic<const uint8_t*>> views_;  // Null: not open.
  std::mutex mutex_;
  std::vector<std::unique_ptr<Bytes>> owned_;  // Under mutex_.
};

}  // namespace potluck::cnn
