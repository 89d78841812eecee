// One replica of a round of local steps: from the round's parameters so many steps of a fresh optimizer on its own
// batches, and what that changed. Not thread-safe; keeps its buffers between replicas.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/cnn/backend.h"
#include "kernels/cnn/engine.h"
#include "kernels/cnn/feed.h"
#include "kernels/cnn/optimizer.h"
#include "kernels/cnn/payload.h"
#include "kernels/cnn/plan.h"

namespace potluck::cnn {

// What replicas of one round have in common; borrowed.
struct LocalRound {
  const Spec& spec;
  const RoundPayload& round;
  const RoundShape& shape;
  Feed& feed;
  const EpochSamples& samples;
  std::span<const float> parameters;  // In the order of model.h.
  std::span<const float> native;
};

class Replica {
 public:
  // `backend` must outlive it.
  Replica(const Backend& backend, const Model& model, const Spec& spec, int threads);

  int threads() const { return engine_.threads(); }
  // The result (results.h) of replica `index`: global - local, compressed if the job wants that, and a tally; a
  // diverged mark if a number is not finite. Fails when cancelled, or with what the feed or the backend says.
  Result<std::string> Run(const LocalRound& round, uint64_t index, const std::function<bool()>& cancelled);

 private:
  Status Step(const LocalRound& round, uint64_t index, uint64_t step, const std::function<bool()>& cancelled,
              Tally& tally);
  std::string Change(const LocalRound& round, uint64_t index, const Tally& tally);

  const Backend& backend_;
  Engine engine_;
  Optimizer optimizer_;
  std::vector<float> native_;
};

}  // namespace potluck::cnn
