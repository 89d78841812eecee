#include "cli/cnn_training.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "kernels/cnn/data/order.h"
#include "kernels/cnn/onednn/plugin.h"

namespace potluck {
namespace {

absl::Status ToAbsl(const Status& status) { return absl::InternalError(status.message()); }

// Samples of a set in memory, in some order.
class SetSource final : public cnn::SampleSource {
 public:
  // `order` may be null: as they come.
  SetSource(const cnn::DataSet& set, const uint32_t* order, uint64_t first_position)
      : set_(set), order_(order), first_position_(first_position) {}

  Status Gather(uint64_t first, uint32_t count, uint8_t* pixels, uint16_t* labels, uint32_t* positions) override {
    const size_t size = set_.shape.size();
    for (uint32_t i = 0; i < count; ++i) {
      const uint64_t sample = order_ == nullptr ? first + i : order_[first + i];
      std::memcpy(pixels + i * size, set_.image(sample), size);
      labels[i] = set_.labels[sample];
      positions[i] = static_cast<uint32_t>(first_position_ + first + i);
    }
    return {};
  }

 private:
  const cnn::DataSet& set_;
  const uint32_t* order_;
  const uint64_t first_position_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CnnTraining>> CnnTraining::Create(const CnnTrainingOptions& options,
                                                                 const cnn::DataPair& data, std::string* note) {
  const Result<cnn::Model> model = cnn::MakeModel(options.model);
  if (!model.ok()) return absl::InvalidArgumentError(model.status().message());
  if (!(data.train.shape == model->spec.input) || data.train.classes > model->classes || data.train.samples() == 0) {
    return absl::InvalidArgumentError("the data set \"" + data.train.name + "\" does not fit the network \"" +
                                      options.model.name + "\": its images or classes are others");
  }
  Result<std::unique_ptr<cnn::Backend>> backend =
      cnn::MakeCpuBackend(*model, options.precision, cnn::OnednnPluginBesideProgram(), note);
  if (!backend.ok()) return absl::FailedPreconditionError(backend.status().message());
  std::unique_ptr<CnnTraining> training(new CnnTraining(options, data));
  training->backend_ = std::move(backend).value();
  training->engine_ = std::make_unique<cnn::Engine>(*training->backend_, *model, options.threads, options.micro_shard);
  training->parameters_.resize(training->backend_->native_size());
  training->backend_->ToNative(cnn::InitialParameters(*model, options.seed), training->parameters_);
  training->optimizer_ = std::make_unique<cnn::Optimizer>(options.optimizer, training->parameters_.size());
  return training;
}

absl::Status CnnTraining::Step() {
  const uint64_t samples = data_.train.samples(), place = position_ % samples;
  if (place == 0) {
    order_ = cnn::EpochOrder(options_.seed, static_cast<uint32_t>(position_ / samples), static_cast<uint32_t>(samples));
    epoch_tally_ = {};
  }
  const cnn::Batch batch{
      .samples = std::min<uint64_t>(options_.batch, samples - place), .seed = options_.seed, .step = step_};
  SetSource source(data_.train, order_.data() + place, position_);
  const Result<std::unique_ptr<cnn::PreparedParameters>> prepared = backend_->Prepare(parameters_);
  if (!prepared.ok()) return ToAbsl(prepared.status());
  const Status done = engine_->Gradient(
      **prepared, source, batch, {0, engine_->Shards(batch)}, [&](const cnn::BlockSum& sum) -> Status {
        optimizer_->Step(parameters_, sum.gradient, 1.0f / static_cast<float>(batch.samples),
                         options_.optimizer.learning_rate, options_.threads);
        epoch_tally_.Add(sum.tally);
        return {};
      });
  if (!done.ok()) return ToAbsl(done);
  position_ += batch.samples;
  ++step_;
  return absl::OkStatus();
}

absl::Status CnnTraining::Epoch() {
  do {
    if (absl::Status stepped = Step(); !stepped.ok()) return stepped;
  } while (position_ % data_.train.samples() != 0);
  return absl::OkStatus();
}

absl::StatusOr<cnn::Tally> CnnTraining::Evaluate(uint64_t samples) {
  const cnn::Batch batch{.samples = samples == 0 ? data_.test.samples() : std::min(samples, data_.test.samples())};
  if (batch.samples == 0) return absl::InvalidArgumentError("the data set has no test samples");
  SetSource source(data_.test, nullptr, 0);
  const Result<std::unique_ptr<cnn::PreparedParameters>> prepared = backend_->Prepare(parameters_);
  if (!prepared.ok()) return ToAbsl(prepared.status());
  cnn::Tally tally;
  const Status done = engine_->Evaluate(**prepared, source, batch, {0, engine_->Shards(batch)},
                                        [&](const cnn::BlockSum& sum) -> Status {
                                          tally.Add(sum.tally);
                                          return {};
                                        });
  if (!done.ok()) return ToAbsl(done);
  return tally;
}

}  // namespace potluck
