#include "kernels/cnn/self_test.h"

#include <cmath>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/cnn/backend.h"
#include "kernels/cnn/model.h"

namespace potluck::cnn {
namespace {

// A convolution, a pool and two dense layers; no dropout.
ModelSpec TinyNetwork() {
  return {"self-test", {1, 8, 8}, {ConvLayer(4, 3), PoolLayer(2), FlattenLayer(), DenseLayer(8, true), DenseLayer(3)}};
}

struct Answers {
  double loss = 0;       // Of all samples.
  double gradient = 0;   // Sum of the gradient's numbers,
  double magnitude = 0;  // and of their magnitudes.
};
constexpr Answers kKnown{4.226162, 9.306988, 34.860435};
constexpr double kTolerance = 1e-4;  // Relative; 32-bit sums of some hundred terms.

Result<Answers> Compute(const Model& model, const Backend& backend) {
  constexpr uint32_t kSamples = 4;
  std::vector<uint8_t> pixels(kSamples * model.spec.input.size());
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 37 % 251);
  const std::vector<uint16_t> labels{0, 1, 2, 1};
  const std::vector<uint32_t> positions{0, 1, 2, 3};
  std::vector<float> native(backend.native_size()), gradient(native.size()), ordered(model.parameter_count);
  backend.ToNative(InitialParameters(model, 1), native);
  const auto prepared = backend.Prepare(native);
  if (!prepared.ok()) return prepared.status();
  const auto context = backend.NewContext(kSamples);
  if (!context.ok()) return context.status();
  ShardInput input{.samples = kSamples, .pixels = pixels.data(), .labels = labels.data()};
  input.positions = positions.data();
  ShardTally tally;
  if (Status status = (*context)->ForwardBackward(**prepared, input, gradient, tally); !status.ok()) return status;
  backend.FromNative(gradient, ordered);
  Answers answers{.loss = tally.loss_sum};
  for (const float value : ordered) {
    answers.gradient += value;
    answers.magnitude += std::abs(value);
  }
  return answers;
}

Status Compare(const char* what, double found, double known, double scale) {
  if (std::abs(found - known) <= kTolerance * scale) return {};
  return Status::Error("The self-test of the network's layers gives " + std::string(what) + " " +
                       std::to_string(found) + "; expected: " + std::to_string(known) + ".");
}

}  // namespace

Status RunSelfTest(const std::string& onednn_plugin) {
  const Result<Model> model = MakeModel(TinyNetwork());
  if (!model.ok()) return model.status();
  std::string note;
  const auto backend = MakeCpuBackend(*model, Precision::kFp32, onednn_plugin, &note);
  if (!backend.ok()) return backend.status();
  const Result<Answers> answers = Compute(*model, **backend);
  if (!answers.ok()) return answers.status();
  Status status = Compare("a loss of", answers->loss, kKnown.loss, kKnown.loss);
  if (status.ok()) status = Compare("a gradient with sum", answers->gradient, kKnown.gradient, kKnown.magnitude);
  if (status.ok()) status = Compare("a gradient of size", answers->magnitude, kKnown.magnitude, kKnown.magnitude);
  return status;
}

}  // namespace potluck::cnn
