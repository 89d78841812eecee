#include "kernels/cnn/weights.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "kernels/cnn/results.h"

namespace potluck::cnn {
namespace {

// A thread for so many parameters, four at most: beyond that memory is the limit.
constexpr uint64_t kParametersAThread = uint64_t{1} << 22;

int ThreadsFor(uint64_t parameters) {
  const uint64_t most = std::clamp(std::thread::hardware_concurrency(), 1u, 4u);
  return static_cast<int>(std::clamp<uint64_t>(parameters / kParametersAThread, 1, most));
}

SharedBytes Share(std::shared_ptr<const void> owner, const std::vector<float>& floats) {
  return {std::move(owner), {reinterpret_cast<const char*>(floats.data()), 4 * floats.size()}};
}

Status NotFinite() { return Status::Error("a parameter is not finite after it"); }

}  // namespace

Weights::Weights(const Spec& spec, std::vector<float> parameters)
    : broadcast_(HasBroadcastError(spec) ? spec.local.broadcast : Compression::kNone),
      threads_(ThreadsFor(parameters.size())),
      parameters_(std::make_shared<const std::vector<float>>(std::move(parameters))),
      optimizer_(std::make_shared<Optimizer>(PlannerOptimizer(spec), parameters_->size())) {
  if (HasBroadcastError(spec)) error_ = std::make_shared<const std::vector<float>>(parameters_->size(), 0.0f);
}

Weights::Weights(const Spec& spec, State state) : Weights(spec, std::move(state.parameters)) {
  // DecodeState has seen to the sizes.
  (void)optimizer_->Restore(std::move(state.optimizer), state.progress.optimizer_steps).ok();
  if (error_) error_ = std::make_shared<const std::vector<float>>(std::move(state.broadcast_error));
}

Status Weights::Step(std::string total, float scale, double learning_rate, const RoundingKey& key) {
  // A state that is still being written keeps the optimizer that it was made from.
  if (optimizer_.use_count() > 1) optimizer_ = std::make_shared<Optimizer>(*optimizer_);
  auto next = std::make_shared<std::vector<float>>(*parameters_);
  optimizer_->Step(*next, FloatsOf(total, next->size()), scale, learning_rate, threads_);
  total = std::string();
  if (!AllFinite(*next)) return NotFinite();
  if (error_) {
    if (Status status = Compress(*next, key); !status.ok()) return status;
  }
  parameters_ = std::move(next);
  return {};
}

// `next` becomes what everybody reaches by the encoded update.
Status Weights::Compress(std::vector<float>& next, const RoundingKey& key) {
  const std::vector<float>& now = *parameters_;
  auto error = std::make_shared<std::vector<float>>(*error_);
  for (size_t i = 0; i < next.size(); ++i) (*error)[i] += now[i] - next[i];
  if (!AllFinite(*error)) return NotFinite();
  std::string codes;
  codes.reserve(EncodedBytes(broadcast_, next.size()));
  Encode(broadcast_, *error, key, codes);
  // A scale that does not fit 16 bits decodes to no number.
  if (!Decode(broadcast_, codes, next).ok() || !AllFinite(next)) return NotFinite();
  for (size_t i = 0; i < next.size(); ++i) {
    (*error)[i] -= next[i];
    next[i] = now[i] - next[i];
  }
  error_ = std::move(error);
  update_ = SharedBytes(std::move(codes));
  return {};
}

SharedBytes Weights::parameters() const { return Share(parameters_, *parameters_); }

std::vector<SharedBytes> Weights::Arrays() const {
  std::vector<SharedBytes> arrays{parameters()};
  for (const std::vector<float>& array : optimizer_->state()) arrays.push_back(Share(optimizer_, array));
  if (error_) arrays.push_back(Share(error_, *error_));
  return arrays;
}

Status ApplyUpdate(Compression compression, std::string_view codes, std::span<float> parameters) {
  std::vector<float> update(parameters.size());
  if (Status status = Decode(compression, codes, update); !status.ok()) return status;
  for (size_t i = 0; i < parameters.size(); ++i) parameters[i] = parameters[i] - update[i];
  return {};
}

}  // namespace potluck::cnn
