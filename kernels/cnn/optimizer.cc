#include "kernels/cnn/optimizer.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/workload/parallel.h"

// Every operation below is one that IEEE 754 rounds correctly (+, -, *, /, square root), and this file is compiled
// without contraction of a * b + c: so vectors of any width, any number of threads and any machine give the same bits.
// For that reason pow() and cos() are spelled out.

namespace potluck::cnn {

namespace {

// base^exponent by squaring.
double Power(double base, uint64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) result *= base;
    base *= base;
  }
  return result;
}

// cos(pi x) for x in [0, 1]: Taylor's series to 2e-17 in a quarter turn.
double CosinePi(double x) {
  if (x > 0.5) return -CosinePi(1.0 - x);
  constexpr double kPi = 3.14159265358979323846;
  const double square = (kPi * x) * (kPi * x);
  double sum = 0;
  for (int n = 26; n >= 2; n -= 2) sum = (sum + 1.0) * (-square / (static_cast<double>(n - 1) * n));
  return 1.0 + sum;
}

struct Range {
  uint64_t begin, end;
};

// What one step does to the numbers of a range. Arrays do not overlap.
struct Arrays {
  float* __restrict parameters;
  const float* __restrict gradient;
  float* __restrict first;
  float* __restrict second;
  float scale;
};

template <bool kDecay, bool kMomentum, bool kNesterov>
void StepSgd(const Arrays& arrays, Range range, float rate, float momentum, float decay) {
  float* __restrict parameters = arrays.parameters;
  const float* __restrict gradients = arrays.gradient;
  float* __restrict velocities = arrays.first;
  const float scale = arrays.scale;
  for (uint64_t i = range.begin; i < range.end; ++i) {
    float gradient = gradients[i] * scale;
    if (kDecay) gradient = gradient + decay * parameters[i];
    if (kMomentum) {
      const float velocity = momentum * velocities[i] + gradient;
      velocities[i] = velocity;
      gradient = kNesterov ? gradient + momentum * velocity : velocity;
    }
    parameters[i] = parameters[i] - rate * gradient;
  }
}

void StepSgd(const OptimizerSpec& spec, const Arrays& arrays, Range range, double learning_rate) {
  const float rate = static_cast<float>(learning_rate), momentum = static_cast<float>(spec.momentum);
  const float decay = static_cast<float>(spec.weight_decay);
  const auto run = [&](auto step) { step(arrays, range, rate, momentum, decay); };
  if (spec.momentum == 0) {
    decay == 0 ? run(StepSgd<false, false, false>) : run(StepSgd<true, false, false>);
  } else if (!spec.nesterov) {
    decay == 0 ? run(StepSgd<false, true, false>) : run(StepSgd<true, true, false>);
  } else {
    decay == 0 ? run(StepSgd<false, true, true>) : run(StepSgd<true, true, true>);
  }
}

void StepAdadelta(const OptimizerSpec& spec, const Arrays& arrays, Range range, double learning_rate) {
  float* __restrict parameters = arrays.parameters;
  const float* __restrict gradients = arrays.gradient;
  float* __restrict squares = arrays.first;
  float* __restrict deltas = arrays.second;
  const float scale = arrays.scale, rate = static_cast<float>(learning_rate);
  const float rho = static_cast<float>(spec.rho), other = static_cast<float>(1 - spec.rho);
  const float epsilon = static_cast<float>(spec.epsilon);
  for (uint64_t i = range.begin; i < range.end; ++i) {
    const float gradient = gradients[i] * scale;
    const float square = squares[i] * rho + other * gradient * gradient;
    const float delta = std::sqrt(deltas[i] + epsilon) / std::sqrt(square + epsilon) * gradient;
    squares[i] = square;
    deltas[i] = deltas[i] * rho + other * delta * delta;
    parameters[i] = parameters[i] - rate * delta;
  }
}

void StepAdamW(const OptimizerSpec& spec, const Arrays& arrays, Range range, double learning_rate, uint64_t step) {
  float* __restrict parameters = arrays.parameters;
  const float* __restrict gradients = arrays.gradient;
  float* __restrict means = arrays.first;
  float* __restrict squares = arrays.second;
  const float scale = arrays.scale, epsilon = static_cast<float>(spec.epsilon);
  const float keep = static_cast<float>(1 - learning_rate * spec.weight_decay);
  const float weight = static_cast<float>(1 - spec.beta1);
  const float beta2 = static_cast<float>(spec.beta2), other = static_cast<float>(1 - spec.beta2);
  const float rate = static_cast<float>(learning_rate / (1 - Power(spec.beta1, step)));
  const float correction = static_cast<float>(std::sqrt(1 - Power(spec.beta2, step)));
  for (uint64_t i = range.begin; i < range.end; ++i) {
    const float gradient = gradients[i] * scale;
    const float mean = means[i] + weight * (gradient - means[i]);
    const float square = squares[i] * beta2 + other * gradient * gradient;
    means[i] = mean;
    squares[i] = square;
    parameters[i] = parameters[i] * keep - rate * mean / (std::sqrt(square) / correction + epsilon);
  }
}

Status Wrong(const std::string& field, double value, const std::string& allowed) {
  return Status::Error(field + " is " + std::to_string(value) + "; allowed: " + allowed + ".");
}

bool IsFactor(double value) { return value >= 0 && value < 1; }

}  // namespace

Status CheckOptimizer(const OptimizerSpec& spec) {
  const auto kind = static_cast<uint32_t>(spec.kind);
  if (kind < 1 || kind > 3) {
    return Status::Error("optimizer is " + std::to_string(kind) + "; allowed: 1 (SGD), 2 (ADADELTA) and 3 (ADAMW).");
  }
  if (!(spec.learning_rate >= 0 && spec.learning_rate <= 1e6)) {
    return Wrong("learning_rate", spec.learning_rate, "0 to 1000000");
  }
  if (!(spec.weight_decay >= 0 && spec.weight_decay <= 1000)) {
    return Wrong("weight_decay", spec.weight_decay, "0 to 1000");
  }
  if (!IsFactor(spec.momentum)) return Wrong("momentum", spec.momentum, "0 to less than 1");
  if (spec.nesterov && spec.momentum == 0) return Wrong("momentum", 0, "with nesterov more than 0, less than 1");
  if (!IsFactor(spec.rho)) return Wrong("rho", spec.rho, "0 to less than 1");
  if (!IsFactor(spec.beta1)) return Wrong("beta1", spec.beta1, "0 to less than 1");
  if (!IsFactor(spec.beta2)) return Wrong("beta2", spec.beta2, "0 to less than 1");
  // Below the least normal float it could become 0, and 0 / 0.
  if (spec.kind != OptimizerKind::kSgd && !(spec.epsilon >= 1e-30 && spec.epsilon <= 1)) {
    return Status::Error("epsilon is " + std::to_string(spec.epsilon) + "; allowed: 1e-30 to 1.");
  }
  if (spec.kind != OptimizerKind::kSgd && spec.momentum != 0) {
    return Wrong("momentum", spec.momentum, "0, as only sgd has it");
  }
  if (spec.kind == OptimizerKind::kAdadelta && spec.weight_decay != 0) {
    return Wrong("weight_decay", spec.weight_decay, "0, as adadelta has none");
  }
  return {};
}

std::string_view ToString(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::kSgd:
      return "sgd";
    case OptimizerKind::kAdadelta:
      return "adadelta";
    case OptimizerKind::kAdamW:
      return "adamw";
  }
  return "unknown";
}

int StateArrays(const OptimizerSpec& spec) {
  if (spec.kind == OptimizerKind::kSgd) return spec.momentum == 0 ? 0 : 1;
  return 2;
}

Optimizer::Optimizer(const OptimizerSpec& spec, uint64_t parameters)
    : spec_(spec), state_(StateArrays(spec), std::vector<float>(parameters, 0.0f)) {}

void Optimizer::Step(std::span<float> parameters, std::span<const float> gradient, float gradient_scale,
                     double learning_rate, int threads) {
  ++steps_;
  const Arrays arrays{parameters.data(), gradient.data(), state_.empty() ? nullptr : state_[0].data(),
                      state_.size() < 2 ? nullptr : state_[1].data(), gradient_scale};
  const auto run = [&](Range range) {
    switch (spec_.kind) {
      case OptimizerKind::kSgd:
        return StepSgd(spec_, arrays, range, learning_rate);
      case OptimizerKind::kAdadelta:
        return StepAdadelta(spec_, arrays, range, learning_rate);
      case OptimizerKind::kAdamW:
        return StepAdamW(spec_, arrays, range, learning_rate, steps_);
    }
  };
  // A range is whole pages, so that threads share none.
  constexpr uint64_t kAlign = 1024;
  const uint64_t size = parameters.size();
  const uint64_t share = (size / std::max(threads, 1) + kAlign) / kAlign * kAlign;
  const auto ranges = static_cast<int>((size + share - 1) / share);
  if (ranges <= 1) return run({0, size});
  RunOnThreads(ranges, [&](int i) { run({i * share, std::min(size, (i + 1) * share)}); });
}

Status Optimizer::Restore(std::vector<std::vector<float>> state, uint64_t steps) {
  if (state.size() != state_.size()) {
    return Status::Error("The state of " + std::string(ToString(spec_.kind)) + " has " + std::to_string(state.size()) +
                         " arrays; allowed: " + std::to_string(state_.size()) + ".");
  }
  for (size_t i = 0; i < state.size(); ++i) {
    if (state[i].size() != state_[i].size()) {
      return Status::Error("An array of the state of " + std::string(ToString(spec_.kind)) + " has " +
                           std::to_string(state[i].size()) + " values; allowed: " + std::to_string(state_[i].size()) +
                           ".");
    }
  }
  state_ = std::move(state);
  steps_ = steps;
  return {};
}

void Optimizer::Reset() {
  steps_ = 0;
  for (std::vector<float>& array : state_) std::fill(array.begin(), array.end(), 0.0f);
}

Status CheckSchedule(const ScheduleSpec& spec) {
  const auto kind = static_cast<uint32_t>(spec.kind);
  if (kind > 2) {
    return Status::Error("schedule is " + std::to_string(kind) +
                         "; allowed: 0 (CONSTANT), 1 (COSINE) and 2 (EXPONENTIAL).");
  }
  if (!IsFactor(spec.warmup_share)) return Wrong("warmup_share", spec.warmup_share, "0 to less than 1");
  if (!(spec.final_factor >= 0 && spec.final_factor <= 1)) {
    return Wrong("final_factor", spec.final_factor, "0 to 1");
  }
  if (!(spec.gamma >= 0 && spec.gamma <= 1)) return Wrong("gamma", spec.gamma, "0 to 1");
  if (spec.kind == ScheduleKind::kExponential && spec.gamma == 0) {
    return Wrong("gamma", spec.gamma, "with EXPONENTIAL more than 0, 1 at most");
  }
  return {};
}

double ScheduleFactor(const ScheduleSpec& spec, uint64_t step, uint64_t total_steps, uint64_t epoch) {
  const double warmup = spec.warmup_share * static_cast<double>(total_steps);
  const double done = static_cast<double>(step);
  const double rise = done + 1 < warmup ? (done + 1) / warmup : 1.0;
  switch (spec.kind) {
    case ScheduleKind::kConstant:
      return rise;
    case ScheduleKind::kCosine: {
      if (rise < 1) return rise;
      const double left = static_cast<double>(total_steps) - warmup;
      const double share = left > 0 ? std::clamp((done - warmup) / left, 0.0, 1.0) : 0.0;
      return spec.final_factor + (1 - spec.final_factor) * 0.5 * (1 + CosinePi(share));
    }
    case ScheduleKind::kExponential:
      return rise * Power(spec.gamma, epoch);
  }
  return 1;
}

}  // namespace potluck::cnn
