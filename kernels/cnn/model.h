// What a network is: layers, shapes, parameters. The one description that every backend, file format and planner reads.
//
// Images are channels x height x width; all parameters of a model lie one after the other in one array of floats, in
// the order of the layers, weights before biases:
//   conv    weight [filters][channels][kernel][kernel], bias [filters]
//   dense   weight [units][inputs], bias [units]
// as in PyTorch, names included ("conv1.weight"); flattening goes channel by channel, row by row.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/workload/status.h"

namespace potluck::cnn {

struct Shape {
  uint32_t channels = 0, height = 0, width = 0;
  uint64_t size() const { return uint64_t{channels} * height * width; }
  friend bool operator==(const Shape&, const Shape&) = default;
};

enum class LayerKind { kConv, kMaxPool, kDropout, kFlatten, kDense };

// What a kind does not mention is 0.
struct Layer {
  LayerKind kind{};
  std::string name;      // kConv, kDense; empty: conv1, ..., fc1, ...
  uint32_t units = 0;    // kConv: filters; kDense: outputs.
  uint32_t kernel = 0;   // kConv, kMaxPool: side of the window.
  uint32_t stride = 0;   // kConv, kMaxPool.
  uint32_t padding = 0;  // kConv.
  double rate = 0;       // kDropout.
  bool relu = false;     // kConv, kDense.
  friend bool operator==(const Layer&, const Layer&) = default;
};

// Layers by their kind. A stride of 0 is the window's side when pooling, else 1.
Layer ConvLayer(uint32_t filters, uint32_t kernel, uint32_t stride = 1, uint32_t padding = 0, bool relu = true);
Layer PoolLayer(uint32_t size, uint32_t stride = 0);
Layer DropoutLayer(double rate);
Layer FlattenLayer();
Layer DenseLayer(uint32_t units, bool relu = false);

struct ModelSpec {
  std::string name;
  Shape input;
  std::vector<Layer> layers;
  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

struct Parameter {
  std::string name;  // "conv1.weight"
  std::vector<uint64_t> dims;
  uint64_t offset = 0;  // In floats, from the first parameter of the model.
  uint64_t size = 0;
  uint64_t fan_in = 0, fan_out = 0;  // Of a weight; 0 for a bias.
};

// A specification that was checked, and what follows from it.
struct Model {
  ModelSpec spec;                    // With all names and strides filled in.
  std::vector<Shape> outputs;        // Of each layer; after flattening and for dense layers {units, 1, 1}.
  std::vector<int> first_parameter;  // Index into `parameters` of each layer's weight; -1: it has none.
  std::vector<Parameter> parameters;
  uint64_t parameter_count = 0;
  uint32_t classes = 0;        // Outputs of the last layer.
  uint64_t training_flop = 0;  // Floating-point operations of forward and backward, an image.
  uint64_t forward_flop = 0;
};

// Fails with a sentence that names the layer (its number from 1, its kind), the value and what is allowed. Allowed: 1
// to 64 layers; sides up to 4096; at most 2^31 parameters; every window fits its input; convolutions and pooling before
// flattening, dense layers after it; the last layer dense without activation, with 2 to 65,535 units.
Result<Model> MakeModel(const ModelSpec& spec);

// The paper's network (Carneiro et al. 2018, section IV-A): 1,199,882 parameters.
ModelSpec MnistCnn();

// Glorot's uniform initialisation, as Keras: weights from U(-a, a) with a = sqrt(6 / (fan_in + fan_out)), biases 0.
// Drawn by counter from the seed: the same everywhere.
std::vector<float> InitialParameters(const Model& model, uint64_t seed);

}  // namespace potluck::cnn
