#include "kernels/cnn/model.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "kernels/cnn/random.h"

namespace potluck::cnn {

namespace {

constexpr uint32_t kMaxLayers = 64;
constexpr uint32_t kMaxSide = 4096;  // Also of channels and filters.
constexpr uint32_t kMaxUnits = 1u << 20;
constexpr uint64_t kMaxParameters = uint64_t{1} << 31;
constexpr uint64_t kMaxValues = uint64_t{1} << 28;  // Of one image after one layer.
constexpr uint64_t kMaxFlop = uint64_t{1} << 50;    // Of one layer for one image.
constexpr size_t kMaxName = 64;

std::string_view KindName(LayerKind kind) {
  switch (kind) {
    case LayerKind::kConv:
      return "conv";
    case LayerKind::kMaxPool:
      return "max_pool";
    case LayerKind::kDropout:
      return "dropout";
    case LayerKind::kFlatten:
      return "flatten";
    case LayerKind::kDense:
      return "dense";
  }
  return "of an unknown kind";
}

std::string Shown(double value) {
  std::string text = std::to_string(value);
  while (text.find('.') != std::string::npos && (text.back() == '0' || text.back() == '.')) {
    const bool is_point = text.back() == '.';
    text.pop_back();
    if (is_point) break;
  }
  return text;
}

std::string Shown(const Shape& shape) {
  return std::to_string(shape.channels) + " x " + std::to_string(shape.height) + " x " + std::to_string(shape.width);
}

bool IsName(std::string_view name) {
  if (name.empty() || name.size() > kMaxName) return false;
  for (const char c : name) {
    const bool is_fine =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
    if (!is_fine) return false;
  }
  return true;
}

// Builds a Model layer by layer.
class Builder {
 public:
  explicit Builder(const ModelSpec& spec) { model_.spec = spec; }

  Result<Model> Build() {
    Status status = CheckFrame();
    if (!status.ok()) return status;
    shape_ = model_.spec.input;
    for (layer_ = 0; layer_ < model_.spec.layers.size(); ++layer_) {
      status = Add(model_.spec.layers[layer_]);
      if (!status.ok()) return status;
      if (shape_.size() > kMaxValues) {
        return Wrong("its output is " + Shown(shape_) + "; allowed: at most " + std::to_string(kMaxValues) +
                     " values an image.");
      }
      if (model_.parameter_count > kMaxParameters) {
        return Wrong("with it the network has " + std::to_string(model_.parameter_count) +
                     " parameters; allowed: " + std::to_string(kMaxParameters) + " at most.");
      }
      model_.outputs.push_back(shape_);
    }
    status = CheckLast();
    if (!status.ok()) return status;
    model_.classes = model_.spec.layers.back().units;
    // Backward costs twice the forward (by weights, by inputs); the first layer's inputs need no gradient.
    model_.training_flop = 3 * model_.forward_flop - first_flop_;
    return std::move(model_);
  }

 private:
  Status Wrong(const std::string& what) const {
    return Status::Error("Layer " + std::to_string(layer_ + 1) + " (" +
                         std::string(KindName(model_.spec.layers[layer_].kind)) + "): " + what);
  }

  Status InRange(std::string_view field, uint64_t value, uint64_t least, uint64_t most) const {
    if (value >= least && value <= most) return {};
    return Wrong(std::string(field) + " is " + std::to_string(value) + "; allowed: " + std::to_string(least) +
                 (least == most ? "" : " to " + std::to_string(most)) + ".");
  }

  Status CheckFrame() const {
    const ModelSpec& spec = model_.spec;
    const Shape& input = spec.input;
    for (const char c : spec.name) {
      if (c < 0x20 || c > 0x7e) return Status::Error("The network's name may only have printable ASCII characters.");
    }
    if (spec.name.size() > kMaxName) {
      return Status::Error("The network's name has " + std::to_string(spec.name.size()) +
                           " characters; allowed: " + std::to_string(kMaxName) + " at most.");
    }
    for (const uint32_t side : {input.channels, input.height, input.width}) {
      if (side < 1 || side > kMaxSide) {
        return Status::Error("The network's input is " + Shown(input) + " (channels x height x width); allowed: 1 to " +
                             std::to_string(kMaxSide) + " each.");
      }
    }
    if (input.size() > kMaxValues) {
      return Status::Error("The network's input is " + Shown(input) + "; allowed: at most " +
                           std::to_string(kMaxValues) + " values an image.");
    }
    if (spec.layers.empty() || spec.layers.size() > kMaxLayers) {
      return Status::Error("The network has " + std::to_string(spec.layers.size()) + " layers; allowed: 1 to " +
                           std::to_string(kMaxLayers) + ".");
    }
    return {};
  }

  // What a kind does not use must be 0.
  Status CheckUnused(const Layer& layer) const {
    const bool is_conv = layer.kind == LayerKind::kConv, is_dense = layer.kind == LayerKind::kDense;
    const bool has_window = is_conv || layer.kind == LayerKind::kMaxPool;
    const bool has_rate = layer.kind == LayerKind::kDropout;
    if (!is_conv && !is_dense && layer.units != 0) return InRange("units", layer.units, 0, 0);
    if (!has_window && layer.kernel != 0) return InRange("kernel", layer.kernel, 0, 0);
    if (!has_window && layer.stride != 0) return InRange("stride", layer.stride, 0, 0);
    if (!is_conv && layer.padding != 0) return InRange("padding", layer.padding, 0, 0);
    if (!has_rate && layer.rate != 0) return Wrong("rate is " + Shown(layer.rate) + "; allowed: 0.");
    if (!is_conv && !is_dense && layer.relu) return Wrong("it has an activation; allowed: none.");
    if (!is_conv && !is_dense && !layer.name.empty()) {
      return Wrong("it has a name (\"" + layer.name + "\") but no parameters; allowed: none.");
    }
    return {};
  }

  Status Add(Layer& layer) {
    Status status = CheckUnused(layer);
    if (!status.ok()) return status;
    model_.first_parameter.push_back(-1);
    switch (layer.kind) {
      case LayerKind::kConv:
        return AddConv(layer);
      case LayerKind::kMaxPool:
        if (layer.stride == 0) layer.stride = layer.kernel;
        return Slide("size", layer, shape_.channels);
      case LayerKind::kDropout:
        if (!(layer.rate >= 0 && layer.rate < 1)) {
          return Wrong("rate is " + Shown(layer.rate) + "; allowed: 0 to less than 1.");
        }
        return {};
      case LayerKind::kFlatten:
        if (is_flat_) return Wrong("its input is flat already; allowed: one flatten layer.");
        is_flat_ = true;
        shape_ = {static_cast<uint32_t>(shape_.size()), 1, 1};
        return {};
      case LayerKind::kDense:
        return AddDense(layer);
    }
    return Wrong("allowed: conv, max_pool, dropout, flatten and dense.");
  }

  Status AddConv(Layer& layer) {
    if (layer.stride == 0) layer.stride = 1;
    const uint32_t inputs = shape_.channels;
    Status status = InRange("filters", layer.units, 1, kMaxSide);
    if (status.ok()) status = Slide("kernel", layer, layer.units);
    if (!status.ok()) return status;
    const uint64_t window = uint64_t{layer.kernel} * layer.kernel;
    return AddParameters(layer, "conv", {layer.units, inputs, layer.kernel, layer.kernel}, inputs * window,
                         layer.units * window, 2 * shape_.size() * inputs * window);
  }

  Status AddDense(Layer& layer) {
    if (!is_flat_) return Wrong("its input is " + Shown(shape_) + "; put a flatten layer before it.");
    const uint64_t inputs = shape_.size();
    Status status = InRange("units", layer.units, 1, kMaxUnits);
    if (!status.ok()) return status;
    shape_ = {layer.units, 1, 1};
    return AddParameters(layer, "fc", {layer.units, inputs}, inputs, layer.units, 2 * inputs * layer.units);
  }

  // The output's shape of a window that moves over the input.
  Status Slide(std::string_view side_name, const Layer& layer, uint32_t channels) {
    if (is_flat_) return Wrong("its input is flat; put it before the flatten layer.");
    const uint64_t height = shape_.height + uint64_t{2} * layer.padding;
    const uint64_t width = shape_.width + uint64_t{2} * layer.padding;
    Status status = InRange("padding", layer.padding, 0, kMaxSide);
    if (status.ok()) status = InRange("stride", layer.stride, layer.kernel == 0 ? 0 : 1, kMaxSide);
    if (!status.ok()) return status;
    const uint64_t most = std::min(height, width);
    if (layer.kernel < 1 || layer.kernel > most) {
      return Wrong(std::string(side_name) + " is " + std::to_string(layer.kernel) + "; allowed: 1 to " +
                   std::to_string(most) + ", as its input is " + Shown(shape_) +
                   (layer.padding > 0 ? " and padded by " + std::to_string(layer.padding) : std::string()) + ".");
    }
    if (layer.padding >= layer.kernel) return InRange("padding", layer.padding, 0, layer.kernel - 1);
    shape_ = {channels, static_cast<uint32_t>((height - layer.kernel) / layer.stride + 1),
              static_cast<uint32_t>((width - layer.kernel) / layer.stride + 1)};
    return {};
  }

  Status AddParameters(Layer& layer, const char* prefix, std::vector<uint64_t> dims, uint64_t fan_in, uint64_t fan_out,
                       uint64_t flop) {
    const int number = ++(layer.kind == LayerKind::kConv ? convs_ : denses_);
    if (layer.name.empty()) layer.name = prefix + std::to_string(number);
    if (!IsName(layer.name)) {
      return Wrong("name is \"" + layer.name + "\"; allowed: 1 to " + std::to_string(kMaxName) +
                   " letters, digits, '.', '_' and '-'.");
    }
    if (!names_.insert(layer.name).second) {
      return Wrong("name is \"" + layer.name + "\", which another layer has; allowed: each name once.");
    }
    if (flop > kMaxFlop) {
      return Wrong("it takes " + std::to_string(flop) + " operations an image; allowed: " + std::to_string(kMaxFlop) +
                   " at most.");
    }
    model_.first_parameter.back() = static_cast<int>(model_.parameters.size());
    const uint64_t weights = fan_in * layer.units;
    model_.parameters.push_back(
        {layer.name + ".weight", std::move(dims), model_.parameter_count, weights, fan_in, fan_out});
    model_.parameters.push_back({layer.name + ".bias", {layer.units}, model_.parameter_count + weights, layer.units});
    model_.parameter_count += weights + layer.units;
    if (model_.forward_flop == 0) first_flop_ = flop;
    model_.forward_flop += flop;
    return {};
  }

  Status CheckLast() {
    layer_ = model_.spec.layers.size() - 1;
    const Layer& last = model_.spec.layers.back();
    if (last.kind != LayerKind::kDense) return Wrong("it is the last one; allowed there: dense.");
    if (last.relu) return Wrong("it is the last one and has an activation; allowed there: none.");
    return InRange("units", last.units, 2, 65535);
  }

  Model model_;
  Shape shape_;
  bool is_flat_ = false;
  size_t layer_ = 0;
  int convs_ = 0, denses_ = 0;
  uint64_t first_flop_ = 0;
  std::set<std::string> names_;
};

}  // namespace

Result<Model> MakeModel(const ModelSpec& spec) { return Builder(spec).Build(); }

Layer ConvLayer(uint32_t filters, uint32_t kernel, uint32_t stride, uint32_t padding, bool relu) {
  Layer layer{.kind = LayerKind::kConv, .name = ""};
  layer.units = filters;
  layer.kernel = kernel;
  layer.stride = stride;
  layer.padding = padding;
  layer.relu = relu;
  return layer;
}

Layer PoolLayer(uint32_t size, uint32_t stride) {
  Layer layer{.kind = LayerKind::kMaxPool, .name = ""};
  layer.kernel = size;
  layer.stride = stride;
  return layer;
}

Layer DropoutLayer(double rate) {
  Layer layer{.kind = LayerKind::kDropout, .name = ""};
  layer.rate = rate;
  return layer;
}

Layer FlattenLayer() { return {.kind = LayerKind::kFlatten, .name = ""}; }

Layer DenseLayer(uint32_t units, bool relu) {
  Layer layer{.kind = LayerKind::kDense, .name = ""};
  layer.units = units;
  layer.relu = relu;
  return layer;
}

ModelSpec MnistCnn() {
  ModelSpec spec{"mnist-cnn",
                 {1, 28, 28},
                 {ConvLayer(32, 3), ConvLayer(64, 3), PoolLayer(2, 2), DropoutLayer(0.5), FlattenLayer(),
                  DenseLayer(128, true), DenseLayer(10)}};
  const char* const names[] = {"conv1", "conv2", "", "", "", "fc1", "fc2"};
  for (size_t i = 0; i < spec.layers.size(); ++i) spec.layers[i].name = names[i];
  return spec;
}

std::vector<float> InitialParameters(const Model& model, uint64_t seed) {
  std::vector<float> values(model.parameter_count, 0.0f);
  for (uint32_t layer = 0; layer < model.spec.layers.size(); ++layer) {
    if (model.first_parameter[layer] < 0) continue;
    const Parameter& weight = model.parameters[model.first_parameter[layer]];
    const double bound = std::sqrt(6.0 / static_cast<double>(weight.fan_in + weight.fan_out));
    float* out = values.data() + weight.offset;
    for (uint64_t i = 0; i < weight.size; i += 4) {
      const Philox4 random = Philox(seed, static_cast<uint32_t>(i / 4), 0, 0, Word3(Purpose::kInitial, layer));
      for (uint64_t j = 0; j < 4 && i + j < weight.size; ++j) {
        out[i + j] = static_cast<float>((2.0 * UnitFloat(random.word[j]) - 1.0) * bound);
      }
    }
  }
  return values;
}

}  // namespace potluck::cnn
