// The paper's second experiment in `bench paper`: the network of its section IV-A trained on MNIST, table 2, as
// measured here and as published.
//
// Source: T. Carneiro et al., "Performance Analysis of Google Colaboratory as a Tool for Accelerating Deep Learning
// Applications", IEEE Access 6, 2018, section IV-A. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "cli/progress_display.h"
#include "kernels/cnn/data/data_set.h"

namespace potluck {

struct PaperTrainingOptions {
  int epochs = 12;
  int repeat = 1;
  int threads = 1;
};

struct PaperTrainingRun {
  double seconds = 0;  // Of all epochs, each with an evaluation on the test set after it, as Keras' example does.
  double loss = 0;     // On the test set, after the last.
  double accuracy = 0;
};

struct PaperTraining {
  PaperTrainingOptions options;
  std::string data, numerics_class, note;
  uint64_t samples = 0, test_samples = 0;
  std::vector<PaperTrainingRun> runs;  // Each from a seed of its own.
};

absl::StatusOr<PaperTraining> MeasurePaperTraining(const PaperTrainingOptions& options, const cnn::DataPair& data,
                                                   ProgressDisplay& display);

// At most 100 columns wide, ending with a line feed.
std::string PaperTrainingText(const PaperTraining& training);
nlohmann::ordered_json PaperTrainingJson(const PaperTraining& training);

}  // namespace potluck
