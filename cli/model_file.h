// Trained models as files. model.safetensors (github.com/huggingface/safetensors: 8 bytes with the length of a JSON
// header, the header, the numbers) is what Potluck reads and writes: tensors are named as in PyTorch's state_dict, and
// the metadata's "potluck.model" holds the ModelSpec (base64), so that a file says by itself what it is. There is no
// time and no name in it: equal parameters make equal files.
//
// Thread-safe. Errors are sentences that name the file and what is wrong in it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cnn/model.h"

namespace potluck {

struct ModelFile {
  cnn::Model model;
  std::vector<float> parameters;  // In the order of the model.
};

// Written beside the file first, and put in its place whole.
absl::Status WriteSafetensors(const cnn::Model& model, std::span<const float> parameters, const std::string& path);

// One that says what model it is.
absl::StatusOr<ModelFile> ReadModelFile(const std::string& path);
// The parameters of `model` from any safetensors file that has exactly its tensors, whoever wrote it.
absl::StatusOr<std::vector<float>> ReadParameters(const std::string& path, const cnn::Model& model);

// The same network for others to compute (ONNX, operator set 17): input "images" [N, channels, height, width] of pixels
// / 255, output "logits" [N, classes]; dropout is left out. At most 2 GB, as it is one protobuf message.
absl::Status WriteOnnx(const cnn::Model& model, std::span<const float> parameters, const std::string& path);

}  // namespace potluck
