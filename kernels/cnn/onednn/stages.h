// A network cut into stages: each is one layer, or several that are computed together (convolution, ReLU, pool and
// dropout). Stages are immutable and shared by contexts; what a context keeps of a stage is in a StageState.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <span>
#include <vector>

#include "kernels/cnn/backend.h"
#include "kernels/cnn/model.h"
#include "kernels/cnn/onednn/vector_kernels.h"

namespace potluck::cnn {

// Floats (or bytes) on a cache line's boundary, not initialised.
template <typename T>
class Aligned {
 public:
  Aligned() = default;
  explicit Aligned(size_t count)
      : data_(static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 63) / 64 * 64))), count_(count) {
    if (data_ == nullptr) std::abort();  // As operator new does without a handler: nothing can go on.
  }
  T* get() const { return data_.get(); }
  size_t size() const { return count_; }

 private:
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T[], Free> data_;
  size_t count_ = 0;
};

// What lies between two stages, for one sample: blocked as in vector_kernels.h, or plain (an image as it comes, its end
// padded with zeros).
struct Boundary {
  Shape shape;
  bool plain = false;
  size_t floats = 0;  // Padded.
  size_t stride = 0;  // From sample to sample: rows of a dense layer's input must not all fall into one cache set.
};

// Where values (or gradients) of a boundary are.
struct Rows {
  float* data = nullptr;
  size_t stride = 0;
  float* at(size_t sample) const { return data + sample * stride; }
};

// One call.
struct Pass {
  uint32_t samples = 0;
  bool training = false;
  const ShardInput* input = nullptr;
};

class StageWeights {
 public:
  virtual ~StageWeights() = default;
};

class StageState {
 public:
  virtual ~StageState() = default;
};

class Stage {
 public:
  virtual ~Stage() = default;
  const Boundary& output() const { return output_; }
  // Whether output and input are the same memory.
  virtual bool in_place() const { return false; }

  // Parameters in native order: floats they take (a multiple of 16), and where they are.
  virtual size_t native_floats() const { return 0; }
  void set_offset(size_t offset) { offset_ = offset; }
  virtual void ToNative(const float* /*model*/, float* /*native*/) const {}
  virtual void FromNative(const float* /*native*/, float* /*model*/) const {}
  // Whether parameters are finite where a ReLU could hide that they are not; what dense layers have shows in the loss.
  virtual bool HasFiniteParameters(const float* /*native*/) const { return true; }
  virtual std::unique_ptr<StageWeights> Prepare(const float* /*native*/) const { return nullptr; }

  virtual std::unique_ptr<StageState> NewState(uint32_t /*max_samples*/) const { return nullptr; }
  virtual void Forward(const Pass& pass, const float* native, const StageWeights* weights, StageState* state,
                       Rows input, Rows output) const = 0;
  // `dinput.data` is null where nobody wants it. `gradient`, in native order, is that of the whole network.
  virtual void Backward(const Pass& pass, const float* native, const StageWeights* weights, StageState* state,
                        Rows input, Rows output, Rows doutput, Rows dinput, float* gradient) const = 0;

 protected:
  Boundary output_;
  size_t offset_ = 0;
};

struct Network {
  Boundary input;
  std::vector<std::unique_ptr<Stage>> stages;
  size_t native_size = 0;
  uint32_t padded_classes = 0;
};

// May throw dnnl::error.
Network BuildNetwork(const Model& model, const VectorKernels& kernels, const DenseKernels& dense,
                     const dnnl::engine& engine);

}  // namespace potluck::cnn
