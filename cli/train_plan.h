// Predicts how long a training takes on 1, 2, ... of the workers at hand, by both methods. Pure functions and values.
//
// The model: a round lasts as long as its slowest worker, who gets the parameters, computes its share and sends its
// result; links are independent of each other; what a round costs besides, measured with all workers, grows with their
// number.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "kernels/cnn/payload.h"

namespace potluck {

struct PlanWorker {
  std::string name;
  double images_per_second = 0;        // Of synchronous steps,
  double local_images_per_second = 0;  // and of local ones, with the optimizer's part.
  double bytes_down_per_second = 0;    // To the worker.
  double bytes_up_per_second = 0;
};

struct PlanInput {
  std::vector<PlanWorker> workers;  // Any order.
  cnn::Spec synchronous, local;     // The job by either method.
  uint64_t parameters = 0;
  // What a round costs besides, a worker: seconds.
  double synchronous_overhead = 0, local_overhead = 0;
  double evaluation_images_per_second = 0;  // Of one worker of mean speed.
};

struct PlanRow {
  bool local = false;
  size_t workers = 0;                   // The fastest ones.
  double epoch_seconds = 0;             // Training and evaluation.
  double total_seconds = 0;             // All epochs, the data's way to the workers included.
  double bytes_up = 0, bytes_down = 0;  // A worker, an epoch.
};

// One round with all workers, without what it costs besides: seconds.
double BareRoundSeconds(const PlanInput& input, bool local);

// Rows for 1..k workers, synchronous first.
std::vector<PlanRow> Predict(const PlanInput& input);

// One sentence: what to do, and why.
std::string Advice(const PlanInput& input, const std::vector<PlanRow>& rows);

std::string PlanText(const PlanInput& input, const std::vector<PlanRow>& rows);
nlohmann::ordered_json PlanJson(const PlanInput& input, const std::vector<PlanRow>& rows);

}  // namespace potluck
