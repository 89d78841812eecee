#include "kernels/cnn/onednn/stages.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "kernels/cnn/onednn/convolution.h"
#include "kernels/cnn/random.h"

namespace potluck::cnn {
namespace {

constexpr size_t kAlignment = 16;  // Floats: a cache line.

size_t RoundUp(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

Boundary Plain(const Shape& shape) {
  const size_t floats = RoundUp(shape.size(), kAlignment);
  return {shape, true, floats, floats};
}

Boundary Blocked(const Shape& shape, uint32_t lanes, bool dense_input) {
  const size_t floats = RoundUp(shape.channels, lanes) * shape.height * shape.width;
  return {shape, false, floats, dense_input ? RoundUp(floats, kAlignment) + kAlignment : floats};
}

bool AllFinite(const float* values, size_t count) {
  return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
}

struct DropoutRule {
  uint32_t layer = 0;
  uint32_t keep_below = 0;
  float scale = 1;
};

DropoutRule RuleOf(const Layer& layer, size_t number) {
  return {static_cast<uint32_t>(number), KeepBelow(layer.rate), static_cast<float>(1.0 / (1.0 - layer.rate))};
}

// --- Convolutions by Winograd's method, with what follows them.

class WinogradStage : public Stage {
 public:
  struct Weights : StageWeights {
    Aligned<float> u, ut;
  };
  struct State : StageState {
    Aligned<float> scratch, du;
    Aligned<uint8_t> route, keep;
  };

  WinogradStage(const VectorKernels& kernels, const WinogradShape& shape, const Parameter& weight,
                std::optional<DropoutRule> dropout, const Boundary& output)
      : kernels_(kernels), shape_(shape), first_(weight.offset), weights_(weight.size), dropout_(dropout) {
    output_ = output;
  }

  size_t native_floats() const override { return weights_ + shape_.filters; }
  void ToNative(const float* model, float* native) const override {
    std::copy_n(model + first_, native_floats(), native + offset_);
  }
  void FromNative(const float* native, float* model) const override {
    std::copy_n(native + offset_, native_floats(), model + first_);
  }
  bool HasFiniteParameters(const float* native) const override { return AllFinite(native + offset_, native_floats()); }
  std::unique_ptr<StageWeights> Prepare(const float* native) const override {
    auto weights = std::make_unique<Weights>();
    weights->u = Aligned<float>(points());
    weights->ut = Aligned<float>(points());
    kernels_.winograd_weights(shape_, native + offset_, weights->u.get(), weights->ut.get());
    return weights;
  }
  std::unique_ptr<StageState> NewState(uint32_t max_samples) const override {
    auto state = std::make_unique<State>();
    state->scratch = Aligned<float>(kernels_.winograd_scratch(shape_));
    state->du = Aligned<float>(points());
    if (shape_.pool) state->route = Aligned<uint8_t>(max_samples * output_.floats);
    if (dropout_) state->keep = Aligned<uint8_t>(output_.floats);
    return state;
  }

  void Forward(const Pass& pass, const float* native, const StageWeights* weights, StageState* state, Rows input,
               Rows output) const override {
    State& mine = static_cast<State&>(*state);
    const bool drops = dropout_ && pass.training;
    for (uint32_t i = 0; i < pass.samples; ++i) {
      if (drops) {
        kernels_.dropout_mask(output_.shape.channels, output_.shape.height * output_.shape.width, pass.input->seed,
                              pass.input->positions[i], pass.input->step, Word3(Purpose::kDropout, dropout_->layer),
                              dropout_->keep_below, mine.keep.get());
      }
      kernels_.winograd_forward(shape_, input.at(i), static_cast<const Weights*>(weights)->u.get(),
                                native + offset_ + weights_, drops ? mine.keep.get() : nullptr,
                                drops ? dropout_->scale : 1.0f, output.at(i), Route(mine, i), mine.scratch.get());
    }
  }

  void Backward(const Pass& pass, const float* /*native*/, const StageWeights* weights, StageState* state, Rows input,
                Rows output, Rows doutput, Rows dinput, float* gradient) const override {
    State& mine = static_cast<State&>(*state);
    float* const dbias = gradient + offset_ + weights_;
    std::fill_n(mine.du.get(), points(), 0.0f);
    std::fill_n(dbias, shape_.filters, 0.0f);
    for (uint32_t i = 0; i < pass.samples; ++i) {
      kernels_.winograd_backward(shape_, input.at(i), static_cast<const Weights*>(weights)->ut.get(), output.at(i),
                                 doutput.at(i), Route(mine, i), dropout_ ? dropout_->scale : 1.0f,
                                 dinput.data == nullptr ? nullptr : dinput.at(i), mine.du.get(), dbias,
                                 mine.scratch.get());
    }
    kernels_.winograd_weights_gradient(shape_, mine.du.get(), gradient + offset_);
  }

 private:
  size_t points() const { return kWinogradPoints * shape_.channels * shape_.filters; }
  uint8_t* Route(const State& state, size_t sample) const {
    return shape_.pool ? state.route.get() + sample * output_.floats : nullptr;
  }

  const VectorKernels& kernels_;
  const WinogradShape shape_;
  const size_t first_, weights_;
  const std::optional<DropoutRule> dropout_;
};

// --- Other convolutions, by oneDNN.

class ConvolutionStage : public Stage {
 public:
  struct Weights : StageWeights {
    Convolution::Weights memory;
  };
  struct State : StageState {
    std::map<uint32_t, Convolution::Primitives> by_samples;
  };

  ConvolutionStage(const VectorKernels& kernels, const ConvolutionShape& shape, const Parameter& weight,
                   const Boundary& output, const dnnl::engine& engine)
      : kernels_(kernels),
        shape_(shape),
        convolution_(shape, kernels.lanes, engine),
        first_(weight.offset),
        weights_(weight.size),
        padded_weights_(RoundUp(weight.size, kAlignment)) {
    output_ = output;
  }

  size_t native_floats() const override { return padded_weights_ + RoundUp(shape_.output.channels, kAlignment); }
  void ToNative(const float* model, float* native) const override {
    std::copy_n(model + first_, weights_, native + offset_);
    std::copy_n(model + first_ + weights_, shape_.output.channels, native + offset_ + padded_weights_);
  }
  void FromNative(const float* native, float* model) const override {
    std::copy_n(native + offset_, weights_, model + first_);
    std::copy_n(native + offset_ + padded_weights_, shape_.output.channels, model + first_ + weights_);
  }
  bool HasFiniteParameters(const float* native) const override { return AllFinite(native + offset_, native_floats()); }
  std::unique_ptr<StageWeights> Prepare(const float* native) const override {
    auto weights = std::make_unique<Weights>();
    weights->memory = convolution_.Reorder(native + offset_);
    return weights;
  }
  std::unique_ptr<StageState> NewState(uint32_t /*max_samples*/) const override { return std::make_unique<State>(); }

  void Forward(const Pass& pass, const float* native, const StageWeights* weights, StageState* state, Rows input,
               Rows output) const override {
    PrimitivesFor(*state, pass.samples)
        .Forward(static_cast<const Weights*>(weights)->memory, input.data, native + offset_ + padded_weights_,
                 output.data);
  }

  void Backward(const Pass& pass, const float* /*native*/, const StageWeights* weights, StageState* state, Rows input,
                Rows output, Rows doutput, Rows dinput, float* gradient) const override {
    if (shape_.relu) kernels_.relu_backward(pass.samples * output_.floats, output.data, doutput.data);
    float* const to = gradient + offset_;
    std::fill(to + weights_, to + native_floats(), 0.0f);
    PrimitivesFor(*state, pass.samples)
        .Backward(static_cast<const Weights*>(weights)->memory, input.data, doutput.data, dinput.data, to,
                  to + padded_weights_);
  }

 private:
  Convolution::Primitives& PrimitivesFor(StageState& state, uint32_t samples) const {
    return static_cast<State&>(state).by_samples.try_emplace(samples, convolution_, samples).first->second;
  }

  const VectorKernels& kernels_;
  const ConvolutionShape shape_;
  const Convolution convolution_;
  const size_t first_, weights_, padded_weights_;
};

// --- Dense layers.

class DenseStage : public Stage {
 public:
  struct State : StageState {
    Aligned<float> scratch;
  };

  // `input` is flattened: value (channel, pixel) of it is input channel * pixels + pixel of the model.
  DenseStage(const VectorKernels& kernels, const DenseKernels& dense, const Boundary& input, uint32_t units, bool relu,
             const Parameter& weight)
      : kernels_(kernels),
        dense_(dense),
        input_(input),
        units_(units),
        padded_units_(static_cast<uint32_t>(RoundUp(units, kAlignment))),
        relu_(relu),
        first_(weight.offset),
        inputs_(weight.size / units) {
    output_ = {{units, 1, 1}, false, padded_units_, padded_units_ + kAlignment};
    for (size_t i = 0; i < inputs_; ++i) rows_.push_back(RowOf(i));
  }

  size_t native_floats() const override { return (input_.floats + 1) * padded_units_; }
  void ToNative(const float* model, float* native) const override {
    float* const to = native + offset_;
    std::fill_n(to, native_floats(), 0.0f);
    ForEachTile([&](size_t unit, size_t units, size_t input, size_t inputs, Tile& tile) {
      for (size_t n = 0; n < units; ++n) std::copy_n(model + first_ + (unit + n) * inputs_ + input, inputs, tile[n]);
      for (size_t i = 0; i < inputs; ++i) {
        for (size_t n = 0; n < units; ++n) to[rows_[input + i] * padded_units_ + unit + n] = tile[n][i];
      }
    });
    std::copy_n(model + first_ + units_ * inputs_, units_, to + input_.floats * padded_units_);
  }
  void FromNative(const float* native, float* model) const override {
    const float* const from = native + offset_;
    ForEachTile([&](size_t unit, size_t units, size_t input, size_t inputs, Tile& tile) {
      for (size_t i = 0; i < inputs; ++i) {
        for (size_t n = 0; n < units; ++n) tile[n][i] = from[rows_[input + i] * padded_units_ + unit + n];
      }
      for (size_t n = 0; n < units; ++n) std::copy_n(tile[n], inputs, model + first_ + (unit + n) * inputs_ + input);
    });
    std::copy_n(from + input_.floats * padded_units_, units_, model + first_ + units_ * inputs_);
  }
  std::unique_ptr<StageState> NewState(uint32_t max_samples) const override {
    auto state = std::make_unique<State>();
    state->scratch = Aligned<float>(dense_.scratch(max_samples, padded_units_));
    return state;
  }

  void Forward(const Pass& pass, const float* native, const StageWeights* /*weights*/, StageState* state, Rows input,
               Rows output) const override {
    dense_.forward(pass.samples, inputs(), padded_units_, input.data, input.stride, native + offset_, Bias(native),
                   relu_, output.data, output.stride, Scratch(state));
  }

  void Backward(const Pass& pass, const float* native, const StageWeights* /*weights*/, StageState* state, Rows input,
                Rows output, Rows doutput, Rows dinput, float* gradient) const override {
    if (relu_) {
      for (uint32_t i = 0; i < pass.samples; ++i) {
        kernels_.relu_backward(padded_units_, output.at(i), doutput.at(i));
      }
    }
    float* const to = gradient + offset_;
    dense_.weights_gradient(pass.samples, inputs(), padded_units_, input.data, input.stride, doutput.data,
                            doutput.stride, to, to + input_.floats * padded_units_, Scratch(state));
    if (dinput.data == nullptr) return;
    dense_.input_gradient(pass.samples, inputs(), padded_units_, doutput.data, doutput.stride, native + offset_,
                          dinput.data, dinput.stride, Scratch(state));
  }

 private:
  static float* Scratch(StageState* state) { return static_cast<State*>(state)->scratch.get(); }
  uint32_t inputs() const { return static_cast<uint32_t>(input_.floats); }
  const float* Bias(const float* native) const { return native + offset_ + input_.floats * padded_units_; }
  // Weights are [row of the input][unit] in native order, [unit][input] in the model's. They are turned tile by tile:
  // the strides of both are such that few of their cache lines can be in the cache together.
  using Tile = float[kAlignment][kAlignment];
  template <typename Turn>
  void ForEachTile(const Turn& turn) const {
    Tile tile;
    for (size_t unit = 0; unit < units_; unit += kAlignment) {
      for (size_t input = 0; input < inputs_; input += kAlignment) {
        turn(unit, std::min<size_t>(kAlignment, units_ - unit), input, std::min(kAlignment, inputs_ - input), tile);
      }
    }
  }
  size_t RowOf(size_t input) const {
    if (input_.plain) return input;
    const size_t pixels = size_t{input_.shape.height} * input_.shape.width;
    const size_t channel = input / pixels, pixel = input % pixels;
    return (channel / kernels_.lanes * pixels + pixel) * kernels_.lanes + channel % kernels_.lanes;
  }

  const VectorKernels& kernels_;
  const DenseKernels& dense_;
  const Boundary input_;
  const uint32_t units_, padded_units_;
  const bool relu_;
  const size_t first_, inputs_;
  std::vector<size_t> rows_;  // Of the inputs, in native order.
};

// --- Pooling and dropout by themselves.

class PoolStage : public Stage {
 public:
  struct State : StageState {
    Aligned<int32_t> route;
  };

  PoolStage(const VectorKernels& kernels, const Shape& input, uint32_t window, uint32_t stride, const Boundary& output)
      : kernels_(kernels), input_(input), window_(window), stride_(stride) {
    output_ = output;
  }

  std::unique_ptr<StageState> NewState(uint32_t max_samples) const override {
    auto state = std::make_unique<State>();
    state->route = Aligned<int32_t>(max_samples * output_.floats);
    return state;
  }
  void Forward(const Pass& pass, const float* /*native*/, const StageWeights* /*weights*/, StageState* state,
               Rows input, Rows output) const override {
    for (uint32_t i = 0; i < pass.samples; ++i) {
      kernels_.max_pool(blocks(), input_.height, input_.width, window_, stride_, input.at(i), output.at(i),
                        Route(state, i));
    }
  }
  void Backward(const Pass& pass, const float* /*native*/, const StageWeights* /*weights*/, StageState* state,
                Rows /*input*/, Rows /*output*/, Rows doutput, Rows dinput, float* /*gradient*/) const override {
    if (dinput.data == nullptr) return;
    for (uint32_t i = 0; i < pass.samples; ++i) {
      kernels_.max_pool_backward(blocks(), input_.height, input_.width, window_, stride_, doutput.at(i),
                                 Route(state, i), dinput.at(i));
    }
  }

 private:
  uint32_t blocks() const { return (input_.channels + kernels_.lanes - 1) / kernels_.lanes; }
  int32_t* Route(StageState* state, size_t sample) const {
    return static_cast<State*>(state)->route.get() + sample * output_.floats;
  }

  const VectorKernels& kernels_;
  const Shape input_;
  const uint32_t window_, stride_;
};

class DropoutStage : public Stage {
 public:
  struct State : StageState {
    Aligned<uint8_t> keep;
  };

  DropoutStage(const VectorKernels& kernels, const DropoutRule& rule, const Boundary& boundary)
      : kernels_(kernels), rule_(rule) {
    output_ = boundary;
  }
  // What is dropped is 0, so that a ReLU before it sees the gradient's zeros; what is kept keeps its sign.
  bool in_place() const override { return true; }

  std::unique_ptr<StageState> NewState(uint32_t max_samples) const override {
    auto state = std::make_unique<State>();
    state->keep = Aligned<uint8_t>(max_samples * output_.floats);
    return state;
  }
  void Forward(const Pass& pass, const float* /*native*/, const StageWeights* /*weights*/, StageState* state,
               Rows input, Rows /*output*/) const override {
    if (!pass.training) return;
    const Shape& shape = output_.shape;
    for (uint32_t i = 0; i < pass.samples; ++i) {
      uint8_t* const keep = static_cast<State*>(state)->keep.get() + i * output_.floats;
      // A plain image is like so many channels of one pixel.
      const uint32_t channels = output_.plain ? static_cast<uint32_t>(output_.floats) : shape.channels;
      kernels_.dropout_mask(channels, output_.plain ? 1 : shape.height * shape.width, pass.input->seed,
                            pass.input->positions[i], pass.input->step, Word3(Purpose::kDropout, rule_.layer),
                            rule_.keep_below, keep);
      kernels_.apply_mask(output_.floats, keep, rule_.scale, input.at(i), input.at(i));
    }
  }
  void Backward(const Pass& pass, const float* /*native*/, const StageWeights* /*weights*/, StageState* state,
                Rows /*input*/, Rows /*output*/, Rows doutput, Rows /*dinput*/, float* /*gradient*/) const override {
    for (uint32_t i = 0; i < pass.samples; ++i) {
      kernels_.apply_mask(output_.floats, static_cast<State*>(state)->keep.get() + i * output_.floats, rule_.scale,
                          doutput.at(i), doutput.at(i));
    }
  }

 private:
  const VectorKernels& kernels_;
  const DropoutRule rule_;
};

// --- Putting them together.

class Builder {
 public:
  Builder(const Model& model, const VectorKernels& kernels, const DenseKernels& dense, const dnnl::engine& engine)
      : model_(model), kernels_(kernels), dense_(dense), engine_(engine), layers_(model.spec.layers) {}

  Network Build() {
    // oneDNN takes plain images one right after the other; vector code takes what is padded.
    const LayerKind shaping = FirstShaping();
    const bool is_blocked =
        shaping == LayerKind::kMaxPool || (shaping == LayerKind::kConv && layers_.front().kind == LayerKind::kDropout);
    here_ = is_blocked ? Blocked(model_.spec.input, kernels_.lanes, false) : Plain(model_.spec.input);
    if (shaping == LayerKind::kConv && !is_blocked) here_.stride = here_.floats = model_.spec.input.size();
    network_.input = here_;
    while (next_ < layers_.size()) AddLayer();
    size_t offset = 0;
    for (const auto& stage : network_.stages) {
      stage->set_offset(offset);
      offset += stage->native_floats();
    }
    network_.native_size = offset;
    network_.padded_classes = static_cast<uint32_t>(here_.floats);
    return std::move(network_);
  }

 private:
  LayerKind FirstShaping() const {
    for (const Layer& layer : layers_) {
      if (layer.kind != LayerKind::kDropout) return layer.kind;
    }
    return LayerKind::kFlatten;
  }
  const Parameter& WeightOf(size_t layer) const {
    return model_.parameters[static_cast<size_t>(model_.first_parameter[layer])];
  }
  // Whether the next layer that does anything after `layer` is dense.
  bool FeedsDense(size_t layer) const {
    for (size_t i = layer + 1; i < layers_.size(); ++i) {
      if (layers_[i].kind == LayerKind::kDense) return true;
      if (layers_[i].kind != LayerKind::kDropout && layers_[i].kind != LayerKind::kFlatten) return false;
    }
    return false;
  }
  void Add(std::unique_ptr<Stage> stage) {
    here_ = stage->output();
    network_.stages.push_back(std::move(stage));
  }

  void AddLayer() {
    const size_t number = next_++;
    const Layer& layer = layers_[number];
    switch (layer.kind) {
      case LayerKind::kConv:
        AddConvolution(number);
        return;
      case LayerKind::kMaxPool:
        Add(std::make_unique<PoolStage>(kernels_, here_.shape, layer.kernel, layer.stride,
                                        Blocked(model_.outputs[number], kernels_.lanes, FeedsDense(number))));
        return;
      case LayerKind::kDropout:
        if (layer.rate > 0) Add(std::make_unique<DropoutStage>(kernels_, RuleOf(layer, number), here_));
        return;
      case LayerKind::kFlatten:  // Dense layers read their inputs in whatever order they lie.
        return;
      case LayerKind::kDense:
        has_parameters_ = true;
        Add(std::make_unique<DenseStage>(kernels_, dense_, here_, layer.units, layer.relu, WeightOf(number)));
        return;
    }
  }

  void AddConvolution(size_t number) {
    const Layer& layer = layers_[number];
    const Shape& output = model_.outputs[number];
    const bool winograd = !here_.plain && layer.kernel == 3 && layer.stride == 1 &&
                          here_.shape.channels % kernels_.lanes == 0 && layer.units % kAlignment == 0;
    if (!winograd) {
      const ConvolutionShape shape{.input = here_.shape,
                                   .output = output,
                                   .kernel = layer.kernel,
                                   .stride = layer.stride,
                                   .padding = layer.padding,
                                   .relu = layer.relu,
                                   .plain_input = here_.plain,
                                   .wants_input_gradient = has_parameters_};
      has_parameters_ = true;
      Add(std::make_unique<ConvolutionStage>(kernels_, shape, WeightOf(number), Blocked(output, kernels_.lanes, false),
                                             engine_));
      return;
    }
    has_parameters_ = true;
    WinogradShape shape{.channels = here_.shape.channels,
                        .height = here_.shape.height,
                        .width = here_.shape.width,
                        .filters = layer.units,
                        .out_height = output.height,
                        .out_width = output.width,
                        .padding = layer.padding,
                        .relu = layer.relu};
    size_t last = number;
    std::optional<DropoutRule> dropout;
    if (next_ < layers_.size() && layers_[next_].kind == LayerKind::kMaxPool && layers_[next_].kernel == 2 &&
        layers_[next_].stride == 2) {
      shape.pool = true;
      last = next_++;
      if (next_ < layers_.size() && layers_[next_].kind == LayerKind::kDropout && layers_[next_].rate > 0) {
        dropout = RuleOf(layers_[next_], next_);
        ++next_;
      }
    }
    Add(std::make_unique<WinogradStage>(kernels_, shape, WeightOf(number), dropout,
                                        Blocked(model_.outputs[last], kernels_.lanes, FeedsDense(last))));
  }

  const Model& model_;
  const VectorKernels& kernels_;
  const DenseKernels& dense_;
  const dnnl::engine& engine_;
  const std::vector<Layer>& layers_;
  size_t next_ = 0;
  Boundary here_;
  bool has_parameters_ = false;  // Whether a gradient is of use before this stage.
  Network network_;
};

}  // namespace

Network BuildNetwork(const Model& model, const VectorKernels& kernels, const DenseKernels& dense,
                     const dnnl::engine& engine) {
  return Builder(model, kernels, dense, engine).Build();
}

}  // namespace potluck::cnn
