#include "kernels/cnn/engine.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "kernels/cnn/dyadic.h"
#include "kernels/workload/parallel.h"

namespace potluck::cnn {
namespace {

// Floats that a thread adds at a time when all of them add two sums together.
constexpr uint64_t kRange = uint64_t{1} << 14;

struct FreeFloats {
  void operator()(float* data) const { std::free(data); }
};
using Floats = std::unique_ptr<float[], FreeFloats>;

Floats NewFloats(uint64_t count) {
  void* const data = std::aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
  if (data == nullptr) std::abort();  // As operator new does without a handler: nothing can go on.
  return Floats(static_cast<float*>(data));
}

// a += b.
void Add(float* a, const float* b, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) a[i] += b[i];
}

bool AllFinite(const float* values, uint64_t count) {
  int found = 0;
  for (uint64_t i = 0; i < count; ++i) found |= std::fabs(values[i]) <= std::numeric_limits<float>::max() ? 0 : 1;
  return found == 0;
}

// The end of the block of 2^level shards that begins at `begin`.
uint64_t BlockEnd(uint64_t begin, int level, uint64_t size) { return std::min(begin + (uint64_t{1} << level), size); }

}  // namespace

struct Engine::Lane {
  std::unique_ptr<Context> context;
  std::vector<uint8_t> pixels;
  std::vector<uint16_t> labels;
  std::vector<uint32_t> positions;
};

// Gradients of the size of the parameters, kept for the next call.
struct Engine::Buffers {
  std::mutex mutex;
  std::vector<Floats> free;
  uint64_t size = 0;

  Floats Take() {
    const std::lock_guard<std::mutex> lock(mutex);
    if (free.empty()) return NewFloats(size);
    Floats taken = std::move(free.back());
    free.pop_back();
    return taken;
  }
  void Give(Floats buffer) {
    if (buffer == nullptr) return;
    const std::lock_guard<std::mutex> lock(mutex);
    free.push_back(std::move(buffer));
  }
};

// One call: threads take shards in order; whoever finishes the second half of a block adds it to the first. What is
// left to add once no shard is left to take is added by all threads together, each its range.
class Engine::Run {
 public:
  Run(Engine& engine, bool gradient, const PreparedParameters& parameters, SampleSource& source, const Batch& batch,
      Interval shards, const std::function<bool()>& cancelled)
      : engine_(engine),
        gradient_(gradient),
        parameters_(parameters),
        source_(source),
        batch_(batch),
        shards_(shards),
        cancelled_(cancelled),
        size_(engine.Shards(batch)),
        next_(shards.begin) {}

  ~Run() {
    for (auto& [begin, sum] : sums_) engine_.buffers_->Give(std::move(sum.gradient));
  }

  Status Compute() {
    RunOnThreads(engine_.threads_, [this](int thread) { Work(*engine_.lanes_[static_cast<size_t>(thread)]); });
    if (failed_) return status_;
    AddTheRest();
    return {};
  }

  Status Report(const BlockSink& sink) {
    for (auto& [begin, sum] : sums_) {
      const uint64_t count = gradient_ ? engine_.backend_.native_size() : 0;
      if (gradient_ && !IsFinite(sum.gradient.get(), count)) {
        return Status::Error("The gradient of micro-shards " + ToString(sum.shards) +
                             " is not finite: training has diverged, or the parameters are damaged.");
      }
      Status status = sink({sum.shards, {sum.gradient.get(), count}, sum.tally});
      if (!status.ok()) return status;
    }
    return {};
  }

 private:
  struct Sum {
    Interval shards;
    Floats gradient;
    Tally tally;
  };

  void Fail(Status status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!failed_) status_ = std::move(status);
    failed_ = true;
  }

  void Work(Lane& lane) {
    while (!failed_) {
      const uint64_t shard = next_.fetch_add(1);
      if (shard >= shards_.end) return;
      if (cancelled_ && cancelled_()) return Fail(Status::Error("The computation was cancelled."));
      Sum sum{{shard, shard + 1}, gradient_ ? engine_.buffers_->Take() : nullptr, {}};
      Status status = ComputeShard(lane, shard, sum);
      if (!status.ok()) {
        engine_.buffers_->Give(std::move(sum.gradient));
        return Fail(std::move(status));
      }
      Hold(std::move(sum));
    }
  }

  Status ComputeShard(Lane& lane, uint64_t shard, Sum& sum) {
    const uint64_t first = shard * engine_.micro_shard_;
    const auto count = static_cast<uint32_t>(std::min<uint64_t>(engine_.micro_shard_, batch_.samples - first));
    if (lane.context == nullptr) {
      Result<std::unique_ptr<Context>> context = engine_.backend_.NewContext(engine_.micro_shard_);
      if (!context.ok()) return context.status();
      lane.context = std::move(context).value();
      lane.pixels.resize(engine_.micro_shard_ * engine_.sample_pixels_);
      lane.labels.resize(engine_.micro_shard_);
      lane.positions.resize(engine_.micro_shard_);
    }
    Status status = source_.Gather(first, count, lane.pixels.data(), lane.labels.data(), lane.positions.data());
    if (!status.ok()) return status;
    const ShardInput input{.samples = count,
                           .pixels = lane.pixels.data(),
                           .labels = lane.labels.data(),
                           .positions = lane.positions.data(),
                           .seed = batch_.seed,
                           .step = batch_.step};
    ShardTally tally;
    status = gradient_ ? lane.context->ForwardBackward(parameters_, input,
                                                       {sum.gradient.get(), engine_.backend_.native_size()}, tally)
                       : lane.context->Forward(parameters_, input, {}, tally);
    if (!status.ok()) return status;
    sum.tally = {.loss_sum = tally.loss_sum, .samples = count, .hits = tally.hits, .steps = 0};
    return {};
  }

  // The other half of the block that `shards` is one half of; empty if that block is not wanted whole.
  Interval SiblingOf(Interval shards) const {
    int level = 0;
    while ((uint64_t{1} << level) < shards.size()) ++level;
    for (++level;; ++level) {
      const uint64_t begin = shards.begin >> level << level, end = BlockEnd(begin, level, size_);
      if (begin < shards_.begin || end > shards_.end || level > 62) return {};
      if (begin < shards.begin) return {begin, shards.begin};
      if (end > shards.end) return {shards.end, end};
      if (begin == 0 && end == size_) return {};
      // At the end of the index space a block may have one half only, which then is the block.
    }
  }

  // Keeps a sum, or adds it to its sibling, and that to its own, while there are shards left for others to work on.
  void Hold(Sum sum) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (next_.load() < shards_.end) {
      const auto it = SiblingAmongSums(sum.shards);
      if (it == sums_.end()) break;
      Sum other = std::move(it->second);
      sums_.erase(it);
      lock.unlock();
      if (other.shards.begin < sum.shards.begin) std::swap(sum, other);
      if (gradient_) Add(sum.gradient.get(), other.gradient.get(), engine_.backend_.native_size());
      Join(sum, std::move(other));
      lock.lock();
    }
    const uint64_t begin = sum.shards.begin;
    sums_.emplace(begin, std::move(sum));
  }

  std::map<uint64_t, Sum>::iterator SiblingAmongSums(Interval shards) {
    const Interval sibling = SiblingOf(shards);
    if (sibling.empty()) return sums_.end();
    const auto it = sums_.find(sibling.begin);
    return it != sums_.end() && it->second.shards == sibling ? it : sums_.end();
  }

  // The sums' bounds and tallies; the gradients are added already.
  void Join(Sum& left, Sum right) {
    left.shards.end = right.shards.end;
    left.tally.Add(right.tally);
    engine_.buffers_->Give(std::move(right.gradient));
  }

  template <typename Function>
  void ForRanges(uint64_t count, const Function& function) {
    std::atomic<uint64_t> next{0};
    RunOnThreads(engine_.threads_, [&](int) {
      for (uint64_t begin; (begin = next.fetch_add(kRange)) < count;) function(begin, std::min(kRange, count - begin));
    });
  }

  void AddTheRest() {
    for (auto left = sums_.begin(); left != sums_.end();) {
      const auto right = SiblingAmongSums(left->second.shards);
      if (right == sums_.end() || right->first < left->first) {
        ++left;
        continue;
      }
      if (gradient_) {
        float* const a = left->second.gradient.get();
        const float* const b = right->second.gradient.get();
        ForRanges(engine_.backend_.native_size(),
                  [&](uint64_t begin, uint64_t count) { Add(a + begin, b + begin, count); });
      }
      Join(left->second, std::move(right->second));
      sums_.erase(right);
      left = sums_.begin();  // The joined block may have a sibling before it.
    }
  }

  bool IsFinite(const float* values, uint64_t count) {
    std::atomic<bool> finite{true};
    ForRanges(count, [&](uint64_t begin, uint64_t range) {
      if (!AllFinite(values + begin, range)) finite = false;
    });
    return finite;
  }

  Engine& engine_;
  const bool gradient_;
  const PreparedParameters& parameters_;
  SampleSource& source_;
  const Batch& batch_;
  const Interval shards_;
  const std::function<bool()>& cancelled_;
  const uint64_t size_;
  std::atomic<uint64_t> next_;
  std::mutex mutex_;
  std::atomic<bool> failed_{false};
  Status status_;
  std::map<uint64_t, Sum> sums_;  // By their begin; disjoint.
};

Engine::Engine(const Backend& backend, const Model& model, int threads, uint32_t micro_shard)
    : backend_(backend),
      sample_pixels_(model.spec.input.size()),
      threads_(std::max(threads, 1)),
      micro_shard_(std::max(micro_shard, 1u)),
      buffers_(std::make_unique<Buffers>()) {
  buffers_->size = backend.native_size();
  for (int i = 0; i < threads_; ++i) lanes_.push_back(std::make_unique<Lane>());
}

Engine::~Engine() = default;

Status Engine::Gradient(const PreparedParameters& parameters, SampleSource& source, const Batch& batch, Interval shards,
                        const BlockSink& sink, const std::function<bool()>& cancelled) {
  return Compute(true, parameters, source, batch, shards, sink, cancelled);
}

Status Engine::Evaluate(const PreparedParameters& parameters, SampleSource& source, const Batch& batch, Interval shards,
                        const BlockSink& sink, const std::function<bool()>& cancelled) {
  return Compute(false, parameters, source, batch, shards, sink, cancelled);
}

Status Engine::Compute(bool gradient, const PreparedParameters& parameters, SampleSource& source, const Batch& batch,
                       Interval shards, const BlockSink& sink, const std::function<bool()>& cancelled) {
  if (shards.end > Shards(batch) || shards.empty()) {
    return Status::Error("The micro-shards are " + ToString(shards) + "; allowed: some of [0, " +
                         std::to_string(Shards(batch)) + ").");
  }
  Run run(*this, gradient, parameters, source, batch, shards, cancelled);
  Status status = run.Compute();
  return status.ok() ? run.Report(sink) : status;
}

}  // namespace potluck::cnn
