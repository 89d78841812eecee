// The messages of proto/cnn.proto as plain values, read and written without protobuf, and the layout of results.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cnn/backend.h"
#include "kernels/cnn/model.h"
#include "kernels/cnn/optimizer.h"
#include "kernels/cnn/quantize.h"
#include "kernels/workload/status.h"

namespace potluck::cnn {

struct DataSpec {
  std::string name;
  Shape shape;
  uint32_t classes = 0;
  uint64_t samples = 0;
  uint32_t samples_a_shard = 0;
  std::vector<std::string> shards;  // Blob digests, 32 bytes each.
  friend bool operator==(const DataSpec&, const DataSpec&) = default;
};

struct LocalSteps {
  uint32_t replicas = 0;  // 0: synchronous.
  uint32_t inner_steps = 0;
  double outer_learning_rate = 0.7;
  double outer_momentum = 0.9;
  Compression upload = Compression::kNone;
  Compression broadcast = Compression::kNone;
  friend bool operator==(const LocalSteps&, const LocalSteps&) = default;
};

struct Spec {
  ModelSpec model;
  DataSpec train, test;
  uint64_t seed = 0;
  uint32_t batch = 128;
  uint32_t epochs = 12;
  uint32_t micro_shard = 64;
  Precision precision = Precision::kFp32;
  OptimizerSpec optimizer;
  ScheduleSpec schedule;
  LocalSteps local;
  uint64_t max_steps = 0;
  double target_accuracy = 0;
  double time_limit_seconds = 0;
  uint32_t shift = 0;
  std::string initial_parameters;  // Blob digests, or empty.
  std::string initial_state;
  std::string numerics_class;
  friend bool operator==(const Spec&, const Spec&) = default;
};

std::string Encode(const ModelSpec& model);
Result<ModelSpec> DecodeModelSpec(std::string_view bytes);
std::string Encode(const Spec& spec);
// Well-formed, and every field in its range: a sentence names the field, its value and what is allowed.
Result<Spec> DecodeSpec(std::string_view bytes);
// The same check of one that was not decoded.
Status CheckSpec(const Spec& spec);

enum class RoundKind { kGradient = 1, kLocal = 2, kEvaluation = 3 };

struct RoundPayload {
  std::string spec;
  RoundKind kind = RoundKind::kGradient;
  uint64_t position = 0;
  uint64_t samples = 0;
  uint64_t step = 0;
  double learning_rate = 0;
  bool has_update = false;
  std::vector<double> learning_rates;
  friend bool operator==(const RoundPayload&, const RoundPayload&) = default;
};
std::string Encode(const RoundPayload& round);
Result<RoundPayload> DecodeRound(std::string_view bytes);

struct Epoch {
  uint32_t epoch = 0;
  uint64_t step = 0;
  double train_loss = 0, train_accuracy = 0, test_loss = 0, test_accuracy = 0, learning_rate = 0, seconds = 0;
  friend bool operator==(const Epoch&, const Epoch&) = default;
};

struct Summary {
  uint32_t epoch = 0;
  uint64_t step = 0, total_steps = 0, samples_seen = 0, total_samples = 0;
  double loss = 0, accuracy = 0, learning_rate = 0;
  bool is_evaluating = false;
  std::vector<Epoch> epochs;
  std::string stopped_by;
  friend bool operator==(const Summary&, const Summary&) = default;
};
std::string Encode(const Summary& summary);
Result<Summary> DecodeSummary(std::string_view bytes);

// What ends every result: 32 bytes, little-endian: loss sum (IEEE double), samples, hits, inner steps done (8 bytes
// each).
struct Tally {
  double loss_sum = 0;
  uint64_t samples = 0, hits = 0, steps = 0;
  void Add(const Tally& other) {
    loss_sum += other.loss_sum;
    samples += other.samples;
    hits += other.hits;
    steps += other.steps;
  }
  friend bool operator==(const Tally&, const Tally&) = default;
};
inline constexpr size_t kTallyBytes = 32;
void AppendTally(const Tally& tally, std::string& result);
// Of a result with at least kTallyBytes.
Tally ReadTally(std::string_view result);

}  // namespace potluck::cnn
