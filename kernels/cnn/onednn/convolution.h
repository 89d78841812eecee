// A convolution by oneDNN, forward and backward, on one thread: those that vector_kernels.h does not do itself.
//
// A Convolution is immutable and thread-safe; its primitives, one set for each number of samples, are made by the
// context that runs them. Images come as plain [channels][height][width]; what lies between layers is blocked as in
// vector_kernels.h.
#pragma once

#include <cstdint>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "kernels/cnn/model.h"

namespace potluck::cnn {

struct ConvolutionShape {
  Shape input, output;
  uint32_t kernel = 0, stride = 0, padding = 0;
  bool relu = false;
  bool plain_input = false;  // Else blocked.
  bool wants_input_gradient = false;
};

// oneDNN's calls decide by the calling thread how many threads they use: one, while this lives.
class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

// May throw dnnl::error, as all of these.
class Convolution {
 public:
  Convolution(const ConvolutionShape& shape, uint32_t lanes, const dnnl::engine& engine);

  // Weights in the layouts that the primitives want.
  struct Weights {
    dnnl::memory forward, backward;
  };
  Weights Reorder(const float* weights) const;

  class Primitives {
   public:
    Primitives(const Convolution& convolution, uint32_t samples);
    void Forward(const Weights& weights, const float* input, const float* bias, float* output);
    // `gradient` has passed ReLU. `dinput` may be null if there is no use for it.
    void Backward(const Weights& weights, const float* input, const float* gradient, float* dinput, float* dweights,
                  float* dbias);

   private:
    void Run(const dnnl::primitive& primitive, std::unordered_map<int, dnnl::memory> arguments,
             const dnnl::memory& scratchpad);

    const Convolution& convolution_;
    dnnl::stream stream_;
    dnnl::memory::desc input_, output_;
    dnnl::convolution_forward forward_;
    dnnl::convolution_backward_weights backward_weights_;
    dnnl::convolution_backward_data backward_data_;
    dnnl::memory forward_scratchpad_, weights_scratchpad_, data_scratchpad_;
    dnnl::memory dweights_;  // In the primitive's layout.
    dnnl::reorder to_plain_;
  };

 private:
  dnnl::memory::desc InputDesc(uint32_t samples) const;
  dnnl::memory::desc OutputDesc(uint32_t samples) const;
  dnnl::convolution_forward::primitive_desc ForwardDesc(uint32_t samples, const dnnl::memory::desc& weights) const;
  dnnl::convolution_backward_data::primitive_desc DataDesc(uint32_t samples, const dnnl::memory::desc& weights) const;

  const ConvolutionShape shape_;
  const uint32_t lanes_;
  const dnnl::engine engine_;
  dnnl::memory::desc plain_weights_, bias_;
  dnnl::memory::desc forward_weights_, backward_weights_;  // What the primitives want.
};

}  // namespace potluck::cnn
