// Who computes a network's layers: the plain loops (reference/), oneDNN on the CPU (onednn/), later the GPU.
//
// A backend is for one model and one precision. It chooses the order in which parameters lie in memory while it
// computes
// ("native"); gradients come in the same order, so that sums and optimizer steps, which look at each number by itself,
// need no reordering. Parameters are always 32-bit floats between steps, whatever precision the layers compute in.
//
// Same bits: a context computes a micro-shard alone, on one thread. Two contexts of backends with equal numerics_class
// give equal bytes for equal inputs, whatever else runs, in whatever order.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kernels/cnn/model.h"
#include "kernels/workload/status.h"

namespace potluck::cnn {

enum class Precision { kFp32, kBf16, kFp16 };

// Some samples, to be computed together. Borrowed for the call.
struct ShardInput {
  uint32_t samples = 0;
  const uint8_t* pixels = nullptr;   // [samples][channels][height][width]; a pixel is its value / 255.
  const uint16_t* labels = nullptr;  // [samples]; null where only logits are wanted.
  // For dropout (random.h):
  const uint32_t* positions = nullptr;  // [samples]
  uint64_t seed = 0;
  uint32_t step = 0;
};

struct ShardTally {
  double loss_sum = 0;  // Cross-entropy of softmax, summed over the samples in their order, in double.
  uint32_t hits = 0;    // Samples whose greatest logit (the first of equal ones) is their label's.
};

// Parameters made ready to be computed with, once a step; shared by contexts, immutable. Borrows the native floats it
// was made from: they must outlive it, unchanged.
class PreparedParameters {
 public:
  virtual ~PreparedParameters() = default;
};

// How a sentence ends that says of a parameter, a logit or a gradient that it is not a finite number: then a worker
// reports a training that diverged rather than a failure of its own.
inline constexpr std::string_view kDivergedEnding = "training has diverged, or the parameters are damaged.";
inline bool SaysDiverged(const Status& status) { return status.message().ends_with(kDivergedEnding); }

// Activations and scratch of one thread. Not thread-safe.
class Context {
 public:
  virtual ~Context() = default;
  // Forward with dropout, loss, backward. `gradient` (native_size floats, overwritten; padding set to 0) is the sum of
  // the samples' gradients of their losses, not their mean.
  virtual Status ForwardBackward(const PreparedParameters& parameters, const ShardInput& input,
                                 std::span<float> gradient, ShardTally& tally) = 0;
  // Forward without dropout. `logits`: [samples][classes], may be empty; the tally is filled if there are labels.
  virtual Status Forward(const PreparedParameters& parameters, const ShardInput& input, std::span<float> logits,
                         ShardTally& tally) = 0;
};

// Thread-safe; outlives its contexts and what it prepared.
class Backend {
 public:
  virtual ~Backend() = default;
  // What has to be equal for equal bits: implementation, its version, instruction set and whatever else its way of
  // summing depends on, precision.
  virtual std::string numerics_class() const = 0;
  // Floats in native order, padding included; at least parameter_count.
  virtual uint64_t native_size() const = 0;
  // Between the order of model.h (parameter_count floats) and native order. ToNative sets padding to 0.
  virtual void ToNative(std::span<const float> parameters, std::span<float> native) const = 0;
  virtual void FromNative(std::span<const float> native, std::span<float> parameters) const = 0;
  virtual Result<std::unique_ptr<PreparedParameters>> Prepare(std::span<const float> native) const = 0;
  // For shards of at most `max_samples`. May use different code for the largest and for smaller ones.
  virtual Result<std::unique_ptr<Context>> NewContext(uint32_t max_samples) const = 0;
};

// The plain loops, in 32 bits: slow, everywhere, and the truth that others are held against.
Result<std::unique_ptr<Backend>> MakeReferenceBackend(const Model& model);

// The best one for this machine's CPU: oneDNN if `onednn_plugin` (the path of libpotluck_onednn.so) can be loaded,
// else, or if the path is empty, the plain loops; `note` then says why, in one sentence. Fails if the precision cannot
// be had: bf16 needs oneDNN and a processor that has it.
Result<std::unique_ptr<Backend>> MakeCpuBackend(const Model& model, Precision precision,
                                                const std::string& onednn_plugin, std::string* note);

// What a CPU device would say of itself before any model is known: the part of numerics_class that models and precision
// do not change ("reference" or "onednn-3.2.0/avx512_core_bf16/l2-1024K").
std::string CpuBackendClass(const std::string& onednn_plugin);

}  // namespace potluck::cnn
