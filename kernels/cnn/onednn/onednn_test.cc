#include <gtest/gtest.h>
#include <omp.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cnn/backend.h"
#include "kernels/cnn/model.h"
#include "kernels/cnn/onednn/plugin.h"

namespace potluck::cnn {
namespace {

#ifdef POTLUCK_ONEDNN_PLUGIN
constexpr char kPlugin[] = POTLUCK_ONEDNN_PLUGIN;
#else
constexpr char kPlugin[] = "";
#endif

struct Case {
  const char* name;
  ModelSpec spec;
  // Gradients jump where a value near 0, or two near each other, come out otherwise: then single values may differ.
  bool jumps = true;
  // With parameters and pixels that keep all values on the way forward exact (SparseParameters).
  bool is_exact = false;
};

std::vector<Case> Cases() {
  return {
      {"paper", MnistCnn()},
      {"smooth",
       {"smooth",
        {3, 13, 11},
        {ConvLayer(16, 3, 1, 0, false), ConvLayer(32, 3, 1, 1, false), FlattenLayer(), DenseLayer(10, false)}},
       false},
      {"padded pool",
       {"padded-pool",
        {3, 14, 18},
        {ConvLayer(32, 3, 1, 1, true), ConvLayer(16, 3, 1, 1, true), PoolLayer(2, 2), ConvLayer(48, 3, 1, 0, true),
         PoolLayer(2, 2), DropoutLayer(0.25), FlattenLayer(), DenseLayer(24, true), DropoutLayer(0.5),
         DenseLayer(7, false)}}},
      {"other windows",
       {"other-windows",
        {1, 23, 20},
        {ConvLayer(20, 5, 2, 2, true), PoolLayer(3, 2), ConvLayer(16, 1, 1, 0, true), DropoutLayer(0.1),
         ConvLayer(32, 3, 1, 2, true), ConvLayer(16, 3, 2, 1, false), FlattenLayer(), DenseLayer(3, false)}}},
      {"odd pool",
       {"odd-pool",
        {16, 9, 9},
        {PoolLayer(2, 1), ConvLayer(16, 3, 1, 0, false), PoolLayer(2, 2), FlattenLayer(), DenseLayer(5, false)}}},
      {"dense only",
       {"dense-only", {1, 9, 7}, {DropoutLayer(0.2), FlattenLayer(), DenseLayer(50, false), DenseLayer(12, false)}},
       false},
      {"one layer", {"one-layer", {2, 3, 3}, {FlattenLayer(), DenseLayer(2, false)}}, false},
  };
}

// Layers alone, between the images and a last dense layer.
std::vector<Case> LayersAlone() {
  const auto with = [](const char* name, const Shape& input, std::vector<Layer> layers) {
    if (std::none_of(layers.begin(), layers.end(), [](const Layer& l) { return l.kind == LayerKind::kFlatten; })) {
      layers.push_back(FlattenLayer());
    }
    layers.push_back(DenseLayer(5));
    return Case{name, {"alone", input, std::move(layers)}, false, true};
  };
  return {
      with("dense", {3, 5, 4}, {}),
      with("dense, ReLU", {2, 5, 7}, {FlattenLayer(), DenseLayer(37, true)}),
      with("dropout", {2, 6, 5}, {FlattenLayer(), DenseLayer(48, true), DropoutLayer(0.5)}),
      with("conv of 1 channel", {1, 14, 10}, {ConvLayer(32, 3)}),
      with("conv 1x1", {3, 6, 7}, {ConvLayer(16, 1)}),
      with("conv 3x3", {32, 6, 5}, {ConvLayer(16, 3)}),
      with("conv 3x3, padded", {16, 5, 4}, {ConvLayer(32, 3, 1, 1)}),
      with("conv 5x5, stride 2", {3, 11, 9}, {ConvLayer(16, 5, 2, 2)}),
      with("conv without ReLU", {16, 6, 6}, {ConvLayer(16, 3, 1, 0, false)}),
      with("conv after conv", {1, 8, 7}, {ConvLayer(16, 3), ConvLayer(16, 3)}),
      with("pool 2", {1, 12, 10}, {ConvLayer(16, 1), PoolLayer(2)}),
      with("pool 3, stride 2", {2, 13, 11}, {ConvLayer(16, 1), PoolLayer(3, 2)}),
      with("pool 2 and dropout", {1, 12, 10}, {ConvLayer(16, 1), PoolLayer(2), DropoutLayer(0.5)}),
  };
}

struct Shard {
  std::vector<uint8_t> pixels;
  std::vector<uint16_t> labels;
  std::vector<uint32_t> positions;
  ShardInput input;

  Shard(const Model& model, uint32_t samples, uint32_t seed) {
    uint64_t state = seed * 2654435761u + 12345;
    const auto next = [&state] {
      return static_cast<uint32_t>((state = state * 6364136223846793005u + 1442695) >> 33);
    };
    pixels.resize(samples * model.spec.input.size());
    for (uint8_t& pixel : pixels) pixel = next() % 3 == 0 ? 0 : static_cast<uint8_t>(next());
    for (uint32_t i = 0; i < samples; ++i) {
      labels.push_back(static_cast<uint16_t>(next() % model.classes));
      positions.push_back(next());
    }
    input = {samples, pixels.data(), labels.data(), positions.data(), 77, 5};
  }
};

// Initial parameters with biases that are not 0.
std::vector<float> Parameters(const Model& model) {
  std::vector<float> parameters = InitialParameters(model, 3);
  for (const Parameter& parameter : model.parameters) {
    if (parameter.fan_in != 0) continue;
    for (uint64_t i = 0; i < parameter.size; ++i)
      parameters[parameter.offset + i] = 0.01f * static_cast<float>(i % 7) - 0.02f;
  }
  return parameters;
}

// With these parameters and pixels of 0 and 255 every value on the way forward has at most eight significant bits, and
// none before a ReLU is near 0: so every precision and algorithm switches the same units, and gradients do not jump.
std::vector<float> SparseParameters(const Model& model) {
  std::vector<float> parameters(model.parameter_count);
  float bias = 1;
  uint32_t state = 11;
  const auto next = [&state] { return (state = state * 1664525u + 1013904223u) >> 8; };
  for (const Parameter& parameter : model.parameters) {
    float* const values = parameters.data() + parameter.offset;
    const bool is_last = parameter.offset + parameter.size + model.classes >= model.parameter_count;
    if (parameter.fan_in == 0) {
      std::fill_n(values, parameter.size, bias /= 2);
      continue;
    }
    const uint64_t inputs = parameter.size / parameter.dims[0];
    for (uint64_t output = 0; output < parameter.dims[0]; ++output) {
      for (int i = 0; i < (is_last ? 8 : 2); ++i) {
        values[output * inputs + next() % inputs] = (next() % 4 == 0 ? -1.0f : 1.0f) / (is_last ? 8.0f : 1.0f);
      }
    }
  }
  return parameters;
}

struct Outcome {
  std::vector<float> gradient, native_gradient, logits;
  ShardTally training, inference;
};

// `max_samples` 0: as many as there are.
Outcome Compute(const Backend& backend, const Model& model, std::span<const float> parameters, const ShardInput& input,
                uint32_t max_samples = 0) {
  Outcome outcome;
  std::vector<float> native(backend.native_size());
  backend.ToNative(parameters, native);
  const auto prepared = backend.Prepare(native);
  const auto context = backend.NewContext(std::max(max_samples, input.samples));
  EXPECT_TRUE(prepared.ok() && context.ok());
  if (!prepared.ok() || !context.ok()) return outcome;
  outcome.native_gradient.assign(backend.native_size(), std::numeric_limits<float>::quiet_NaN());
  outcome.gradient.resize(model.parameter_count);
  outcome.logits.resize(size_t{input.samples} * model.classes);
  Status status = (*context)->ForwardBackward(**prepared, input, outcome.native_gradient, outcome.training);
  EXPECT_TRUE(status.ok()) << status.message();
  backend.FromNative(outcome.native_gradient, outcome.gradient);
  status = (*context)->Forward(**prepared, input, outcome.logits, outcome.inference);
  EXPECT_TRUE(status.ok()) << status.message();
  return outcome;
}

Outcome Compute(const Backend& backend, const Model& model, const ShardInput& input, uint32_t max_samples = 0) {
  return Compute(backend, model, Parameters(model), input, max_samples);
}

double Largest(const float* values, size_t count) {
  double most = 0;
  for (size_t i = 0; i < count; ++i) most = std::max(most, std::fabs(double{values[i]}));
  return most;
}

// Errors of sums of `depth` random terms grow with its root; Winograd's transforms make them some ten times as large.
// What bfloat16 rounds off each factor, at most 2^-9 of it, is far more than that, and every layer does it again.
double Tolerance(double depth, Precision precision, double layers = 1) {
  constexpr double kRounding = 6e-8;
  return kRounding * (16 * std::sqrt(depth) + 64) + (precision == Precision::kBf16 ? 0.02 * layers : 0);
}

// Of gradients that jump, the root of the sum of squares: where one of some 50 units of a dense layer switches, all
// gradients before it change by a tenth.
double JumpTolerance(Precision precision) { return precision == Precision::kBf16 ? 0.4 : 0.02; }

void ExpectNear(const std::vector<float>& found, const std::vector<float>& right, double tolerance, const char* what) {
  ASSERT_EQ(found.size(), right.size());
  const double scale = Largest(right.data(), right.size());
  for (size_t i = 0; i < found.size(); ++i) {
    const double difference = std::fabs(double{found[i]} - double{right[i]});
    ASSERT_TRUE(difference <= tolerance * scale)
        << what << " " << i << ": " << found[i] << ", right is " << right[i] << ", of at most " << scale;
  }
}

void ExpectGradientsAgree(const Case& tested, const Model& model, const Outcome& found, const Outcome& right,
                          uint32_t samples, Precision precision) {
  for (size_t p = 0; p < model.parameters.size(); ++p) {
    const Parameter& parameter = model.parameters[p];
    const float* const a = found.gradient.data() + parameter.offset;
    const float* const b = right.gradient.data() + parameter.offset;
    const double scale = Largest(b, parameter.size);
    const double tolerance = Tolerance(1000.0 * samples, precision, static_cast<double>(model.parameters.size()) / 2);
    double error = 0, norm = 0;
    for (uint64_t i = 0; i < parameter.size; ++i) {
      const double difference = std::fabs(double{a[i]} - double{b[i]});
      ASSERT_TRUE(tested.jumps ? std::isfinite(difference) : difference <= tolerance * scale)
          << parameter.name << " " << i << ": " << a[i] << ", right is " << b[i] << ", of at most " << scale;
      error += difference * difference;
      norm += double{b[i]} * double{b[i]};
    }
    ASSERT_TRUE(std::sqrt(error) <= (tested.jumps ? JumpTolerance(precision) : tolerance) * std::sqrt(norm) + 1e-12)
        << tested.name << ", " << parameter.name << ", " << samples << " samples: off by " << std::sqrt(error) << " of "
        << std::sqrt(norm);
  }
}

class OnednnTest : public testing::Test {
 protected:
  void SetUp() override {
    if (*kPlugin == '\0') GTEST_SKIP() << "the CPU plug-in was not built: see POTLUCK_ONEDNN_ROOT";
    const Result<const OnednnPlugin*> plugin = LoadOnednnPlugin(kPlugin);
    ASSERT_TRUE(plugin.ok()) << plugin.status().message();
    plugin_ = *plugin;
  }

  std::unique_ptr<Backend> Make(const Model& model, Precision precision = Precision::kFp32, const char* vectors = "") {
    Result<std::unique_ptr<Backend>> backend = plugin_->make_backend(model, precision, vectors);
    if (backend.ok()) return std::move(backend).value();
    message_ = backend.status().message();
    return nullptr;
  }

  void ExpectAgreement(const std::vector<Case>& cases, Precision precision, const char* vectors) {
    for (const Case& tested : cases) {
      SCOPED_TRACE(tested.name);
      const Result<Model> model = MakeModel(tested.spec);
      ASSERT_TRUE(model.ok()) << model.status().message();
      const std::unique_ptr<Backend> backend = Make(*model, precision, vectors);
      if (backend == nullptr) GTEST_SKIP() << message_;
      const auto reference = MakeReferenceBackend(*model);
      ASSERT_TRUE(reference.ok());
      const std::vector<float> parameters = tested.is_exact ? SparseParameters(*model) : Parameters(*model);
      for (const uint32_t samples : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u, 128u}) {
        SCOPED_TRACE(std::to_string(samples) + " samples");
        Shard shard(*model, samples, samples);
        if (tested.is_exact) {
          for (uint8_t& pixel : shard.pixels) pixel = pixel % 2 == 0 ? 0 : 255;
        }
        const Outcome found = Compute(*backend, *model, parameters, shard.input);
        const Outcome right = Compute(**reference, *model, parameters, shard.input);
        if (HasFailure()) return;
        const double tolerance = Tolerance(2000, tested.is_exact ? Precision::kFp32 : precision);
        ExpectNear(found.logits, right.logits, tolerance, "logit");
        EXPECT_NEAR(found.training.loss_sum, right.training.loss_sum, samples * tolerance * 4);
        EXPECT_NEAR(found.inference.loss_sum, right.inference.loss_sum, samples * tolerance * 4);
        ExpectGradientsAgree(tested, *model, found, right, samples, precision);
        if (HasFatalFailure()) return;
      }
    }
  }

  const OnednnPlugin* plugin_ = nullptr;
  std::string message_;
};

TEST_F(OnednnTest, AgreesWithTheReference) { ExpectAgreement(Cases(), Precision::kFp32, ""); }
TEST_F(OnednnTest, Avx2AgreesWithTheReference) { ExpectAgreement(Cases(), Precision::kFp32, "avx2"); }
TEST_F(OnednnTest, Bf16AgreesWithTheReference) { ExpectAgreement(Cases(), Precision::kBf16, ""); }

TEST_F(OnednnTest, EachLayerAgreesWithTheReference) { ExpectAgreement(LayersAlone(), Precision::kFp32, ""); }
TEST_F(OnednnTest, Avx2EachLayerAgreesWithTheReference) { ExpectAgreement(LayersAlone(), Precision::kFp32, "avx2"); }
TEST_F(OnednnTest, Bf16EachLayerAgreesWithTheReference) { ExpectAgreement(LayersAlone(), Precision::kBf16, ""); }

TEST_F(OnednnTest, NativeOrderHoldsEveryParameter) {
  for (const Case& tested : Cases()) {
    const Result<Model> model = MakeModel(tested.spec);
    const std::unique_ptr<Backend> backend = Make(*model);
    ASSERT_NE(backend, nullptr) << message_;
    std::vector<float> parameters(model->parameter_count), back(model->parameter_count);
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i] = static_cast<float>(i + 1);
    std::vector<float> native(backend->native_size(), -1.0f);
    backend->ToNative(parameters, native);
    backend->FromNative(native, back);
    EXPECT_EQ(back, parameters) << tested.name;
    EXPECT_EQ(std::count_if(native.begin(), native.end(), [](float value) { return value != 0; }),
              static_cast<ptrdiff_t>(parameters.size()))
        << tested.name << ": padding is not 0";
  }
}

TEST_F(OnednnTest, PaddingOfGradientsIsZero) {
  for (const Case& tested : Cases()) {
    const Result<Model> model = MakeModel(tested.spec);
    const std::unique_ptr<Backend> backend = Make(*model);
    ASSERT_NE(backend, nullptr) << message_;
    std::vector<float> ones(model->parameter_count, 1.0f), native(backend->native_size());
    backend->ToNative(ones, native);
    const Outcome outcome = Compute(*backend, *model, Shard(*model, 5, 1).input);
    for (size_t i = 0; i < native.size(); ++i) {
      if (native[i] == 0) {
        ASSERT_EQ(outcome.native_gradient[i], 0.0f) << tested.name << ", float " << i;
      }
    }
  }
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_F(OnednnTest, BitsDependNeitherOnOtherThreadsNorOnRoomForMoreSamples) {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    for (const Case& tested : Cases()) {
      SCOPED_TRACE(tested.name);
      const Result<Model> model = MakeModel(tested.spec);
      const std::unique_ptr<Backend> backend = Make(*model, precision);
      if (backend == nullptr) continue;  // A processor without bf16.
      const Shard shard(*model, 21, 9);
      const Outcome alone = Compute(*backend, *model, shard.input);
      for (const int threads : {2, 3}) {
        std::vector<Outcome> outcomes(static_cast<size_t>(threads));
        std::vector<std::thread> running;
        for (Outcome& outcome : outcomes) {
          running.emplace_back([&] { outcome = Compute(*backend, *model, shard.input, 64); });
        }
        for (std::thread& thread : running) thread.join();
        for (const Outcome& outcome : outcomes) {
          EXPECT_TRUE(SameBits(outcome.native_gradient, alone.native_gradient));
          EXPECT_TRUE(SameBits(outcome.logits, alone.logits));
          EXPECT_EQ(outcome.training.loss_sum, alone.training.loss_sum);
        }
      }
      const std::unique_ptr<Backend> again = Make(*model, precision);
      EXPECT_TRUE(SameBits(Compute(*again, *model, shard.input).native_gradient, alone.native_gradient));
    }
  }
}

double Seconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

TEST_F(OnednnTest, AContextUsesOneThread) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(4);
  for (const Case& tested : Cases()) {
    const Result<Model> model = MakeModel(tested.spec);
    const std::unique_ptr<Backend> backend = Make(*model);
    ASSERT_NE(backend, nullptr) << message_;
    const Shard shard(*model, 64, 2);
    Compute(*backend, *model, shard.input);
    const double process = Seconds(CLOCK_PROCESS_CPUTIME_ID), thread = Seconds(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < 3; ++i) Compute(*backend, *model, shard.input);
    const double all = Seconds(CLOCK_PROCESS_CPUTIME_ID) - process, mine = Seconds(CLOCK_THREAD_CPUTIME_ID) - thread;
    EXPECT_LE(all, mine * 1.1 + 0.002) << tested.name;
    EXPECT_EQ(omp_get_max_threads(), 4);
  }
  omp_set_num_threads(before);
}

TEST_F(OnednnTest, SaysWhatIsWrongWithAShard) {
  const Result<Model> model = MakeModel(Cases().back().spec);
  const std::unique_ptr<Backend> backend = Make(*model);
  ASSERT_NE(backend, nullptr) << message_;
  std::vector<float> native(backend->native_size()), gradient(backend->native_size());
  backend->ToNative(Parameters(*model), native);
  const auto prepared = backend->Prepare(native);
  const auto context = backend->NewContext(4);
  Shard shard(*model, 5, 1);
  ShardTally tally;
  EXPECT_EQ((*context)->ForwardBackward(**prepared, shard.input, gradient, tally).message(),
            "A shard has 5 samples; allowed: 1 to 4.");
  shard.input.samples = 4;
  shard.labels[1] = 2;
  EXPECT_EQ((*context)->ForwardBackward(**prepared, shard.input, gradient, tally).message(),
            "The label of sample 1 is 2; allowed: 0 to 1.");
  shard.labels[1] = 1;
  EXPECT_TRUE((*context)->ForwardBackward(**prepared, shard.input, gradient, tally).ok());
  EXPECT_FALSE((*context)->ForwardBackward(**prepared, shard.input, std::span(gradient).first(3), tally).ok());
  EXPECT_FALSE(backend->Prepare(std::span(native).first(3)).ok());
}

TEST_F(OnednnTest, ParametersThatAreNoNumbersAreNoticed) {
  for (const Case& tested : Cases()) {
    SCOPED_TRACE(tested.name);
    const Result<Model> model = MakeModel(tested.spec);
    const std::unique_ptr<Backend> backend = Make(*model);
    ASSERT_NE(backend, nullptr) << message_;
    for (const Parameter& parameter : model->parameters) {
      for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        std::vector<float> parameters = Parameters(*model), native(backend->native_size()), gradient(native.size());
        parameters[parameter.offset + parameter.size / 2] = wrong;
        backend->ToNative(parameters, native);
        const auto prepared = backend->Prepare(native);
        if (!prepared.ok()) continue;
        const auto context = backend->NewContext(16);  // Dropout hides a unit of some samples, not of all.
        ShardTally tally;
        const Shard shard(*model, 16, 4);
        const Status status = (*context)->ForwardBackward(**prepared, shard.input, gradient, tally);
        const bool finite =
            std::all_of(gradient.begin(), gradient.end(), [](float value) { return std::isfinite(value); });
        EXPECT_FALSE(status.ok() && finite) << parameter.name << " = " << wrong;
      }
    }
  }
}

TEST_F(OnednnTest, NamesItsNumericsClass) {
  const Result<Model> model = MakeModel(MnistCnn());
  const std::unique_ptr<Backend> backend = Make(*model);
  ASSERT_NE(backend, nullptr) << message_;
  const std::string device = CpuBackendClass(kPlugin);
  EXPECT_EQ(device.find("onednn-3."), 0u) << device;
  EXPECT_EQ(backend->numerics_class(), device + "/fp32");
}

TEST(CpuBackendTest, WithoutPluginThePortableKernelsServeAndSayWhy) {
  const Result<Model> model = MakeModel(MnistCnn());
  std::string note;
  Result<std::unique_ptr<Backend>> backend = MakeCpuBackend(*model, Precision::kFp32, "/nowhere/p.so", &note);
  ASSERT_TRUE(backend.ok());
  EXPECT_EQ(note, "There is no CPU plug-in at /nowhere/p.so; the portable kernels are used, which are slower.");
  EXPECT_EQ((*backend)->numerics_class().find("reference/"), 0u);
  EXPECT_EQ((*backend)->numerics_class().find(CpuBackendClass("/nowhere/p.so")), 0u);
  backend = MakeCpuBackend(*model, Precision::kFp32, "", &note);
  ASSERT_TRUE(backend.ok());
  EXPECT_NE(note, "");
}

TEST(CpuBackendTest, ReducedPrecisionNeedsThePlugin) {
  const Result<Model> model = MakeModel(MnistCnn());
  std::string note;
  const auto bf16 = MakeCpuBackend(*model, Precision::kBf16, "/nowhere/p.so", &note);
  ASSERT_FALSE(bf16.ok());
  EXPECT_EQ(bf16.status().message().find("precision is bf16, which the portable kernels do not have"), 0u)
      << bf16.status().message();
  const auto fp16 = MakeCpuBackend(*model, Precision::kFp16, kPlugin, &note);
  ASSERT_FALSE(fp16.ok());
  EXPECT_EQ(fp16.status().message(), "precision is fp16, which is for GPUs; allowed on a CPU: fp32, bf16.");
}

TEST(CpuBackendTest, FileThatIsNoLibraryIsOneSentence) {
  const auto plugin = LoadOnednnPlugin(POTLUCK_KERNELS_LIBRARY);
  ASSERT_FALSE(plugin.ok());
  EXPECT_NE(plugin.status().message().find("cannot be loaded"), std::string::npos) << plugin.status().message();
}

TEST(CpuBackendTest, OtherInterfaceVersionIsRefused) {
  const auto plugin = LoadOnednnPlugin(POTLUCK_OTHER_VERSION_ONEDNN_PLUGIN);
  ASSERT_FALSE(plugin.ok());
  EXPECT_NE(plugin.status().message().find("has interface version 1001; this program needs 1"), std::string::npos)
      << plugin.status().message();
}

}  // namespace
}  // namespace potluck::cnn
