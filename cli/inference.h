// What a trained model says of images, on this machine's CPU, without a coordinator. Used by `predict` and `evaluate`.
//
// Not thread-safe; uses several threads. The logits of an image do not depend on how many there are, nor on the images
// beside it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/model_file.h"
#include "kernels/cnn/backend.h"
#include "kernels/cnn/data/data_set.h"

namespace potluck {

class Inference {
 public:
  static absl::StatusOr<std::unique_ptr<Inference>> Create(ModelFile file, int threads);

  const cnn::Model& model() const { return file_.model; }
  // Why the computation is slower than it could be, in one sentence; empty: it is not.
  const std::string& note() const { return note_; }
  std::string numerics_class() const { return backend_->numerics_class(); }

  // [images][classes], of images of the model's shape.
  absl::StatusOr<std::vector<float>> Logits(std::span<const uint8_t> pixels) const;

 private:
  Inference(ModelFile file, int threads) : file_(std::move(file)), threads_(threads) {}

  const ModelFile file_;
  const int threads_;
  std::string note_;
  std::unique_ptr<cnn::Backend> backend_;
  std::vector<float> native_;  // The parameters as the backend has them; `prepared_` borrows them.
  std::unique_ptr<cnn::PreparedParameters> prepared_;
};

// The first greatest one.
uint32_t BestClass(std::span<const float> logits);
// Their softmax, in double.
std::vector<double> Probabilities(std::span<const float> logits);
// -log of the softmax at `label`, in double.
double CrossEntropy(std::span<const float> logits, uint32_t label);

// That the model can look at these images; `path` is where they come from.
absl::Status CheckShape(const cnn::Model& model, const std::string& path, const cnn::Shape& shape);

}  // namespace potluck
