#include "kernels/cnn/onednn/convolution.h"

#include <omp.h>

#include <unordered_map>

namespace potluck::cnn {
namespace {

using dnnl::memory;
using Desc = memory::desc;

constexpr auto kFloat = memory::data_type::f32;
// The layouts of weights are chosen for this many samples, and kept for all others.
constexpr uint32_t kUsualSamples = 32;

dnnl::primitive_attr Attributes(bool relu) {
  dnnl::primitive_attr attributes;
  // Else oneDNN shares one scratchpad among the primitives of the thread that made them.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (relu) {
    dnnl::post_ops after;
    after.append_eltwise(dnnl::algorithm::eltwise_relu, 0.f, 0.f);
    attributes.set_post_ops(after);
  }
  return attributes;
}

memory::dims Both(uint32_t value) { return {value, value}; }

// oneDNN does not write to what it only reads.
memory View(const Desc& desc, const dnnl::engine& engine, const float* data) {
  return {desc, engine, const_cast<float*>(data)};
}

}  // namespace

OneThread::OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
OneThread::~OneThread() { omp_set_num_threads(before_); }

Convolution::Convolution(const ConvolutionShape& shape, uint32_t lanes, const dnnl::engine& engine)
    : shape_(shape), lanes_(lanes), engine_(engine) {
  const OneThread one;
  const memory::dims dims = {shape.output.channels, shape.input.channels, shape.kernel, shape.kernel};
  plain_weights_ = Desc(dims, kFloat, memory::format_tag::oihw);
  bias_ = Desc({shape.output.channels}, kFloat, memory::format_tag::x);
  const Desc any(dims, kFloat, memory::format_tag::any);
  forward_weights_ = ForwardDesc(kUsualSamples, any).weights_desc();
  if (shape.wants_input_gradient) backward_weights_ = DataDesc(kUsualSamples, any).weights_desc();
}

Desc Convolution::InputDesc(uint32_t samples) const {
  const auto blocked = lanes_ == 16 ? memory::format_tag::nChw16c : memory::format_tag::nChw8c;
  return {{samples, shape_.input.channels, shape_.input.height, shape_.input.width},
          kFloat,
          shape_.plain_input ? memory::format_tag::nchw : blocked};
}

Desc Convolution::OutputDesc(uint32_t samples) const {
  return {{samples, shape_.output.channels, shape_.output.height, shape_.output.width},
          kFloat,
          lanes_ == 16 ? memory::format_tag::nChw16c : memory::format_tag::nChw8c};
}

dnnl::convolution_forward::primitive_desc Convolution::ForwardDesc(uint32_t samples, const Desc& weights) const {
  return {engine_,
          dnnl::prop_kind::forward_training,
          dnnl::algorithm::convolution_direct,
          InputDesc(samples),
          weights,
          bias_,
          OutputDesc(samples),
          Both(shape_.stride),
          Both(shape_.padding),
          Both(shape_.padding),
          Attributes(shape_.relu)};
}

dnnl::convolution_backward_data::primitive_desc Convolution::DataDesc(uint32_t samples, const Desc& weights) const {
  return {engine_,
          dnnl::algorithm::convolution_direct,
          InputDesc(samples),
          weights,
          OutputDesc(samples),
          Both(shape_.stride),
          Both(shape_.padding),
          Both(shape_.padding),
          ForwardDesc(samples, forward_weights_),
          Attributes(false)};
}

Convolution::Weights Convolution::Reorder(const float* weights) const {
  const OneThread one;
  dnnl::stream stream(engine_);
  memory plain = View(plain_weights_, engine_, weights);
  Weights result;
  result.forward = memory(forward_weights_, engine_);
  dnnl::reorder(plain, result.forward).execute(stream, plain, result.forward);
  if (shape_.wants_input_gradient) {
    result.backward = memory(backward_weights_, engine_);
    dnnl::reorder(plain, result.backward).execute(stream, plain, result.backward);
  }
  stream.wait();
  return result;
}

Convolution::Primitives::Primitives(const Convolution& convolution, uint32_t samples)
    : convolution_(convolution), stream_(convolution.engine_) {
  const OneThread one;
  const dnnl::engine& engine = convolution.engine_;
  const ConvolutionShape& shape = convolution.shape_;
  input_ = convolution.InputDesc(samples);
  output_ = convolution.OutputDesc(samples);
  const auto forward = convolution.ForwardDesc(samples, convolution.forward_weights_);
  forward_ = dnnl::convolution_forward(forward);
  forward_scratchpad_ = memory(forward.scratchpad_desc(), engine);
  const Desc any(convolution.plain_weights_.get_dims(), kFloat, memory::format_tag::any);
  const dnnl::convolution_backward_weights::primitive_desc weights(
      engine, dnnl::algorithm::convolution_direct, input_, any, convolution.bias_, output_, Both(shape.stride),
      Both(shape.padding), Both(shape.padding), forward, Attributes(false));
  backward_weights_ = dnnl::convolution_backward_weights(weights);
  weights_scratchpad_ = memory(weights.scratchpad_desc(), engine);
  dweights_ = memory(weights.diff_weights_desc(), engine);
  memory plain(convolution.plain_weights_, engine, DNNL_MEMORY_NONE);
  to_plain_ = dnnl::reorder(dweights_, plain);
  if (!shape.wants_input_gradient) return;
  const auto data = convolution.DataDesc(samples, convolution.backward_weights_);
  backward_data_ = dnnl::convolution_backward_data(data);
  data_scratchpad_ = memory(data.scratchpad_desc(), engine);
}

void Convolution::Primitives::Run(const dnnl::primitive& primitive, std::unordered_map<int, memory> arguments,
                                  const memory& scratchpad) {
  arguments.emplace(DNNL_ARG_SCRATCHPAD, scratchpad);
  primitive.execute(stream_, arguments);
}

void Convolution::Primitives::Forward(const Weights& weights, const float* input, const float* bias, float* output) {
  const OneThread one;
  const dnnl::engine& engine = convolution_.engine_;
  Run(forward_,
      {{DNNL_ARG_SRC, View(input_, engine, input)},
       {DNNL_ARG_WEIGHTS, weights.forward},
       {DNNL_ARG_BIAS, View(convolution_.bias_, engine, bias)},
       {DNNL_ARG_DST, memory(output_, engine, output)}},
      forward_scratchpad_);
  stream_.wait();
}

void Convolution::Primitives::Backward(const Weights& weights, const float* input, const float* gradient, float* dinput,
                                       float* dweights, float* dbias) {
  const OneThread one;
  const dnnl::engine& engine = convolution_.engine_;
  const memory doutput = View(output_, engine, gradient);
  Run(backward_weights_,
      {{DNNL_ARG_SRC, View(input_, engine, input)},
       {DNNL_ARG_DIFF_DST, doutput},
       {DNNL_ARG_DIFF_WEIGHTS, dweights_},
       {DNNL_ARG_DIFF_BIAS, memory(convolution_.bias_, engine, dbias)}},
      weights_scratchpad_);
  memory plain(convolution_.plain_weights_, engine, dweights);
  to_plain_.execute(stream_, dweights_, plain);
  if (dinput != nullptr) {
    Run(backward_data_,
        {{DNNL_ARG_DIFF_DST, doutput},
         {DNNL_ARG_WEIGHTS, weights.backward},
         {DNNL_ARG_DIFF_SRC, memory(input_, engine, dinput)}},
        data_scratchpad_);
  }
  stream_.wait();
}

}  // namespace potluck::cnn
