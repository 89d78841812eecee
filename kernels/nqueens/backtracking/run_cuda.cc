#include "kernels/nqueens/backtracking/run_cuda_host.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "kernels/cuda/cubins.h"
#include "kernels/cuda/driver.h"
#include "kernels/nqueens/backtracking/run_cuda.h"
#include "kernels/nqueens/backtracking/slice_runner.h"

namespace potluck::nqueens {
namespace {

constexpr size_t kFirstBatch = size_t{1} << 15;
constexpr size_t kMinBatch = size_t{1} << 12;
constexpr size_t kMaxBatch = size_t{1} << 21;
constexpr double kBatchSeconds = 0.25;
constexpr size_t kGrowth = 4;

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// What one launch needs; reused by every second launch.
struct Batch {
  explicit Batch(const cuda::Driver& driver) : stream(driver), seeds(driver), next(driver), staging(driver) {}
  cuda::Stream stream;
  cuda::DeviceBuffer seeds;
  cuda::DeviceBuffer next;
  cuda::PinnedBuffer staging;
  size_t in_flight = 0;  // Seeds of the launch that is not waited for yet.
};

class CudaEngine final : public SeedEngine {
 public:
  CudaEngine(const cuda::Driver& driver, cuda::Context context)
      : driver_(driver),
        context_(std::move(context)),
        module_(driver),
        counts_(driver),
        batches_{Batch(driver), Batch(driver)} {}
  // Buffers are freed in this context, after the GPU has let go of them.
  ~CudaEngine() override {
    (void)context_.Use();
    (void)WaitForAll();
  }

  Status Create(const void* image);

  int MaxRows() const override { return kGpuMaxRows; }
  size_t BatchSeeds() const override { return batch_seeds_; }
  Status Begin(const SearchShape& shape, size_t slots) override;
  Status Search(std::span<const Seed> seeds, const std::function<bool()>& cancelled) override;
  Status Finish(std::span<RankCounts> counts, const std::function<bool()>& cancelled) override;

 private:
  Status Wait(Batch& batch);
  Status WaitForAll();
  Status Launch(Batch& batch, size_t seeds);
  unsigned StackBytes() const;
  void Adapt(size_t seeds);

  const cuda::Driver& driver_;
  cuda::Context context_;
  cuda::Module module_;
  CUfunction search_32_ = nullptr;
  CUfunction search_64_ = nullptr;
  int multiprocessors_ = 0;

  cuda::DeviceBuffer counts_;  // Two 64-bit words a slot.
  Batch batches_[2];
  int turn_ = 0;

  SearchShape shape_{};
  CUfunction search_ = nullptr;
  unsigned max_blocks_ = 0;
  size_t batch_seeds_ = kFirstBatch;
  double last_completion_ = 0;  // 0: nothing was in flight before.
};

Status CudaEngine::Create(const void* image) {
  if (Status status = context_.Use(); !status.ok()) return status;
  if (Status status = module_.Load(image); !status.ok()) return status;
  if (Status status = module_.Function("potluck_nqueens_search_32", search_32_); !status.ok()) return status;
  if (Status status = module_.Function("potluck_nqueens_search_64", search_64_); !status.ok()) return status;
  POTLUCK_CUDA_TRY(driver_, cuDeviceGetAttribute, &multiprocessors_, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
                   context_.device());
  for (Batch& batch : batches_) {
    if (Status status = batch.stream.Create(); !status.ok()) return status;
    if (Status status = batch.next.Reserve(sizeof(uint32_t)); !status.ok()) return status;
  }
  return Status();
}

unsigned CudaEngine::StackBytes() const {
  const int words = UndoLane<uint32_t, uint32_t>::StackWords(shape_.rows) * kThreadsPerBlock;
  return static_cast<unsigned>(words) * static_cast<unsigned>(sizeof(uint32_t));
}

Status CudaEngine::Begin(const SearchShape& shape, size_t slots) {
  if (Status status = context_.Use(); !status.ok()) return status;
  // A cancelled slice may have left launches behind.
  if (Status status = WaitForAll(); !status.ok()) return status;
  shape_ = shape;
  const int n = __builtin_popcount(shape.full);
  search_ = UndoLane<uint32_t, uint32_t>::Serves(n, shape.rows) ? search_32_ : search_64_;
  int blocks = 0;
  POTLUCK_CUDA_TRY(driver_, cuOccupancyMaxActiveBlocksPerMultiprocessor, &blocks, search_, kThreadsPerBlock,
                   StackBytes());
  if (blocks < 1) return Status::Error("The search kernel does not fit this GPU's multiprocessors.");
  max_blocks_ = static_cast<unsigned>(blocks) * static_cast<unsigned>(multiprocessors_);
  if (Status status = counts_.Reserve(slots * sizeof(RankCounts)); !status.ok()) return status;
  POTLUCK_CUDA_TRY(driver_, cuMemsetD32Async, counts_.get(), 0, slots * sizeof(RankCounts) / sizeof(uint32_t),
                   batches_[0].stream.get());
  last_completion_ = 0;
  return batches_[0].stream.Synchronize();
}

Status CudaEngine::Search(std::span<const Seed> seeds, const std::function<bool()>&) {
  Batch& batch = batches_[turn_];
  turn_ ^= 1;
  if (Status status = Wait(batch); !status.ok()) return status;
  if (Status status = batch.staging.Reserve(seeds.size_bytes()); !status.ok()) return status;
  if (Status status = batch.seeds.Reserve(seeds.size_bytes()); !status.ok()) return status;
  std::memcpy(batch.staging.get(), seeds.data(), seeds.size_bytes());
  return Launch(batch, seeds.size());
}

Status CudaEngine::Launch(Batch& batch, size_t seeds) {
  const CUstream stream = batch.stream.get();
  POTLUCK_CUDA_TRY(driver_, cuMemcpyHtoDAsync, batch.seeds.get(), batch.staging.get(), seeds * sizeof(Seed), stream);
  POTLUCK_CUDA_TRY(driver_, cuMemsetD32Async, batch.next.get(), 0, 1, stream);
  CUdeviceptr seeds_at = batch.seeds.get();
  uint32_t count = static_cast<uint32_t>(seeds);
  CUdeviceptr next_at = batch.next.get();
  CUdeviceptr counts_at = counts_.get();
  void* arguments[] = {&seeds_at, &count, &next_at, &shape_, &counts_at};
  const unsigned wanted = static_cast<unsigned>((seeds + kThreadsPerBlock - 1) / kThreadsPerBlock);
  if (last_completion_ == 0) last_completion_ = Seconds();
  POTLUCK_CUDA_TRY(driver_, cuLaunchKernel, search_, std::min(wanted, max_blocks_), 1, 1, kThreadsPerBlock, 1, 1,
                   StackBytes(), stream, arguments, nullptr);
  batch.in_flight = seeds;
  return Status();
}

Status CudaEngine::Wait(Batch& batch) {
  if (batch.in_flight == 0) return Status();
  const size_t seeds = std::exchange(batch.in_flight, 0);
  if (Status status = batch.stream.Synchronize(); !status.ok()) return status;
  Adapt(seeds);
  return Status();
}

Status CudaEngine::WaitForAll() {
  for (int i = 0; i < 2; ++i) {
    // The older launch first.
    if (Status status = Wait(batches_[turn_ ^ i]); !status.ok()) return status;
  }
  return Status();
}

void CudaEngine::Adapt(size_t seeds) {
  const double now = Seconds();
  const double seconds = std::max(now - last_completion_, 1e-6);
  last_completion_ = now;
  // A small last batch says nothing about how many seeds a full one should have.
  if (seeds < batch_seeds_ / 2 && seconds < kBatchSeconds) return;
  const double wanted = std::min(static_cast<double>(seeds) * kBatchSeconds / seconds, static_cast<double>(kMaxBatch));
  batch_seeds_ = std::clamp(static_cast<size_t>(wanted), kMinBatch, std::min(batch_seeds_ * kGrowth, kMaxBatch));
}

Status CudaEngine::Finish(std::span<RankCounts> counts, const std::function<bool()>&) {
  if (Status status = WaitForAll(); !status.ok()) return status;
  std::vector<RankCounts> found(counts.size());
  POTLUCK_CUDA_TRY(driver_, cuMemcpyDtoH, found.data(), counts_.get(), found.size() * sizeof(RankCounts));
  for (size_t slot = 0; slot < counts.size(); ++slot) {
    counts[slot].solutions += found[slot].solutions;
    counts[slot].nodes += found[slot].nodes;
  }
  return Status();
}

}  // namespace

Result<std::unique_ptr<SliceRunner>> MakeCudaRunner(int device_index) {
  const Result<const cuda::Driver*> driver = cuda::Driver::Get();
  if (!driver.ok()) return driver.status();
  Result<cuda::Context> context = cuda::Context::Create(**driver, device_index);
  if (!context.ok()) return context.status();
  int major = 0;
  int minor = 0;
  POTLUCK_CUDA_TRY(**driver, cuDeviceGetAttribute, &major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                   context->device());
  POTLUCK_CUDA_TRY(**driver, cuDeviceGetAttribute, &minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                   context->device());
  const cuda::Cubin* const cubin = cuda::FindCubin("nqueens", major, minor);
  if (cubin == nullptr) return cuda::NoCubin("nqueens", major, minor);
  auto engine = std::make_unique<CudaEngine>(**driver, std::move(*context));
  if (Status status = engine->Create(cubin->image); !status.ok()) return status;
  return std::make_unique<SliceRunner>(std::move(engine));
}

}  // namespace potluck::nqueens
