#include "cli/paper_training.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/cnn_training.h"
#include "cli/output.h"

namespace potluck {
namespace {

constexpr int kPaperEpochs = 12;

struct Published {
  const char* testbed;
  const char* cpu;
  double cpu_seconds;
  const char* gpu;
  double gpu_seconds;
};
constexpr Published kPublished[] = {{"Colab", "Xeon 2.3 GHz, 2 threads", 1925, "Tesla K80, one GK210", 135},
                                    {"Mainstream", "i7-3770, 4 cores", 1600, "GTX 1050 Ti", 110}};

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Spread {
  double mean = 0, deviation = 0, least = 0, most = 0;  // deviation: of a sample; 0 of one value.
};

template <typename Field>
Spread SpreadOf(const std::vector<PaperTrainingRun>& runs, Field field) {
  Spread spread;
  if (runs.empty()) return spread;
  spread.least = spread.most = runs.front().*field;
  for (const PaperTrainingRun& run : runs) {
    spread.mean += run.*field / static_cast<double>(runs.size());
    spread.least = std::min(spread.least, run.*field);
    spread.most = std::max(spread.most, run.*field);
  }
  if (runs.size() < 2) return spread;
  double squares = 0;
  for (const PaperTrainingRun& run : runs) squares += (run.*field - spread.mean) * (run.*field - spread.mean);
  spread.deviation = std::sqrt(squares / static_cast<double>(runs.size() - 1));
  return spread;
}

std::string WithDeviation(const char* format, const Spread& spread, size_t runs) {
  const auto text = [format](double value) { return absl::StrFormat(*absl::ParsedFormat<'f'>::New(format), value); };
  return runs < 2 ? text(spread.mean) : absl::StrCat(text(spread.mean), " +- ", text(spread.deviation));
}

absl::StatusOr<PaperTrainingRun> MeasureRun(const CnnTrainingOptions& training_options, int epochs,
                                            const std::string& label, const cnn::DataPair& data,
                                            ProgressDisplay& display, PaperTraining& result) {
  absl::StatusOr<std::unique_ptr<CnnTraining>> training = CnnTraining::Create(training_options, data, &result.note);
  if (!training.ok()) return training.status();
  result.numerics_class = (*training)->numerics_class();
  PaperTrainingRun run;
  const double start = Seconds();
  for (int epoch = 1; epoch <= epochs; ++epoch) {
    display.Show(absl::StrCat("training, ", label, ", epoch ", epoch, " of ", epochs));
    if (absl::Status trained = (*training)->Epoch(); !trained.ok()) return trained;
    const absl::StatusOr<cnn::Tally> tally = (*training)->Evaluate();
    if (!tally.ok()) return tally.status();
    run.loss = tally->loss_sum / static_cast<double>(tally->samples);
    run.accuracy = static_cast<double>(tally->hits) / static_cast<double>(tally->samples);
  }
  run.seconds = Seconds() - start;
  return run;
}

}  // namespace

absl::StatusOr<PaperTraining> MeasurePaperTraining(const PaperTrainingOptions& options, const cnn::DataPair& data,
                                                   ProgressDisplay& display) {
  PaperTraining result;
  result.options = options;
  result.data = data.train.name;
  result.samples = data.train.samples();
  result.test_samples = data.test.samples();
  CnnTrainingOptions training;
  training.model = cnn::MnistCnn();
  training.threads = options.threads;
  for (int i = 0; i < options.repeat; ++i) {
    training.seed = static_cast<uint64_t>(i) + 1;
    absl::StatusOr<PaperTrainingRun> run = MeasureRun(
        training, options.epochs, absl::StrCat("run ", i + 1, " of ", options.repeat), data, display, result);
    if (!run.ok()) return run.status();
    result.runs.push_back(*run);
  }
  return result;
}

std::string PaperTrainingText(const PaperTraining& training) {
  const Spread seconds = SpreadOf(training.runs, &PaperTrainingRun::seconds);
  const Spread accuracy = SpreadOf(training.runs, &PaperTrainingRun::accuracy);
  const double whole = static_cast<double>(kPaperEpochs) / training.options.epochs;
  std::vector<std::vector<std::string>> rows = {{"", "CPU", "s", "", "GPU", "s"}};
  rows.push_back({"here", absl::StrCat(training.options.threads, " threads"),
                  WithDeviation("%.1f", {seconds.mean * whole, seconds.deviation * whole}, training.runs.size()), "",
                  "-", "-"});
  for (const Published& one : kPublished) {
    rows.push_back({one.testbed, one.cpu, absl::StrFormat("%.0f", one.cpu_seconds), "", one.gpu,
                    absl::StrFormat("%.0f", one.gpu_seconds)});
  }
  std::string text = absl::StrCat("Table 2: seconds to train the network on ", training.samples, " images (",
                                  training.data, "), ", kPaperEpochs, " epochs\n", Table(rows, {2, 5}));
  if (training.options.epochs != kPaperEpochs) {
    absl::StrAppend(&text, "here: ", training.options.epochs,
                    training.options.epochs == 1 ? " epoch was" : " epochs were", " measured, ",
                    WithDeviation("%.1f", seconds, training.runs.size()), " s, and scaled\n");
  }
  absl::StrAppend(&text, "accuracy after ", training.options.epochs,
                  training.options.epochs == 1 ? " epoch" : " epochs", ", ", training.runs.size(),
                  training.runs.size() == 1 ? " run: " : " runs: ",
                  WithDeviation("%.2f", {100 * accuracy.mean, 100 * accuracy.deviation}, training.runs.size()),
                  " % of ", training.test_samples, " test images\n", training.numerics_class, "\n");
  if (!training.note.empty()) absl::StrAppend(&text, training.note, "\n");
  return text;
}

nlohmann::ordered_json PaperTrainingJson(const PaperTraining& training) {
  using Json = nlohmann::ordered_json;
  const auto spread_json = [](const Spread& spread) -> Json {
    return {{"mean", spread.mean}, {"deviation", spread.deviation}, {"least", spread.least}, {"most", spread.most}};
  };
  Json runs = Json::array();
  for (const PaperTrainingRun& run : training.runs) {
    runs.push_back({{"seconds", run.seconds}, {"test_loss", run.loss}, {"test_accuracy", run.accuracy}});
  }
  Json published = Json::array();
  for (const Published& one : kPublished) {
    published.push_back({{"testbed", one.testbed},
                         {"cpu", one.cpu},
                         {"cpu_seconds", one.cpu_seconds},
                         {"gpu", one.gpu},
                         {"gpu_seconds", one.gpu_seconds}});
  }
  return {{"data", training.data},
          {"samples", training.samples},
          {"epochs", training.options.epochs},
          {"threads", training.options.threads},
          {"numerics_class", training.numerics_class},
          {"note", training.note},
          {"seconds", spread_json(SpreadOf(training.runs, &PaperTrainingRun::seconds))},
          {"seconds_for_12_epochs",
           SpreadOf(training.runs, &PaperTrainingRun::seconds).mean * kPaperEpochs / training.options.epochs},
          {"test_accuracy", spread_json(SpreadOf(training.runs, &PaperTrainingRun::accuracy))},
          {"runs", std::move(runs)},
          {"published", std::move(published)}};
}

}  // namespace potluck
