// `potluck predict`: what a trained model sees in images.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/inference.h"
#include "cli/output.h"
#include "kernels/cnn/data/images.h"
#include "worker/devices.h"

namespace potluck {
namespace {

struct PredictFlags {
  std::string model;
  std::vector<std::string> files;
  int threads = UsableThreads();
  bool invert = false;
  bool json = false;
};

std::optional<int> ReadFlags(const Args& args, PredictFlags& flags) {
  Arguments arguments("predict", "Tells what a trained model sees in images.");
  arguments.Positional("MODEL", {"a model.safetensors of `potluck train`", Text(&flags.model).read}, "the model");
  arguments.Positionals("FILES", {"IDX, .npy, PGM or PPM files, compressed or not", Texts(&flags.files).read},
                        "images of the size that the model was trained with");
  arguments.Switch("--invert", &flags.invert,
                   "turn dark into light, as ink on paper is for a model trained with MNIST");
  arguments.Flag("--threads", "T", WholeNumber(&flags.threads, 1, 1024), "CPU threads", "all cores");
  arguments.Switch("--json", &flags.json, "one JSON object on standard output");
  return arguments.Read(args);
}

absl::StatusOr<cnn::DataSet> ReadFor(const cnn::Model& model, const PredictFlags& flags, const std::string& path) {
  Result<cnn::DataSet> images = cnn::ReadImages(path);
  if (!images.ok()) return absl::InvalidArgumentError(images.status().message());
  if (absl::Status status = CheckShape(model, path, images->shape); !status.ok()) return status;
  if (flags.invert) {
    for (uint8_t& pixel : images->pixels) pixel = static_cast<uint8_t>(255 - pixel);
  }
  return std::move(images).value();
}

void Print(const std::string& file, uint64_t index, bool is_alone, std::span<const float> logits) {
  const uint32_t best = BestClass(logits);
  std::printf("%s%s: class %u, %s\n", Printable(file).c_str(), is_alone ? "" : absl::StrCat(" #", index).c_str(), best,
              Percent(Probabilities(logits)[best]).c_str());
}

nlohmann::ordered_json AsJson(const std::string& file, uint64_t index, std::span<const float> logits) {
  const std::vector<double> probabilities = Probabilities(logits);
  const uint32_t best = BestClass(logits);
  return {{"file", file},
          {"index", index},
          {"class", best},
          {"probability", probabilities[best]},
          {"probabilities", probabilities}};
}

absl::Status Predict(const PredictFlags& flags) {
  absl::StatusOr<ModelFile> file = ReadModelFile(flags.model);
  if (!file.ok()) return file.status();
  const absl::StatusOr<std::unique_ptr<Inference>> inference = Inference::Create(*std::move(file), flags.threads);
  if (!inference.ok()) return inference.status();
  if (!(*inference)->note().empty()) std::fprintf(stderr, "potluck: %s\n", (*inference)->note().c_str());
  const cnn::Model& model = (*inference)->model();
  nlohmann::ordered_json json;
  json["model"] = model.spec.name;
  json["predictions"] = nlohmann::ordered_json::array();
  for (const std::string& path : flags.files) {
    const absl::StatusOr<cnn::DataSet> images = ReadFor(model, flags, path);
    if (!images.ok()) return images.status();
    const absl::StatusOr<std::vector<float>> logits = (*inference)->Logits(images->pixels);
    if (!logits.ok()) return logits.status();
    const uint64_t count = logits->size() / model.classes;
    for (uint64_t i = 0; i < count; ++i) {
      const std::span<const float> of_image = std::span(*logits).subspan(i * model.classes, model.classes);
      if (flags.json) {
        json["predictions"].push_back(AsJson(path, i, of_image));
      } else {
        Print(path, i, count == 1, of_image);
      }
    }
  }
  if (flags.json) PrintJson(json);
  return absl::OkStatus();
}

}  // namespace

int RunPredict(const Args& args) {
  PredictFlags flags;
  if (const std::optional<int> code = ReadFlags(args, flags)) return *code;
  const absl::Status status = Predict(flags);
  return status.ok() ? kExitOk : FailLocally(status);
}

}  // namespace potluck
