#include "kernels/cnn/onednn/onednn_backend.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cnn/onednn/convolution.h"
#include "kernels/cnn/onednn/stages.h"
#include "kernels/cnn/onednn/vector_kernels.h"
#include "kernels/cnn/reference/layers.h"

namespace potluck::cnn {
namespace {

// Raised when the vector code changes what it computes.
constexpr char kVectorCode[] = "winograd1";

// A pixel's value, as every backend computes it.
const std::array<float, 256>& PixelValues() {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> made{};
    for (size_t i = 0; i < made.size(); ++i) made[i] = static_cast<float>(i) / 255.0f;
    return made;
  }();
  return values;
}

class OnednnPrepared final : public PreparedParameters {
 public:
  const float* native = nullptr;
  std::vector<std::unique_ptr<StageWeights>> weights;  // A stage each; null where native order serves.
};

// What a context needs of its backend.
struct Shared {
  Model model;
  const VectorKernels* kernels;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  Network network;
};

Status FromDnnl(const dnnl::error& error) { return Status::Error(std::string("oneDNN failed: ") + error.what() + "."); }

class OnednnContext final : public Context {
 public:
  OnednnContext(std::shared_ptr<const Shared> shared, uint32_t max_samples)
      : shared_(std::move(shared)), max_samples_(max_samples) {
    const Network& network = shared_->network;
    AddBoundary(network.input, true);
    for (const auto& stage : network.stages) {
      if (stage->in_place()) {
        values_.push_back(values_.back());
        gradients_.push_back(gradients_.back());
      } else {
        AddBoundary(stage->output(), false);
      }
      states_.push_back(stage->NewState(max_samples));
    }
    logits_.resize(size_t{max_samples} * shared_->model.classes);
  }

  Status ForwardBackward(const PreparedParameters& parameters, const ShardInput& input, std::span<float> gradient,
                         ShardTally& tally) override {
    if (gradient.size() != shared_->network.native_size) {
      return Status::Error("The gradient has room for " + std::to_string(gradient.size()) +
                           " numbers; allowed: " + std::to_string(shared_->network.native_size) + ".");
    }
    if (Status checked = Check(input); !checked.ok()) return checked;
    if (input.labels == nullptr || input.positions == nullptr) {
      return Status::Error("A shard to train on has no labels or no positions.");
    }
    try {
      return Train(static_cast<const OnednnPrepared&>(parameters), input, gradient, tally);
    } catch (const dnnl::error& error) {
      return FromDnnl(error);
    }
  }

  Status Forward(const PreparedParameters& parameters, const ShardInput& input, std::span<float> logits,
                 ShardTally& tally) override {
    if (Status checked = Check(input); !checked.ok()) return checked;
    try {
      RunForward({.samples = input.samples, .training = false, .input = &input},
                 static_cast<const OnednnPrepared&>(parameters));
    } catch (const dnnl::error& error) {
      return FromDnnl(error);
    }
    CollectLogits(input.samples);
    const size_t count = size_t{input.samples} * shared_->model.classes;
    if (!logits.empty()) {
      if (logits.size() != count) {
        return Status::Error("There is room for " + std::to_string(logits.size()) +
                             " logits; allowed: " + std::to_string(count) + " or none.");
      }
      std::copy_n(logits_.begin(), count, logits.begin());
    }
    if (input.labels == nullptr) return {};
    return reference::Loss(input.samples, shared_->model.classes, input.labels, false, logits_.data(), tally);
  }

 private:
  void AddBoundary(const Boundary& boundary, bool is_input) {
    const size_t floats = max_samples_ * boundary.stride;
    buffers_.emplace_back(floats);
    // What pads it, at the end of an image or of a row, stays 0.
    std::fill_n(buffers_.back().get(), floats, 0.0f);
    values_.push_back({buffers_.back().get(), boundary.stride});
    if (is_input) {
      gradients_.push_back({});
      return;
    }
    buffers_.emplace_back(floats);
    std::fill_n(buffers_.back().get(), floats, 0.0f);
    gradients_.push_back({buffers_.back().get(), boundary.stride});
  }

  Status Check(const ShardInput& input) const {
    if (input.samples >= 1 && input.samples <= max_samples_) return {};
    return Status::Error("A shard has " + std::to_string(input.samples) + " samples; allowed: 1 to " +
                         std::to_string(max_samples_) + ".");
  }

  void ReadPixels(const ShardInput& input) {
    const std::array<float, 256>& value = PixelValues();
    const Boundary& boundary = shared_->network.input;
    const size_t pixels = shared_->model.spec.input.size(), area = pixels / shared_->model.spec.input.channels;
    const uint32_t lanes = shared_->kernels->lanes;
    const uint8_t* from = input.pixels;
    for (uint32_t i = 0; i < input.samples; ++i, from += pixels) {
      float* const to = values_[0].at(i);
      if (boundary.plain) {
        for (size_t p = 0; p < pixels; ++p) to[p] = value[from[p]];
        continue;
      }
      for (size_t p = 0; p < pixels; ++p) {
        const size_t channel = p / area;
        to[(channel / lanes * area + p % area) * lanes + channel % lanes] = value[from[p]];
      }
    }
  }

  void RunForward(const Pass& pass, const OnednnPrepared& prepared) {
    ReadPixels(*pass.input);
    const auto& stages = shared_->network.stages;
    for (size_t i = 0; i < stages.size(); ++i) {
      stages[i]->Forward(pass, prepared.native, prepared.weights[i].get(), states_[i].get(), values_[i],
                         values_[i + 1]);
    }
  }

  void CollectLogits(uint32_t samples) {
    const uint32_t classes = shared_->model.classes;
    for (uint32_t i = 0; i < samples; ++i) {
      std::copy_n(values_.back().at(i), classes, logits_.begin() + ptrdiff_t{i} * classes);
    }
  }

  Status Train(const OnednnPrepared& prepared, const ShardInput& input, std::span<float> gradient, ShardTally& tally) {
    const Pass pass{.samples = input.samples, .training = true, .input = &input};
    const uint32_t classes = shared_->model.classes;
    RunForward(pass, prepared);
    CollectLogits(input.samples);
    Status loss = reference::Loss(input.samples, classes, input.labels, true, logits_.data(), tally);
    if (!loss.ok()) return loss;
    for (uint32_t i = 0; i < input.samples; ++i) {
      std::copy_n(logits_.begin() + ptrdiff_t{i} * classes, classes, gradients_.back().at(i));
    }
    const auto& stages = shared_->network.stages;
    bool wanted = true;  // Whether anything before the stage has parameters.
    for (size_t i = stages.size(); i-- > 0;) {
      wanted = std::any_of(stages.begin(), stages.begin() + static_cast<ptrdiff_t>(i),
                           [](const auto& stage) { return stage->native_floats() > 0; });
      if (!wanted && stages[i]->native_floats() == 0) break;
      stages[i]->Backward(pass, prepared.native, prepared.weights[i].get(), states_[i].get(), values_[i],
                          values_[i + 1], gradients_[i + 1], wanted ? gradients_[i] : Rows{}, gradient.data());
    }
    return {};
  }

  const std::shared_ptr<const Shared> shared_;
  const uint32_t max_samples_;
  std::vector<Aligned<float>> buffers_;
  std::vector<Rows> values_, gradients_;  // Of the boundaries: one more than stages.
  std::vector<std::unique_ptr<StageState>> states_;
  std::vector<float> logits_;
};

class OnednnBackend final : public Backend {
 public:
  OnednnBackend(std::shared_ptr<const Shared> shared, std::string numerics_class)
      : shared_(std::move(shared)), numerics_class_(std::move(numerics_class)) {}

  std::string numerics_class() const override { return numerics_class_; }
  uint64_t native_size() const override { return shared_->network.native_size; }
  void ToNative(std::span<const float> parameters, std::span<float> native) const override {
    std::fill(native.begin(), native.end(), 0.0f);
    for (const auto& stage : shared_->network.stages) stage->ToNative(parameters.data(), native.data());
  }
  void FromNative(std::span<const float> native, std::span<float> parameters) const override {
    for (const auto& stage : shared_->network.stages) stage->FromNative(native.data(), parameters.data());
  }

  Result<std::unique_ptr<PreparedParameters>> Prepare(std::span<const float> native) const override {
    if (native.size() != shared_->network.native_size) {
      return Status::Error("There are " + std::to_string(native.size()) + " parameters in native order; allowed for " +
                           "this network: " + std::to_string(shared_->network.native_size) + ".");
    }
    try {
      auto prepared = std::make_unique<OnednnPrepared>();
      prepared->native = native.data();
      for (const auto& stage : shared_->network.stages) {
        if (!stage->HasFiniteParameters(native.data())) {
          return Status::Error("A parameter is not finite: training has diverged, or the parameters are damaged.");
        }
        prepared->weights.push_back(stage->Prepare(native.data()));
      }
      return std::unique_ptr<PreparedParameters>(std::move(prepared));
    } catch (const dnnl::error& error) {
      return FromDnnl(error);
    }
  }

  Result<std::unique_ptr<Context>> NewContext(uint32_t max_samples) const override {
    if (max_samples < 1) return Status::Error("max_samples is 0; allowed: 1 or more.");
    return std::unique_ptr<Context>(new OnednnContext(shared_, max_samples));
  }

 private:
  const std::shared_ptr<const Shared> shared_;
  const std::string numerics_class_;
};

const char* IsaName(dnnl::cpu_isa isa) {
  switch (isa) {
    case dnnl::cpu_isa::sse41:
      return "sse41";
    case dnnl::cpu_isa::avx:
      return "avx";
    case dnnl::cpu_isa::avx2:
      return "avx2";
    case dnnl::cpu_isa::avx2_vnni:
      return "avx2_vnni";
    case dnnl::cpu_isa::avx2_vnni_2:
      return "avx2_vnni_2";
    case dnnl::cpu_isa::avx512_core:
      return "avx512_core";
    case dnnl::cpu_isa::avx512_core_vnni:
      return "avx512_core_vnni";
    case dnnl::cpu_isa::avx512_core_bf16:
      return "avx512_core_bf16";
    case dnnl::cpu_isa::avx512_core_fp16:
      return "avx512_core_fp16";
    case dnnl::cpu_isa::avx512_core_amx:
      return "avx512_core_amx";
    case dnnl::cpu_isa::avx512_core_amx_fp16:
      return "avx512_core_amx_fp16";
    default:
      return "other";
  }
}

// oneDNN cuts its loops by the sizes of caches, and sums in that order.
std::string CacheName() {
  const auto kilobytes = [](int name) { return std::to_string(std::max(0L, sysconf(name)) / 1024); };
  return "l1-" + kilobytes(_SC_LEVEL1_DCACHE_SIZE) + "K-l2-" + kilobytes(_SC_LEVEL2_CACHE_SIZE) + "K";
}

Result<const VectorKernels*> ChooseKernels(const std::string& vectors) {
  if (vectors.empty()) {
    if (const VectorKernels* const kernels = Avx512Kernels()) return kernels;
    if (const VectorKernels* const kernels = Avx2Kernels()) return kernels;
    return Status::Error("This processor has no AVX2, which the CPU plug-in needs.");
  }
  if (vectors != "avx512" && vectors != "avx2") {
    return Status::Error("vectors is \"" + vectors + "\"; allowed: avx512, avx2.");
  }
  const VectorKernels* const kernels = vectors == "avx512" ? Avx512Kernels() : Avx2Kernels();
  if (kernels == nullptr) return Status::Error("vectors is " + vectors + ", which this processor does not have.");
  return kernels;
}

}  // namespace

std::string OnednnDeviceClass() {
  const dnnl_version_t* const version = dnnl_version();
  const Result<const VectorKernels*> kernels = ChooseKernels("");
  if (!kernels.ok()) return "";
  return "onednn-" + std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
         std::to_string(version->patch) + "/" + IsaName(dnnl::get_effective_cpu_isa()) + "/" + CacheName() + "/" +
         kVectorCode + "-" + (*kernels)->name;
}

Result<std::unique_ptr<Backend>> MakeOnednnBackend(const Model& model, Precision precision,
                                                   const std::string& vectors) {
  if (precision == Precision::kFp16) {
    return Status::Error("precision is fp16, which CPUs compute slowly; allowed on a CPU: fp32, bf16.");
  }
  const Result<const VectorKernels*> kernels = ChooseKernels(vectors);
  if (!kernels.ok()) return kernels.status();
  const DenseKernels* dense = &(*kernels)->dense;
  if (precision == Precision::kBf16) {
    dense = Bf16Dense();
    if (dense == nullptr || (*kernels)->lanes != 16) {
      return Status::Error("precision is bf16, but this processor has no AVX512_BF16; allowed here: fp32.");
    }
  }
  std::string name = OnednnDeviceClass();
  if (!vectors.empty()) name = name.substr(0, name.rfind('-') + 1) + (*kernels)->name;
  try {
    const OneThread one;
    auto shared = std::make_shared<Shared>();
    shared->model = model;
    shared->kernels = *kernels;
    shared->network = BuildNetwork(shared->model, **kernels, *dense, shared->engine);
    return std::unique_ptr<Backend>(
        new OnednnBackend(std::move(shared), name + (precision == Precision::kBf16 ? "/bf16" : "/fp32")));
  } catch (const dnnl::error& error) {
    return FromDnnl(error);
  }
}

}  // namespace potluck::cnn
