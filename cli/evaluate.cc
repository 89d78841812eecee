// `potluck evaluate`: how well a trained model knows a data set.
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/inference.h"
#include "cli/output.h"
#include "kernels/cnn/data/readers.h"
#include "worker/devices.h"

namespace potluck {
namespace {

// Wider ones are for --json.
constexpr uint32_t kMaxPrintedClasses = 30;

struct EvaluateFlags {
  std::string model;
  std::string data;
  std::string set = "test";
  int threads = UsableThreads();
  bool json = false;
};

std::optional<int> ReadFlags(const Args& args, EvaluateFlags& flags) {
  Arguments arguments("evaluate", "Tells how well a trained model knows a data set.");
  arguments.Positional("MODEL", {"a model.safetensors of `potluck train`", Text(&flags.model).read}, "the model");
  arguments.RequiredFlag("--data", "DIR", {"a folder that `potluck data inspect` can read", Text(&flags.data).read},
                         "the data set");
  arguments.Flag("--set", "S", OneOf(&flags.set, {"test", "training"}), "which images", "test");
  arguments.Flag("--threads", "T", WholeNumber(&flags.threads, 1, 1024), "CPU threads", "all cores");
  arguments.Switch("--json", &flags.json, "one JSON object on standard output");
  return arguments.Read(args);
}

struct Evaluation {
  uint64_t samples = 0, hits = 0;
  double loss = 0;  // Mean.
  double seconds = 0;
  std::vector<std::vector<uint64_t>> confusion;  // [label][class that the model saw]
};

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

absl::StatusOr<Evaluation> Evaluate(const Inference& inference, const cnn::DataSet& data) {
  const uint32_t classes = inference.model().classes;
  const double start = Seconds();
  const absl::StatusOr<std::vector<float>> logits = inference.Logits(data.pixels);
  if (!logits.ok()) return logits.status();
  Evaluation evaluation;
  evaluation.seconds = Seconds() - start;
  evaluation.samples = data.samples();
  evaluation.confusion.assign(classes, std::vector<uint64_t>(classes));
  for (uint64_t i = 0; i < data.samples(); ++i) {
    const std::span<const float> of_image = std::span(*logits).subspan(i * classes, classes);
    const uint32_t seen = BestClass(of_image), label = data.labels[i];
    ++evaluation.confusion[label][seen];
    evaluation.hits += seen == label ? 1 : 0;
    evaluation.loss += CrossEntropy(of_image, label);
  }
  evaluation.loss /= static_cast<double>(data.samples());
  return evaluation;
}

double Accuracy(const Evaluation& evaluation) {
  return static_cast<double>(evaluation.hits) / static_cast<double>(evaluation.samples);
}

void Print(const Evaluation& evaluation, const std::string& set) {
  std::printf("%s of %s %s images are seen right (%.2f %%), mean loss %.5f, in %.2f s\n",
              WithSeparators(absl::StrCat(evaluation.hits)).c_str(),
              WithSeparators(absl::StrCat(evaluation.samples)).c_str(), set.c_str(), 100 * Accuracy(evaluation),
              evaluation.loss, evaluation.seconds);
  const size_t classes = evaluation.confusion.size();
  if (classes > kMaxPrintedClasses) return;
  std::printf("\nOf the images with a label (rows), as many were seen as each class (columns):\n\n");
  std::vector<std::vector<std::string>> rows = {{"label"}};
  std::vector<size_t> right = {0};
  for (size_t column = 0; column < classes; ++column) {
    rows[0].push_back(absl::StrCat(column));
    right.push_back(column + 1);
  }
  for (size_t label = 0; label < classes; ++label) {
    rows.push_back({absl::StrCat(label)});
    for (const uint64_t count : evaluation.confusion[label]) rows.back().push_back(absl::StrCat(count));
  }
  std::printf("%s", Table(rows, right).c_str());
}

nlohmann::ordered_json AsJson(const Evaluation& evaluation, const EvaluateFlags& flags, const Inference& inference) {
  nlohmann::ordered_json json;
  json["model"] = inference.model().spec.name;
  json["set"] = flags.set;
  json["samples"] = evaluation.samples;
  json["hits"] = evaluation.hits;
  json["accuracy"] = Accuracy(evaluation);
  json["loss"] = evaluation.loss;
  json["confusion"] = evaluation.confusion;
  json["seconds"] = evaluation.seconds;
  json["numerics_class"] = inference.numerics_class();
  return json;
}

absl::Status Run(const EvaluateFlags& flags) {
  absl::StatusOr<ModelFile> file = ReadModelFile(flags.model);
  if (!file.ok()) return file.status();
  const Result<cnn::DataPair> pair = cnn::ReadDataFolder(flags.data, {.classes = file->model.classes});
  if (!pair.ok()) return absl::InvalidArgumentError(pair.status().message());
  const cnn::DataSet& data = flags.set == "test" ? pair->test : pair->train;
  if (absl::Status status = CheckShape(file->model, flags.data, data.shape); !status.ok()) return status;
  const absl::StatusOr<std::unique_ptr<Inference>> inference = Inference::Create(*std::move(file), flags.threads);
  if (!inference.ok()) return inference.status();
  if (!(*inference)->note().empty()) std::fprintf(stderr, "potluck: %s\n", (*inference)->note().c_str());
  const absl::StatusOr<Evaluation> evaluation = Evaluate(**inference, data);
  if (!evaluation.ok()) return evaluation.status();
  if (flags.json) {
    PrintJson(AsJson(*evaluation, flags, **inference));
  } else {
    Print(*evaluation, flags.set);
  }
  return absl::OkStatus();
}

}  // namespace

int RunEvaluate(const Args& args) {
  EvaluateFlags flags;
  if (const std::optional<int> code = ReadFlags(args, flags)) return *code;
  const absl::Status status = Run(flags);
  return status.ok() ? kExitOk : FailLocally(status);
}

}  // namespace potluck
