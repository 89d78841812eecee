// What a training job needs to go on, as bytes: how far it is, then its numbers.
//
//   8 bytes   "PLCNNST1"
//   8 bytes   length of the header, little-endian
//   header    a message of fields (kernels/workload/fields.h): what the state is of, and how far
//   floats    (32 bits, little-endian) the parameters in the order of model.h, the optimizer's arrays (with local
//             steps: the outer one's), and where the broadcast is compressed the error that it left
//
// The same state gives the same bytes, but for the seconds in it. Pure functions, thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cnn/payload.h"

namespace potluck::cnn {

// What comes next.
enum class Stage { kTraining = 1, kEvaluating = 2, kDone = 3 };

struct Progress {
  Stage stage = Stage::kTraining;
  uint32_t round = 0;            // Number of the next round to open.
  uint32_t epoch = 0;            // From 0.
  uint64_t batches_done = 0;     // Of this epoch.
  uint64_t step = 0;             // Optimizer steps done (of one replica).
  uint64_t optimizer_steps = 0;  // Of the planner's own optimizer.
  uint64_t samples_seen = 0;
  Tally epoch_tally;                 // Of this epoch's training so far.
  double loss = 0, loss_weight = 0;  // Smoothed: loss / loss_weight.
  double earlier_seconds = 0;        // Of jobs that this one goes on from.
  double seconds = 0;                // Of this job, when last asked.
  std::vector<Epoch> epochs;         // An evaluation each.
  std::string stopped_by;            // As in Summary.
};

struct State {
  Progress progress;
  std::vector<float> parameters;
  std::vector<std::vector<float>> optimizer;
  std::vector<float> broadcast_error;  // Empty where the broadcast is not compressed.
};

// The optimizer whose state the planner keeps: the job's, or with local steps the outer Nesterov momentum.
OptimizerSpec PlannerOptimizer(const Spec& spec);
bool HasBroadcastError(const Spec& spec);

// All before the floats.
std::string EncodeStateHeader(const Spec& spec, const Progress& progress);
// Fails with a sentence if the bytes are damaged, short or too long, hold a number that is not finite, or are the state
// of another job than `spec` can go on from: another network, optimizer, number of samples, batch or way of training.
Result<State> DecodeState(const Spec& spec, const Model& model, std::string_view bytes);

}  // namespace potluck::cnn
