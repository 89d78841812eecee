// The result of a training job, for people and for programs. Pure functions and a value, thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "cli/contributors.h"
#include "kernels/cnn/payload.h"
#include "proto/jobs.pb.h"

namespace potluck {

struct TrainResult {
  uint64_t job = 0;
  cnn::Spec spec;
  uint64_t parameters = 0;
  cnn::Summary summary;
  double seconds = 0;  // From submission to end.
  std::vector<Contributor> workers;
  std::string message;  // What verification found.

  // The last evaluation; null before the first.
  const cnn::Epoch* last() const { return summary.epochs.empty() ? nullptr : &summary.epochs.back(); }
  double images_per_second() const;
  uint64_t bytes_sent() const, bytes_received() const;
};

// Of a job that has ended, or so far. `now_unix_ms` serves where it has not. InvalidArgument if it is not a training
// job or its payload cannot be read.
absl::StatusOr<TrainResult> ReadTrainResult(const v1::JobStatus& status, int64_t now_unix_ms);

std::string ResultText(const TrainResult& result, bool complete = true);
nlohmann::ordered_json ResultJson(const TrainResult& result);

// One line an epoch, fields as in ResultJson's "history": JSON Lines, and CSV with a heading.
std::string MetricsJsonLines(const TrainResult& result);
std::string MetricsCsv(const TrainResult& result);

// "synchronous, batch 128", "8 replicas of 8 local steps, batch 32, int4 up, int4 down".
std::string MethodText(const cnn::Spec& spec);

}  // namespace potluck
