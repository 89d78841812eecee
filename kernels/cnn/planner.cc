#include "kernels/cnn/planner.h"

#include <utility>

#include "kernels/cnn/training.h"

namespace potluck::cnn {
namespace {

class CnnPlanner final : public Planner {
 public:
  CnnPlanner(std::unique_ptr<Training> training, BlobReader blobs)
      : training_(std::move(training)), blobs_(std::move(blobs)) {}

  Result<std::optional<Round>> NextRound(double job_seconds) override {
    if (!training_->has_begun()) {
      if (Status status = training_->Begin(blobs_); !status.ok()) return status;
    }
    return training_->Next(job_seconds);
  }
  Status Check(Interval interval, std::string_view payload) const override {
    return training_->Check(interval, payload);
  }
  Status Merge(Interval interval, std::string payload) override {
    return training_->Merge(interval, std::move(payload));
  }
  Result<std::string> Combine(std::span<const Part> parts) const override { return training_->Combine(parts); }
  void ResetRound() override { training_->Reset(); }
  // Takes the step that a complete round leads to, if NextRound has not: it is the same one.
  std::vector<SharedBytes> State() const override { return training_->State(); }
  Status Restore(std::string_view state) override { return training_->Restore(state); }
  std::string Summary() const override { return Encode(training_->Summarize()); }

 private:
  const std::unique_ptr<Training> training_;
  const BlobReader blobs_;
};

}  // namespace

Result<std::unique_ptr<Planner>> MakePlanner(std::string_view spec_bytes, BlobReader blobs) {
  Result<Spec> spec = DecodeSpec(spec_bytes);
  if (!spec.ok()) return spec.status();
  Result<Model> model = MakeModel(spec->model);
  if (!model.ok()) return model.status();
  auto training = std::make_unique<Training>(std::string(spec_bytes), *std::move(spec), *std::move(model));
  return std::unique_ptr<Planner>(new CnnPlanner(std::move(training), std::move(blobs)));
}

}  // namespace potluck::cnn
