// The flags of `potluck train` that say what is trained and how, and the specification that they make.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/arguments.h"
#include "kernels/cnn/payload.h"

namespace potluck {

struct TrainFlags {
  std::string model = "mnist-cnn";  // A preset, or a file with a ModelSpec in protobuf's text format.
  std::optional<int> epochs, batch, micro_shard, shift, seed;
  std::string precision = "fp32";

  std::string optimizer;  // Empty: what suits the method.
  std::optional<double> learning_rate, momentum, weight_decay, rho, beta1, beta2, epsilon;
  bool nesterov = false;
  std::string schedule;  // Empty: what suits the method.
  std::optional<double> warmup, final_factor, gamma;

  bool sync = false;
  std::optional<int> local_steps, replicas;
  std::string compress, broadcast;  // Empty: none.
  std::optional<double> outer_learning_rate, outer_momentum;

  std::optional<int> max_steps;
  std::optional<double> target_accuracy;
  std::optional<absl::Duration> time_limit;
  std::string numerics;

  void Declare(Arguments& arguments);
  // What contradicts itself: InvalidArgument names both flags.
  absl::Status Check() const;
  // The first flag given that a job which is taken up again cannot take; empty: none.
  std::string FixedFlag() const;
  bool ChangesLimits() const { return epochs || max_steps || target_accuracy || time_limit; }
  bool local() const { return local_steps || replicas; }
};

// Names of the models that need no file.
std::vector<std::string> PresetNames();
absl::StatusOr<cnn::ModelSpec> LoadModelSpec(const std::string& preset_or_file);
// The same as text, for people and for the run record.
std::string ModelSpecText(const cnn::ModelSpec& model);

// A specification without data: `spec.train` and `spec.test` are the caller's to fill in.
absl::StatusOr<cnn::Spec> MakeSpec(const TrainFlags& flags);
// Of a job that is taken up again, what the flags say otherwise: epochs and limits.
void ChangeLimits(const TrainFlags& flags, cnn::Spec& spec);
// The other method's flags with its own defaults, for what does not depend on the method: a plan compares both.
TrainFlags OtherMethod(const TrainFlags& flags);

}  // namespace potluck
