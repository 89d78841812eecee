// A whole network in plain loops: in floats as a backend, in doubles to check gradients against differences.
//
// Layers before the flattening go sample by sample, so that a sample's activations stay in the cache; dense layers take
// all samples at once, so that their weights are read once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cnn/backend.h"
#include "kernels/cnn/model.h"
#include "kernels/cnn/reference/gemm.h"
#include "kernels/cnn/reference/layers.h"

namespace potluck::cnn::reference {

// Parameters with each dense layer's weights transposed, too. Borrows the parameters; immutable, shared by networks.
template <typename T>
class Prepared {
 public:
  Prepared(const Model& model, std::span<const T> parameters);
  const T* parameters() const { return parameters_.data(); }
  const T* transposed(size_t layer) const { return transposed_[layer].data(); }

 private:
  std::span<const T> parameters_;
  std::vector<std::vector<T>> transposed_;
};

// Not thread-safe. `model` must outlive it.
template <typename T>
class Network {
 public:
  Network(const Model& model, uint32_t max_samples, GemmFunction<T> gemm);

  // As Context in backend.h.
  Status ForwardBackward(const Prepared<T>& prepared, const ShardInput& input, std::span<T> gradient,
                         ShardTally& tally);
  Status Forward(const Prepared<T>& prepared, const ShardInput& input, std::span<T> logits, ShardTally& tally);

 private:
  struct Place {
    Window window;                   // Dense layers and the like: the shapes alone.
    std::vector<T> out;              // [samples][outputs]; empty: those of the layer before (see `source`).
    std::vector<T> gradient;         // Of `out`: [samples][outputs] from the flattening on, before it of one sample.
    std::vector<uint32_t> places;    // kMaxPool: [samples][outputs]
    std::vector<uint8_t> kept;       // kDropout: [samples][outputs]
    bool is_flat = false;            // From the flattening on.
    bool wants_in_gradient = false;  // Some layer before has parameters.
  };

  Status Check(const ShardInput& input) const;
  void ReadPixels(const ShardInput& input);
  void RunForward(const Prepared<T>& prepared, const ShardInput& input, bool is_training);
  void RunBackward(const Prepared<T>& prepared, uint32_t samples, T* gradient);
  void ForwardLayer(size_t layer, const Prepared<T>& prepared, const ShardInput& input, bool is_training,
                    uint32_t first, uint32_t count);
  void BackwardLayer(size_t layer, const Prepared<T>& prepared, uint32_t first, uint32_t count, T* gradient);
  void ForwardConv(size_t layer, const T* weights, const T* in, T* out);
  void BackwardConv(size_t layer, const T* weights, const T* in, const T* out_gradient, T* in_gradient, T* gradient);
  void ForwardDense(size_t layer, const Prepared<T>& prepared, uint32_t count);
  void BackwardDense(size_t layer, const Prepared<T>& prepared, uint32_t count, T* gradient);
  const T* Weights(size_t layer, const T* parameters) const;
  // Outputs of layer - 1 (the image for layer 0) and their gradients, of sample `sample`.
  T* In(size_t layer, uint32_t sample);
  T* InGradient(size_t layer, uint32_t sample);
  T* OutGradient(size_t layer, uint32_t sample);

  const Model& model_;
  const uint32_t max_samples_;
  const GemmFunction<T> gemm_;
  size_t flat_ = 0;  // The flatten layer.
  std::vector<T> image_;
  std::vector<Place> places_;
  std::vector<uint32_t> words_;
  std::vector<T> columns_, out_transposed_, sums_;
};

extern template class Prepared<float>;
extern template class Prepared<double>;
extern template class Network<float>;
extern template class Network<double>;

}  // namespace potluck::cnn::reference
