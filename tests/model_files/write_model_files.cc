// For the test of model files: writes a few networks as Potluck does, with images and the logits that Potluck computes
// of them, for other programs to compare.
//
//   write_model_files DIR    a folder a network in DIR: model.safetensors, model.onnx, model.json (its layers),
//                            images.bin (bytes) and logits.bin (floats)
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/inference.h"
#include "cli/model_file.h"
#include "kernels/cnn/data/synthesis.h"
#include "kernels/cnn/random.h"

namespace potluck {
namespace {

constexpr uint32_t kImages = 33;

using cnn::LayerKind;

// Between them every layer with every option: strides, padding, windows that leave a rest, several channels.
std::vector<cnn::ModelSpec> Networks() {
  cnn::ModelSpec strided{.name = "strided", .input = {3, 17, 12}, .layers = {}};
  strided.layers = {{.kind = LayerKind::kConv, .name = "first", .units = 5, .kernel = 5, .stride = 2, .padding = 2},
                    {.kind = LayerKind::kMaxPool, .name = "", .kernel = 3, .stride = 2},
                    {.kind = LayerKind::kConv, .name = "", .units = 7, .kernel = 1, .relu = true},
                    {.kind = LayerKind::kDropout, .name = "", .rate = 0.25},
                    {.kind = LayerKind::kFlatten, .name = ""},
                    {.kind = LayerKind::kDropout, .name = "", .rate = 0.5},
                    {.kind = LayerKind::kDense, .name = "last", .units = 3}};
  cnn::ModelSpec dense{.name = "dense", .input = {1, 28, 28}, .layers = {}};
  dense.layers = {{.kind = LayerKind::kFlatten, .name = ""},
                  {.kind = LayerKind::kDense, .name = "", .units = 32, .relu = true},
                  {.kind = LayerKind::kDense, .name = "", .units = 16},
                  {.kind = LayerKind::kDense, .name = "", .units = 10}};
  return {cnn::MnistCnn(), strided, dense};
}

nlohmann::ordered_json Describe(const cnn::Model& model) {
  static constexpr const char* kKinds[] = {"conv", "max_pool", "dropout", "flatten", "dense"};
  nlohmann::ordered_json json;
  json["input"] = {model.spec.input.channels, model.spec.input.height, model.spec.input.width};
  json["classes"] = model.classes;
  for (const cnn::Layer& layer : model.spec.layers) {
    json["layers"].push_back({{"kind", kKinds[static_cast<size_t>(layer.kind)]},
                              {"name", layer.name},
                              {"units", layer.units},
                              {"kernel", layer.kernel},
                              {"stride", layer.stride},
                              {"padding", layer.padding},
                              {"rate", layer.rate},
                              {"relu", layer.relu}});
  }
  for (const cnn::Parameter& parameter : model.parameters) json["parameters"][parameter.name] = parameter.dims;
  return json;
}

// Digits where they fit, else noise.
std::vector<uint8_t> Images(const cnn::Shape& shape) {
  if (shape == cnn::Shape{1, 28, 28}) return cnn::DrawDigits({.train = kImages, .test = 0, .seed = 4}).train.pixels;
  std::vector<uint8_t> pixels(kImages * shape.size());
  for (uint32_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(cnn::Philox(1, i, 0, 0, 0).word[0]);
  return pixels;
}

// Biases too: those of a new network are zero, and would not be missed.
std::vector<float> Parameters(const cnn::Model& model) {
  std::vector<float> parameters = cnn::InitialParameters(model, 11);
  for (const cnn::Parameter& parameter : model.parameters) {
    if (parameter.dims.size() != 1) continue;
    for (uint64_t i = 0; i < parameter.size; ++i) {
      parameters[parameter.offset + i] =
          cnn::UnitFloat(cnn::Philox(2, static_cast<uint32_t>(parameter.offset + i), 0, 0, 0).word[0]) - 0.5F;
    }
  }
  return parameters;
}

template <typename T>
void WriteBytes(const std::filesystem::path& path, const std::vector<T>& values) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
}

absl::Status WriteNetwork(const cnn::ModelSpec& spec, const std::filesystem::path& folder) {
  Result<cnn::Model> made = cnn::MakeModel(spec);
  if (!made.ok()) return absl::InternalError(made.status().message());
  const cnn::Model model = std::move(made).value();
  const std::vector<float> parameters = Parameters(model);
  std::filesystem::create_directories(folder);
  absl::Status status = WriteSafetensors(model, parameters, (folder / "model.safetensors").string());
  status.Update(WriteOnnx(model, parameters, (folder / "model.onnx").string()));
  if (!status.ok()) return status;
  absl::StatusOr<ModelFile> file = ReadModelFile((folder / "model.safetensors").string());
  if (!file.ok()) return file.status();
  const auto inference = Inference::Create(*std::move(file), 1);
  if (!inference.ok()) return inference.status();
  const std::vector<uint8_t> images = Images(model.spec.input);
  const absl::StatusOr<std::vector<float>> logits = (*inference)->Logits(images);
  if (!logits.ok()) return logits.status();
  WriteBytes(folder / "images.bin", images);
  WriteBytes(folder / "logits.bin", *logits);
  std::ofstream(folder / "model.json") << Describe(model).dump(1) << "\n";
  return absl::OkStatus();
}

int Main(const std::filesystem::path& folder) {
  for (const cnn::ModelSpec& spec : Networks()) {
    if (absl::Status status = WriteNetwork(spec, folder / spec.name); !status.ok()) {
      std::fprintf(stderr, "write_model_files: %s: %s\n", spec.name.c_str(), std::string(status.message()).c_str());
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace potluck

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_model_files DIR\n");
    return 2;
  }
  return potluck::Main(argv[1]);
}
