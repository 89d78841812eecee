#include "kernels/cnn/feed.h"

#include <cstring>

#include "kernels/cnn/data/order.h"

namespace potluck::cnn {

Feed::Feed(const DataSpec& spec, BlobSource& blobs) : spec_(spec), blobs_(blobs), reader_(spec_) {
  blobs_.Prefetch(spec_.shards);
}

Status Feed::OpenShardOf(uint64_t sample) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t shard = reader_.ShardOf(sample);
  if (reader_.IsOpen(shard)) return {};
  const Result<std::string> path = blobs_.Fetch(spec_.shards[shard]);
  return path.ok() ? reader_.Open(shard, *path) : path.status();
}

Status TrainingSource::Prepare(Interval samples) {
  for (uint64_t i = samples.begin; i < samples.end; ++i) {
    if (Status status = feed_.Need(SampleAt(begin_ + i)); !status.ok()) return status;
  }
  return {};
}

Status TrainingSource::Gather(uint64_t first, uint32_t count, uint8_t* pixels, uint16_t* labels, uint32_t* positions) {
  const Shape& shape = feed_.reader().shape();
  for (uint32_t i = 0; i < count; ++i, pixels += shape.size()) {
    const uint64_t position = begin_ + first + i;
    const uint32_t sample = SampleAt(position);
    if (Status status = feed_.Need(sample); !status.ok()) return status;
    labels[i] = feed_.reader().label(sample);
    positions[i] = static_cast<uint32_t>(position);
    const uint8_t* image = feed_.reader().image(sample);
    if (shift_ == 0) {
      std::memcpy(pixels, image, shape.size());
    } else {
      ShiftImage(shape, image, ShiftOf(samples_.seed, positions[i], shift_), pixels);
    }
  }
  return {};
}

Status EvaluationSource::Prepare(Interval samples) {
  for (uint64_t i = samples.begin; i < samples.end; ++i) {
    if (Status status = feed_.Need(i); !status.ok()) return status;
  }
  return {};
}

Status EvaluationSource::Gather(uint64_t first, uint32_t count, uint8_t* pixels, uint16_t* labels,
                                uint32_t* positions) {
  const uint64_t size = feed_.reader().shape().size();
  for (uint32_t i = 0; i < count; ++i) {
    if (Status status = feed_.Need(first + i); !status.ok()) return status;
    std::memcpy(pixels + i * size, feed_.reader().image(first + i), size);
    labels[i] = feed_.reader().label(first + i);
    positions[i] = static_cast<uint32_t>(first + i);
  }
  return {};
}

}  // namespace potluck::cnn
