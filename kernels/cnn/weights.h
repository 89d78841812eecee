// The numbers that a training job's planner keeps: parameters, its optimizer's state, and what compressing the
// broadcast left over. Each step replaces the parameters; who holds earlier ones (workers that still read them, a state
// that is being written) keeps them as they were. Not thread-safe, but what it hands out may be read from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cnn/optimizer.h"
#include "kernels/cnn/payload.h"
#include "kernels/cnn/quantize.h"
#include "kernels/cnn/state.h"
#include "kernels/workload/shared_bytes.h"

namespace potluck::cnn {

class Weights {
 public:
  // At the beginning.
  Weights(const Spec& spec, std::vector<float> parameters);
  // Going on.
  Weights(const Spec& spec, State state);

  // One step along the sum in `total` (floats, then whatever), which it consumes. With a compressed broadcast the
  // change is encoded (update()), and exactly what that decodes to is applied. Fails, and nothing may be used any more,
  // if the parameters are not finite afterwards.
  Status Step(std::string total, float scale, double learning_rate, const RoundingKey& key);

  SharedBytes parameters() const;
  // The last step's change, encoded; empty before the first and where the broadcast is not compressed.
  const SharedBytes& update() const { return update_; }
  uint64_t steps() const { return optimizer_->steps(); }
  // What follows the header in a state.
  std::vector<SharedBytes> Arrays() const;

 private:
  using Floats = std::shared_ptr<const std::vector<float>>;
  Status Compress(std::vector<float>& next, const RoundingKey& key);

  const Compression broadcast_;
  const int threads_;
  Floats parameters_;
  std::shared_ptr<Optimizer> optimizer_;
  Floats error_;  // Null where the broadcast is not compressed.
  SharedBytes update_;
};

// parameters -= the update that `codes` encode: what every worker does to hold the planner's parameters.
Status ApplyUpdate(Compression compression, std::string_view codes, std::span<float> parameters);

}  // namespace potluck::cnn
