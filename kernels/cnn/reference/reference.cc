#include "kernels/cnn/reference/reference.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "kernels/cnn/reference/network.h"

namespace potluck::cnn {

namespace reference {

namespace {

class PreparedFloats final : public PreparedParameters {
 public:
  PreparedFloats(const Model& model, std::span<const float> parameters) : prepared(model, parameters) {}
  const Prepared<float> prepared;
};

class FloatContext final : public Context {
 public:
  FloatContext(const Model& model, uint32_t max_samples, Dispatch dispatch)
      : network_(model, max_samples, GemmFor(dispatch)), parameter_count_(model.parameter_count) {}

  Status ForwardBackward(const PreparedParameters& parameters, const ShardInput& input, std::span<float> gradient,
                         ShardTally& tally) override {
    if (gradient.size() != parameter_count_) {
      return Status::Error("The gradient has room for " + std::to_string(gradient.size()) +
                           " numbers; allowed: " + std::to_string(parameter_count_) + ".");
    }
    return network_.ForwardBackward(static_cast<const PreparedFloats&>(parameters).prepared, input, gradient, tally);
  }

  Status Forward(const PreparedParameters& parameters, const ShardInput& input, std::span<float> logits,
                 ShardTally& tally) override {
    return network_.Forward(static_cast<const PreparedFloats&>(parameters).prepared, input, logits, tally);
  }

 private:
  Network<float> network_;
  const uint64_t parameter_count_;
};

class FloatBackend final : public Backend {
 public:
  FloatBackend(const Model& model, Dispatch dispatch) : model_(model), dispatch_(dispatch) {}

  // Neither instruction set nor processor: sums have one order, and nothing but correctly rounded operations is used.
  std::string numerics_class() const override { return "reference/1/fp32"; }
  uint64_t native_size() const override { return model_.parameter_count; }
  void ToNative(std::span<const float> parameters, std::span<float> native) const override {
    std::copy(parameters.begin(), parameters.end(), native.begin());
  }
  void FromNative(std::span<const float> native, std::span<float> parameters) const override {
    std::copy(native.begin(), native.end(), parameters.begin());
  }

  Result<std::unique_ptr<PreparedParameters>> Prepare(std::span<const float> native) const override {
    if (native.size() != model_.parameter_count) {
      return Status::Error("There are " + std::to_string(native.size()) +
                           " parameters; allowed for this network: " + std::to_string(model_.parameter_count) + ".");
    }
    for (const Parameter& parameter : model_.parameters) {
      for (uint64_t i = 0; i < parameter.size; ++i) {
        if (std::isfinite(native[parameter.offset + i])) continue;
        return Status::Error("Value " + std::to_string(i) + " of " + parameter.name +
                             " is not finite: training has diverged, or the parameters are damaged.");
      }
    }
    return std::unique_ptr<PreparedParameters>(new PreparedFloats(model_, native));
  }

  Result<std::unique_ptr<Context>> NewContext(uint32_t max_samples) const override {
    if (max_samples < 1) return Status::Error("max_samples is 0; allowed: 1 or more.");
    return std::unique_ptr<Context>(new FloatContext(model_, max_samples, dispatch_));
  }

 private:
  const Model model_;
  const Dispatch dispatch_;
};

}  // namespace

std::unique_ptr<Backend> MakeBackend(const Model& model, Dispatch dispatch) {
  return std::make_unique<FloatBackend>(model, dispatch);
}

}  // namespace reference

Result<std::unique_ptr<Backend>> MakeReferenceBackend(const Model& model) {
  return reference::MakeBackend(model, SupportedDispatches().front());
}

}  // namespace potluck::cnn
