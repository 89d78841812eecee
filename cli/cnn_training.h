// Training in this process, without a coordinator: what the benchmarks of the network measure. One batch is one step:
// gathered from memory, forward, loss, backward, sums of micro-shards, optimizer.
//
// Not thread-safe. Errors are sentences.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cnn/backend.h"
#include "kernels/cnn/data/data_set.h"
#include "kernels/cnn/engine.h"
#include "kernels/cnn/model.h"
#include "kernels/cnn/optimizer.h"
#include "kernels/cnn/payload.h"

namespace potluck {

struct CnnTrainingOptions {
  cnn::ModelSpec model;
  cnn::Precision precision = cnn::Precision::kFp32;
  cnn::OptimizerSpec optimizer;
  uint64_t seed = 0;
  int threads = 1;
  uint32_t batch = 128;
  uint32_t micro_shard = 64;
};

class CnnTraining {
 public:
  // `data` is borrowed. `note` is what MakeCpuBackend has to say.
  static absl::StatusOr<std::unique_ptr<CnnTraining>> Create(const CnnTrainingOptions& options,
                                                             const cnn::DataPair& data, std::string* note);

  // One step with the next batch; the last batch of an epoch may be smaller.
  absl::Status Step();
  // Steps to the end of the epoch.
  absl::Status Epoch();
  // The first `samples` of the test set (all: 0), without dropout.
  absl::StatusOr<cnn::Tally> Evaluate(uint64_t samples = 0);

  uint64_t position() const { return position_; }                 // Samples trained on so far.
  const cnn::Tally& epoch_tally() const { return epoch_tally_; }  // Of the running or last epoch.
  std::string numerics_class() const { return backend_->numerics_class(); }

 private:
  CnnTraining(const CnnTrainingOptions& options, const cnn::DataPair& data) : options_(options), data_(data) {}

  const CnnTrainingOptions options_;
  const cnn::DataPair& data_;
  std::unique_ptr<cnn::Backend> backend_;
  std::unique_ptr<cnn::Engine> engine_;
  std::unique_ptr<cnn::Optimizer> optimizer_;
  std::vector<float> parameters_;  // In the backend's order.
  std::vector<uint32_t> order_;    // Of the running epoch.
  uint64_t position_ = 0;
  uint32_t step_ = 0;
  cnn::Tally epoch_tally_;
};

}  // namespace potluck
