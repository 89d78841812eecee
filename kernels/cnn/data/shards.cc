#include "kernels/cnn/data/shards.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace potluck::cnn {
namespace {

constexpr uint64_t kShardBytes = 1 << 20;
constexpr uint64_t kLabelBytes = 2;

// 0 or an errno.
int ReadWhole(int fd, size_t size, std::string& out) {
  out.resize(size);
  for (size_t done = 0; done < size;) {
    const ssize_t got = pread(fd, out.data() + done, size - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return EIO;
    done += static_cast<size_t>(got);
  }
  return 0;
}

uint16_t ReadLabel(const uint8_t* label) { return static_cast<uint16_t>(label[0] | label[1] << 8); }

}  // namespace

uint32_t SamplesAShard(const Shape& shape, uint64_t samples) {
  uint64_t fitting = std::max<uint64_t>(1, kShardBytes / (shape.size() + kLabelBytes));
  if (fitting > 64) fitting -= fitting % 64;
  return static_cast<uint32_t>(std::clamp<uint64_t>(samples, 1, fitting));
}

uint64_t ShardCount(uint64_t samples, uint32_t samples_a_shard) {
  return (samples + samples_a_shard - 1) / samples_a_shard;
}

std::string EncodeShard(const DataSet& data, uint32_t samples_a_shard, uint64_t index) {
  const uint64_t first = index * samples_a_shard;
  const uint64_t count = std::min<uint64_t>(samples_a_shard, data.samples() - first);
  std::string bytes;
  bytes.reserve(count * (data.shape.size() + kLabelBytes));
  bytes.append(reinterpret_cast<const char*>(data.image(first)), count * data.shape.size());
  for (uint64_t i = first; i < first + count; ++i) {
    bytes.push_back(static_cast<char>(data.labels[i]));
    bytes.push_back(static_cast<char>(data.labels[i] >> 8));
  }
  return bytes;
}

DataSpec DescribeData(const DataSet& data) {
  return {.name = data.name,
          .shape = data.shape,
          .classes = data.classes,
          .samples = data.samples(),
          .samples_a_shard = SamplesAShard(data.shape, data.samples()),
          .shards = {}};
}

// Mapped or owned.
struct ShardReader::Bytes {
  std::string owned;
  void* mapped = nullptr;
  size_t mapped_size = 0;

  Bytes() = default;
  ~Bytes() {
    if (mapped != nullptr) munmap(mapped, mapped_size);
  }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  std::span<const uint8_t> view() const {
    if (mapped != nullptr) return {static_cast<const uint8_t*>(mapped), mapped_size};
    return {reinterpret_cast<const uint8_t*>(owned.data()), owned.size()};
  }
};

ShardReader::ShardReader(const DataSpec& spec)
    : shape_(spec.shape),
      classes_(spec.classes),
      samples_(spec.samples),
      samples_a_shard_(spec.samples_a_shard),
      views_(ShardCount(spec.samples, spec.samples_a_shard)) {}

ShardReader::~ShardReader() = default;

uint64_t ShardReader::SamplesOf(uint64_t shard) const {
  return std::min<uint64_t>(samples_a_shard_, samples_ - shard * samples_a_shard_);
}

uint16_t ShardReader::label(uint64_t sample) const {
  const uint64_t shard = sample / samples_a_shard_;
  const uint8_t* labels = views_[shard].load(std::memory_order_acquire) + SamplesOf(shard) * shape_.size();
  return ReadLabel(labels + sample % samples_a_shard_ * kLabelBytes);
}

Status ShardReader::Check(uint64_t shard, std::span<const uint8_t> bytes) const {
  const std::string name = "shard " + std::to_string(shard) + " of the data";
  const uint64_t count = SamplesOf(shard), expected = count * (shape_.size() + kLabelBytes);
  if (bytes.size() != expected) {
    return Status::Error(name + " has " + std::to_string(bytes.size()) + " bytes, expected " +
                         std::to_string(expected) + " (" + std::to_string(count) + " samples of " +
                         std::to_string(shape_.size()) + " pixels and a label of 2 bytes)");
  }
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t offset = count * shape_.size() + i * kLabelBytes;
    const uint16_t label = ReadLabel(bytes.data() + offset);
    if (label < classes_) continue;
    return Status::Error(name + ", offset " + std::to_string(offset) + ": the label of sample " +
                         std::to_string(shard * samples_a_shard_ + i) + " is " + std::to_string(label) +
                         ", expected 0 to " + std::to_string(classes_ - 1));
  }
  return {};
}

Status ShardReader::Keep(uint64_t shard, std::unique_ptr<Bytes> bytes) {
  if (Status status = Check(shard, bytes->view()); !status.ok()) return status;
  const std::lock_guard lock(mutex_);
  if (IsOpen(shard)) return {};  // Readers may hold pointers into what is there.
  views_[shard].store(bytes->view().data(), std::memory_order_release);
  owned_.push_back(std::move(bytes));
  return {};
}

Status ShardReader::Open(uint64_t shard, const std::string& path) {
  const auto fail = [&](int error) {
    return Status::Error("cannot read shard " + std::to_string(shard) + " of the data in " + path + ": " +
                         std::strerror(error));
  };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(errno);
  auto bytes = std::make_unique<Bytes>();
  struct stat info {};
  int error = fstat(fd, &info) != 0 ? errno : 0;
  if (error == 0 && info.st_size > 0) {
    bytes->mapped_size = static_cast<size_t>(info.st_size);
    void* mapped = mmap(nullptr, bytes->mapped_size, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) {
      error = ReadWhole(fd, bytes->mapped_size, bytes->owned);  // Not every file system can map.
    } else {
      bytes->mapped = mapped;
    }
  }
  close(fd);
  if (error != 0) return fail(error);
  return Keep(shard, std::move(bytes));
}

Status ShardReader::Adopt(uint64_t shard, std::string bytes) {
  auto owned = std::make_unique<Bytes>();
  owned->owned = std::move(bytes);
  return Keep(shard, std::move(owned));
}

}  // namespace potluck::cnn
