#include "kernels/cnn/reference/network.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace potluck::cnn::reference {

template <typename T>
Prepared<T>::Prepared(const Model& model, std::span<const T> parameters)
    : parameters_(parameters), transposed_(model.spec.layers.size()) {
  for (size_t layer = 0; layer < transposed_.size(); ++layer) {
    if (model.spec.layers[layer].kind != LayerKind::kDense) continue;
    const Parameter& weight = model.parameters[model.first_parameter[layer]];
    transposed_[layer].resize(weight.size);
    Transpose(weight.dims[0], weight.dims[1], parameters.data() + weight.offset, transposed_[layer].data());
  }
}

template <typename T>
Network<T>::Network(const Model& model, uint32_t max_samples, GemmFunction<T> gemm)
    : model_(model), max_samples_(max_samples), gemm_(gemm), places_(model.spec.layers.size()) {
  image_.resize(max_samples * model.spec.input.size());
  size_t taps = 0, outs = 0, weights = 0, words = 0;
  bool is_flat = false, wants_in_gradient = false;
  Shape in = model.spec.input;
  for (size_t i = 0; i < places_.size(); ++i) {
    const Layer& layer = model.spec.layers[i];
    Place& place = places_[i];
    place.window = {in, model.outputs[i], layer.kernel, layer.stride, layer.padding};
    place.wants_in_gradient = wants_in_gradient;
    wants_in_gradient |= model.first_parameter[i] >= 0;
    if (layer.kind == LayerKind::kFlatten) {
      flat_ = i;
      is_flat = true;
    }
    place.is_flat = is_flat;
    const size_t size = model.outputs[i].size();
    if (layer.kind != LayerKind::kFlatten) place.out.resize(max_samples * size);
    place.gradient.resize(is_flat ? max_samples * size : size);
    if (layer.kind == LayerKind::kMaxPool) place.places.resize(max_samples * size);
    if (layer.kind == LayerKind::kDropout) {
      place.kept.resize(max_samples * size);
      words = std::max(words, (size + 3) / 4 * 4);
    }
    if (layer.kind == LayerKind::kConv) {
      taps = std::max(taps, place.window.taps() * place.window.pixels());
      outs = std::max(outs, size);
      weights = std::max(weights, place.window.taps() * layer.units);
    }
    in = model.outputs[i];
  }
  words_.resize(words);
  columns_.resize(taps);
  out_transposed_.resize(outs);
  sums_.resize(weights);
}

template <typename T>
Status Network<T>::Check(const ShardInput& input) const {
  if (input.samples >= 1 && input.samples <= max_samples_) return {};
  return Status::Error("A micro-shard has " + std::to_string(input.samples) + " samples; allowed: 1 to " +
                       std::to_string(max_samples_) + ".");
}

template <typename T>
Status Network<T>::ForwardBackward(const Prepared<T>& prepared, const ShardInput& input, std::span<T> gradient,
                                   ShardTally& tally) {
  Status status = Check(input);
  if (!status.ok()) return status;
  RunForward(prepared, input, true);
  T* const logits = places_.back().out.data();
  status = Loss(input.samples, model_.classes, input.labels, true, logits, tally);
  if (!status.ok()) return status;
  std::copy_n(logits, size_t{input.samples} * model_.classes, places_.back().gradient.data());
  std::fill(gradient.begin(), gradient.end(), T{0});
  RunBackward(prepared, input.samples, gradient.data());
  for (const Parameter& parameter : model_.parameters) {
    const auto values = gradient.subspan(parameter.offset, parameter.size);
    if (std::all_of(values.begin(), values.end(), [](T value) { return std::isfinite(value); })) continue;
    return Status::Error("The gradient of " + parameter.name +
                         " is not finite: training has diverged, or the parameters are damaged.");
  }
  return {};
}

template <typename T>
Status Network<T>::Forward(const Prepared<T>& prepared, const ShardInput& input, std::span<T> logits,
                           ShardTally& tally) {
  Status status = Check(input);
  if (!status.ok()) return status;
  RunForward(prepared, input, false);
  T* const out = places_.back().out.data();
  std::copy_n(out, logits.size(), logits.data());
  tally = {};
  if (input.labels == nullptr) return {};
  return Loss(input.samples, model_.classes, input.labels, false, out, tally);
}

template <typename T>
void Network<T>::ReadPixels(const ShardInput& input) {
  T values[256];
  for (int i = 0; i < 256; ++i) values[i] = static_cast<T>(i) / 255;
  const size_t size = input.samples * model_.spec.input.size();
  for (size_t i = 0; i < size; ++i) image_[i] = values[input.pixels[i]];
}

template <typename T>
void Network<T>::RunForward(const Prepared<T>& prepared, const ShardInput& input, bool is_training) {
  ReadPixels(input);
  for (uint32_t sample = 0; sample < input.samples; ++sample) {
    for (size_t layer = 0; layer < flat_; ++layer) {
      ForwardLayer(layer, prepared, input, is_training, sample, 1);
    }
  }
  for (size_t layer = flat_; layer < places_.size(); ++layer) {
    ForwardLayer(layer, prepared, input, is_training, 0, input.samples);
  }
}

template <typename T>
void Network<T>::RunBackward(const Prepared<T>& prepared, uint32_t samples, T* gradient) {
  for (size_t layer = places_.size(); layer-- > flat_;) BackwardLayer(layer, prepared, 0, samples, gradient);
  if (!places_[flat_].wants_in_gradient) return;  // No convolutions.
  for (uint32_t sample = 0; sample < samples; ++sample) {
    for (size_t layer = flat_; layer-- > 0;) BackwardLayer(layer, prepared, sample, 1, gradient);
  }
}

template <typename T>
const T* Network<T>::Weights(size_t layer, const T* parameters) const {
  return parameters + model_.parameters[model_.first_parameter[layer]].offset;
}

template <typename T>
T* Network<T>::In(size_t layer, uint32_t sample) {
  while (layer > 0 && model_.spec.layers[layer - 1].kind == LayerKind::kFlatten) --layer;
  if (layer == 0) return image_.data() + sample * model_.spec.input.size();
  return places_[layer - 1].out.data() + sample * model_.outputs[layer - 1].size();
}

template <typename T>
T* Network<T>::OutGradient(size_t layer, uint32_t sample) {
  Place& place = places_[layer];
  // The last layer before the flattening shares the flattened gradients.
  if (layer + 1 == flat_) return OutGradient(flat_, sample);
  return place.gradient.data() + (place.is_flat ? sample * model_.outputs[layer].size() : 0);
}

template <typename T>
T* Network<T>::InGradient(size_t layer, uint32_t sample) {
  return places_[layer].wants_in_gradient ? OutGradient(layer - 1, sample) : nullptr;
}

template <typename T>
void Network<T>::ForwardLayer(size_t layer, const Prepared<T>& prepared, const ShardInput& input, bool is_training,
                              uint32_t first, uint32_t count) {
  const Layer& spec = model_.spec.layers[layer];
  Place& place = places_[layer];
  const size_t size = model_.outputs[layer].size();
  if (spec.kind == LayerKind::kDense) return ForwardDense(layer, prepared, count);
  if (spec.kind == LayerKind::kFlatten) return;
  for (uint32_t sample = first; sample < first + count; ++sample) {
    const T* const in = In(layer, sample);
    T* const out = place.out.data() + sample * size;
    if (spec.kind == LayerKind::kConv) {
      ForwardConv(layer, Weights(layer, prepared.parameters()), in, out);
    } else if (spec.kind == LayerKind::kMaxPool) {
      MaxPoolForward(place.window, in, out, place.places.data() + sample * size);
    } else if (is_training) {
      const std::span<uint8_t> kept(place.kept.data() + sample * size, size);
      DropoutMask(spec.rate, input.seed, input.positions[sample], input.step, static_cast<uint32_t>(layer), words_,
                  kept);
      Dropout(spec.rate, kept, in, out);
    } else {
      std::copy_n(in, size, out);
    }
  }
}

template <typename T>
void Network<T>::BackwardLayer(size_t layer, const Prepared<T>& prepared, uint32_t first, uint32_t count, T* gradient) {
  const Layer& spec = model_.spec.layers[layer];
  Place& place = places_[layer];
  const size_t size = model_.outputs[layer].size();
  if (spec.kind == LayerKind::kDense) return BackwardDense(layer, prepared, count, gradient);
  if (spec.kind == LayerKind::kFlatten) return;
  for (uint32_t sample = first; sample < first + count; ++sample) {
    T* const out_gradient = OutGradient(layer, sample);
    T* const in_gradient = InGradient(layer, sample);
    if (spec.kind == LayerKind::kConv) {
      if (spec.relu) ReluBackward(std::span<const T>(place.out.data() + sample * size, size), {out_gradient, size});
      BackwardConv(layer, Weights(layer, prepared.parameters()), In(layer, sample), out_gradient, in_gradient,
                   gradient);
    } else if (in_gradient == nullptr) {
      continue;
    } else if (spec.kind == LayerKind::kMaxPool) {
      MaxPoolBackward(place.window, out_gradient, place.places.data() + sample * size, in_gradient);
    } else {
      Dropout(spec.rate, {place.kept.data() + sample * size, size}, out_gradient, in_gradient);
    }
  }
}

template <typename T>
void Network<T>::ForwardConv(size_t layer, const T* weights, const T* in, T* out) {
  const Window& window = places_[layer].window;
  const size_t filters = window.out.channels, taps = window.taps(), pixels = window.pixels();
  const T* const biases = weights + filters * taps;
  ImageToColumns(window, in, columns_.data());
  for (size_t filter = 0; filter < filters; ++filter) std::fill_n(out + filter * pixels, pixels, biases[filter]);
  gemm_(filters, pixels, taps, {weights, taps}, {columns_.data(), pixels}, {out, pixels});
  if (model_.spec.layers[layer].relu) Relu(std::span<T>(out, filters * pixels));
}

template <typename T>
void Network<T>::BackwardConv(size_t layer, const T* weights, const T* in, const T* out_gradient, T* in_gradient,
                              T* gradient) {
  const Window& window = places_[layer].window;
  const size_t filters = window.out.channels, taps = window.taps(), pixels = window.pixels();
  T* const weight_gradient = gradient + model_.parameters[model_.first_parameter[layer]].offset;
  T* const bias_gradient = weight_gradient + filters * taps;
  // This sample's sums alone, then added: shorter sums lose less.
  Transpose(filters, pixels, out_gradient, out_transposed_.data());
  std::fill_n(sums_.data(), filters, T{0});
  for (size_t pixel = 0; pixel < pixels; ++pixel) {
    for (size_t filter = 0; filter < filters; ++filter) sums_[filter] += out_transposed_[pixel * filters + filter];
  }
  for (size_t filter = 0; filter < filters; ++filter) bias_gradient[filter] += sums_[filter];
  ImageToColumns(window, in, columns_.data());
  std::fill_n(sums_.data(), taps * filters, T{0});
  gemm_(taps, filters, pixels, {columns_.data(), pixels}, {out_transposed_.data(), filters}, {sums_.data(), filters});
  Transpose(taps, filters, sums_.data(), weight_gradient, true);
  if (in_gradient == nullptr) return;
  std::fill_n(columns_.data(), taps * pixels, T{0});
  gemm_(taps, pixels, filters, {weights, 1, taps}, {out_gradient, pixels}, {columns_.data(), pixels});
  ColumnsToImage(window, columns_.data(), in_gradient);
}

template <typename T>
void Network<T>::ForwardDense(size_t layer, const Prepared<T>& prepared, uint32_t count) {
  const size_t inputs = places_[layer].window.in.size(), units = model_.outputs[layer].size();
  const T* const biases = Weights(layer, prepared.parameters()) + inputs * units;
  T* const out = places_[layer].out.data();
  for (uint32_t sample = 0; sample < count; ++sample) std::copy_n(biases, units, out + sample * units);
  gemm_(count, units, inputs, {In(layer, 0), inputs}, {prepared.transposed(layer), units}, {out, units});
  if (model_.spec.layers[layer].relu) Relu(std::span<T>(out, count * units));
}

template <typename T>
void Network<T>::BackwardDense(size_t layer, const Prepared<T>& prepared, uint32_t count, T* gradient) {
  const size_t inputs = places_[layer].window.in.size(), units = model_.outputs[layer].size();
  const Parameter& weight = model_.parameters[model_.first_parameter[layer]];
  T* const out_gradient = OutGradient(layer, 0);
  if (model_.spec.layers[layer].relu) {
    ReluBackward(std::span<const T>(places_[layer].out.data(), count * units), {out_gradient, count * units});
  }
  T* const bias_gradient = gradient + weight.offset + weight.size;
  for (uint32_t sample = 0; sample < count; ++sample) {
    for (size_t unit = 0; unit < units; ++unit) bias_gradient[unit] += out_gradient[sample * units + unit];
  }
  gemm_(units, inputs, count, {out_gradient, 1, units}, {In(layer, 0), inputs}, {gradient + weight.offset, inputs});
  T* const in_gradient = InGradient(layer, 0);
  if (in_gradient == nullptr) return;
  std::fill_n(in_gradient, count * inputs, T{0});
  gemm_(count, inputs, units, {out_gradient, units}, {prepared.parameters() + weight.offset, inputs},
        {in_gradient, inputs});
}

template class Prepared<float>;
template class Prepared<double>;
template class Network<float>;
template class Network<double>;

}  // namespace potluck::cnn::reference
