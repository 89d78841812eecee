#include "cli/inference.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cnn/onednn/plugin.h"
#include "kernels/workload/parallel.h"

namespace potluck {
namespace {

constexpr uint64_t kBatch = 128;  // Images that a thread computes together.

std::string ShapeText(const cnn::Shape& shape) {
  return absl::StrCat(shape.width, " x ", shape.height, " pixels in ", shape.channels,
                      shape.channels == 1 ? " channel" : " channels");
}

double LogSumExp(std::span<const float> logits) {
  const double greatest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} - greatest);
  return greatest + std::log(sum);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Inference>> Inference::Create(ModelFile file, int threads) {
  std::unique_ptr<Inference> inference(new Inference(std::move(file), threads));
  Result<std::unique_ptr<cnn::Backend>> backend = cnn::MakeCpuBackend(
      inference->model(), cnn::Precision::kFp32, cnn::OnednnPluginBesideProgram(), &inference->note_);
  if (!backend.ok()) return absl::InternalError(backend.status().message());
  inference->backend_ = std::move(backend).value();
  inference->native_.resize(inference->backend_->native_size());
  inference->backend_->ToNative(inference->file_.parameters, inference->native_);
  Result<std::unique_ptr<cnn::PreparedParameters>> prepared = inference->backend_->Prepare(inference->native_);
  if (!prepared.ok()) return absl::InternalError(prepared.status().message());
  inference->prepared_ = std::move(prepared).value();
  return inference;
}

absl::StatusOr<std::vector<float>> Inference::Logits(std::span<const uint8_t> pixels) const {
  const uint64_t size = model().spec.input.size(), images = pixels.size() / size, classes = model().classes;
  const uint64_t batches = (images + kBatch - 1) / kBatch;
  std::vector<float> logits(images * classes);
  std::atomic<uint64_t> next = 0;
  std::mutex mutex;
  Status failed;
  RunOnThreads(static_cast<int>(std::min<uint64_t>(static_cast<uint64_t>(threads_), batches)), [&](int) {
    const Result<std::unique_ptr<cnn::Context>> context = backend_->NewContext(kBatch);
    Status status = context.ok() ? Status() : context.status();
    for (uint64_t batch = 0; status.ok() && (batch = next.fetch_add(1)) < batches;) {
      const uint64_t first = batch * kBatch, count = std::min(kBatch, images - first);
      cnn::ShardInput input;
      input.samples = static_cast<uint32_t>(count);
      input.pixels = pixels.data() + first * size;
      cnn::ShardTally tally;
      status =
          (*context)->Forward(*prepared_, input, std::span(logits).subspan(first * classes, count * classes), tally);
    }
    if (status.ok()) return;
    const std::lock_guard lock(mutex);
    failed = status;
  });
  if (!failed.ok()) return absl::InternalError(failed.message());
  return logits;
}

uint32_t BestClass(std::span<const float> logits) {
  return static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

std::vector<double> Probabilities(std::span<const float> logits) {
  const double total = LogSumExp(logits);
  std::vector<double> probabilities;
  for (const float logit : logits) probabilities.push_back(std::exp(double{logit} - total));
  return probabilities;
}

double CrossEntropy(std::span<const float> logits, uint32_t label) { return LogSumExp(logits) - double{logits[label]}; }

absl::Status CheckShape(const cnn::Model& model, const std::string& path, const cnn::Shape& shape) {
  if (shape == model.spec.input) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": its images have ", ShapeText(shape), "; the model looks at ", ShapeText(model.spec.input)));
}

}  // namespace potluck
