// Optimizers: each number by itself, in 32-bit arithmetic without contraction, so that equal inputs give equal bits on
// every machine, whatever the number of threads and the order of the parameters in memory.
//
// As in PyTorch 2 (torch.optim.SGD, Adadelta, AdamW); sources: Polyak 1964 and Nesterov 1983 by way of Sutskever et al.
// 2013; Zeiler 2012; Loshchilov and Hutter 2019.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/workload/status.h"

namespace potluck::cnn {

enum class OptimizerKind { kSgd = 1, kAdadelta = 2, kAdamW = 3 };

struct OptimizerSpec {
  OptimizerKind kind = OptimizerKind::kAdadelta;
  double learning_rate = 1.0;
  double momentum = 0;      // kSgd.
  bool nesterov = false;    // kSgd.
  double weight_decay = 0;  // kSgd, kAdamW.
  double rho = 0.95;        // kAdadelta.
  double beta1 = 0.9;       // kAdamW.
  double beta2 = 0.999;
  double epsilon = 1e-7;  // kAdadelta, kAdamW.
  friend bool operator==(const OptimizerSpec&, const OptimizerSpec&) = default;
};

// A sentence naming the field, its value and what is allowed.
Status CheckOptimizer(const OptimizerSpec& spec);

std::string_view ToString(OptimizerKind kind);

// How many arrays of the parameters' size its state has: SGD 0 or 1 (with momentum), Adadelta and AdamW 2.
int StateArrays(const OptimizerSpec& spec);

// One optimizer's state, beginning with zeros. Not thread-safe.
class Optimizer {
 public:
  Optimizer(const OptimizerSpec& spec, uint64_t parameters);

  // params -= f(gradient * gradient_scale). `learning_rate` is that of this step. Uses up to `threads` threads.
  void Step(std::span<float> parameters, std::span<const float> gradient, float gradient_scale, double learning_rate,
            int threads = 1);

  const OptimizerSpec& spec() const { return spec_; }
  uint64_t steps() const { return steps_; }
  // The state, for checkpoints: StateArrays(spec) arrays.
  const std::vector<std::vector<float>>& state() const { return state_; }
  // Fails if sizes do not fit.
  Status Restore(std::vector<std::vector<float>> state, uint64_t steps);
  // Back to the beginning.
  void Reset();

 private:
  OptimizerSpec spec_;
  uint64_t steps_ = 0;
  std::vector<std::vector<float>> state_;
};

// The factor on the learning rate at `step` (from 0) of `total_steps` in `epoch` (from 0); see CnnSchedule in
// proto/cnn.proto. Equal bits on every machine.
enum class ScheduleKind { kConstant = 0, kCosine = 1, kExponential = 2 };
struct ScheduleSpec {
  ScheduleKind kind = ScheduleKind::kConstant;
  double warmup_share = 0;
  double final_factor = 0;
  double gamma = 1;
  friend bool operator==(const ScheduleSpec&, const ScheduleSpec&) = default;
};
Status CheckSchedule(const ScheduleSpec& spec);
double ScheduleFactor(const ScheduleSpec& spec, uint64_t step, uint64_t total_steps, uint64_t epoch);

}  // namespace potluck::cnn
