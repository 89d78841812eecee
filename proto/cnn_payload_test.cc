// What the kernels write without protobuf is what protobuf writes, and the other way round.
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "kernels/cnn/payload.h"
#include "proto/cnn.pb.h"

namespace potluck {
namespace {

using google::protobuf::util::MessageDifferencer;

// Parses as Message, is written the same by protobuf, and has the fields of `text`.
template <typename Message>
void ExpectSame(const std::string& bytes, const std::string& text) {
  Message wanted, parsed;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &wanted));
  ASSERT_TRUE(parsed.ParseFromString(bytes));
  EXPECT_TRUE(MessageDifferencer::Equals(parsed, wanted)) << parsed.DebugString();
  EXPECT_EQ(wanted.SerializeAsString(), bytes);
}

constexpr char kModel[] = R"(
  name: "mnist-cnn" input { channels: 1 height: 28 width: 28 }
  layers { name: "conv1" conv { filters: 32 kernel: 3 stride: 1 activation: RELU } }
  layers { name: "conv2" conv { filters: 64 kernel: 3 stride: 1 activation: RELU } }
  layers { max_pool { size: 2 stride: 2 } }
  layers { dropout { rate: 0.5 } }
  layers { flatten {} }
  layers { name: "fc1" dense { units: 128 activation: RELU } }
  layers { name: "fc2" dense { units: 10 } })";

cnn::Spec SmallestSpec() {
  cnn::Spec spec;
  spec.model = cnn::MnistCnn();
  spec.train = {"", {1, 28, 28}, 10, 1, 1, {std::string(32, 'a')}};
  spec.test = {"", {1, 28, 28}, 10, 3, 2, {std::string(32, 'b'), std::string(32, 'c')}};
  return spec;
}

TEST(CnnPayloadTest, ANetworkIsAModelSpec) {
  ExpectSame<v1::ModelSpec>(Encode(cnn::MnistCnn()), kModel);
  cnn::ModelSpec odd = cnn::MnistCnn();
  odd.layers[0] = {.kind = cnn::LayerKind::kConv, .name = "", .units = 300, .kernel = 5, .stride = 2, .padding = 2};
  odd.layers[3].rate = 0;
  odd.layers.resize(4);
  ExpectSame<v1::ModelSpec>(Encode(odd), R"(
    name: "mnist-cnn" input { channels: 1 height: 28 width: 28 }
    layers { conv { filters: 300 kernel: 5 stride: 2 padding: 2 } }
    layers { name: "conv2" conv { filters: 64 kernel: 3 stride: 1 activation: RELU } }
    layers { max_pool { size: 2 stride: 2 } }
    layers { dropout {} })");
}

TEST(CnnPayloadTest, ANetworkInTextIsReadByTheKernels) {
  v1::ModelSpec message;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(kModel, &message));
  const auto model = cnn::DecodeModelSpec(message.SerializeAsString());
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(*model, cnn::MnistCnn());
}

TEST(CnnPayloadTest, ASpecificationIsACnnSpec) {
  const std::string a(32, 'a'), b(32, 'b'), c(32, 'c');
  const std::string data = "model {" + std::string(kModel) + "} train { shape { channels: 1 height: 28 width: 28 } " +
                           "classes: 10 samples: 1 samples_a_shard: 1 shards: '" + a + "' } " +
                           "test { shape { channels: 1 height: 28 width: 28 } classes: 10 samples: 3 " +
                           "samples_a_shard: 2 shards: '" + b + "' shards: '" + c + "' } ";
  ExpectSame<v1::CnnSpec>(Encode(SmallestSpec()),
                          data + "batch: 128 epochs: 12 micro_shard: 64 schedule { gamma: 1 } " +
                              "optimizer { kind: ADADELTA learning_rate: 1 rho: 0.95 beta1: 0.9 beta2: 0.999 " +
                              "epsilon: 1e-7 }");
  cnn::Spec full = SmallestSpec();
  full.seed = 0xfedcba9876543210;
  full.batch = 65536;
  full.epochs = 1;
  full.micro_shard = 16;
  full.precision = cnn::Precision::kFp16;
  full.optimizer = {cnn::OptimizerKind::kSgd, 0.1, 0.9, true, 1e-4, 0, 0, 0, 0};
  full.schedule = {cnn::ScheduleKind::kExponential, 0.05, 0.01, 0.7};
  full.local = {8, 32, 0.7, 0.9, cnn::Compression::kTernary, cnn::Compression::kInt8};
  full.max_steps = 1ull << 40;
  full.target_accuracy = 0.99;
  full.time_limit_seconds = 3600;
  full.shift = 2;
  full.initial_parameters = a;
  full.initial_state = b;
  full.numerics_class = "reference/1/fp32";
  const std::string text =
      data + "seed: 18364758544493064720 batch: 65536 epochs: 1 micro_shard: 16 precision: FP16 " +
      "optimizer { kind: SGD learning_rate: 0.1 momentum: 0.9 nesterov: true weight_decay: 1e-4 } " +
      "schedule { kind: EXPONENTIAL warmup_share: 0.05 final_factor: 0.01 gamma: 0.7 } " +
      "local { replicas: 8 inner_steps: 32 outer_learning_rate: 0.7 outer_momentum: 0.9 upload: TERNARY " +
      "broadcast: INT8 } max_steps: 1099511627776 target_accuracy: 0.99 time_limit_seconds: 3600 shift: 2 " +
      "initial_parameters: '" + a + "' initial_state: '" + b + "' numerics_class: 'reference/1/fp32'";
  ExpectSame<v1::CnnSpec>(Encode(full), text);
  v1::CnnSpec message;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  const auto read = cnn::DecodeSpec(message.SerializeAsString());
  // An optimizer's unused fields may be absent.
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(*read, full);
}

TEST(CnnPayloadTest, ARoundIsACnnRound) {
  ExpectSame<v1::CnnRound>(
      Encode(cnn::RoundPayload{"spec", cnn::RoundKind::kLocal, 1ull << 33, 128, 7, 0.5, true, {0.5, 0, 0.25}}),
      "spec: 'spec' kind: LOCAL position: 8589934592 samples: 128 step: 7 learning_rate: 0.5 has_update: true "
      "learning_rates: [0.5, 0, 0.25]");
  ExpectSame<v1::CnnRound>(Encode(cnn::RoundPayload{}), "kind: GRADIENT");
}

TEST(CnnPayloadTest, ASummaryIsACnnSummary) {
  ExpectSame<v1::CnnSummary>(
      Encode(cnn::Summary{2, 300, 5628, 38400, 720384, 0.125, 0.96, 1, true, {{1, 2, 3, 4, 5, 6, 7, 8}, {}}, "epochs"}),
      "epoch: 2 step: 300 total_steps: 5628 samples_seen: 38400 total_samples: 720384 loss: 0.125 accuracy: 0.96 "
      "learning_rate: 1 is_evaluating: true epochs { epoch: 1 step: 2 train_loss: 3 train_accuracy: 4 test_loss: 5 "
      "test_accuracy: 6 learning_rate: 7 seconds: 8 } epochs {} stopped_by: 'epochs'");
  ExpectSame<v1::CnnSummary>(Encode(cnn::Summary{}), "");
}

// The numbers of enumerations are the same on both sides.
TEST(CnnPayloadTest, EnumerationsAgree) {
  EXPECT_EQ(static_cast<int>(cnn::Precision::kFp32), v1::FP32);
  EXPECT_EQ(static_cast<int>(cnn::Precision::kBf16), v1::BF16);
  EXPECT_EQ(static_cast<int>(cnn::Precision::kFp16), v1::FP16);
  EXPECT_EQ(static_cast<int>(cnn::OptimizerKind::kSgd), v1::CnnOptimizer::SGD);
  EXPECT_EQ(static_cast<int>(cnn::OptimizerKind::kAdadelta), v1::CnnOptimizer::ADADELTA);
  EXPECT_EQ(static_cast<int>(cnn::OptimizerKind::kAdamW), v1::CnnOptimizer::ADAMW);
  EXPECT_EQ(static_cast<int>(cnn::ScheduleKind::kConstant), v1::CnnSchedule::CONSTANT);
  EXPECT_EQ(static_cast<int>(cnn::ScheduleKind::kCosine), v1::CnnSchedule::COSINE);
  EXPECT_EQ(static_cast<int>(cnn::ScheduleKind::kExponential), v1::CnnSchedule::EXPONENTIAL);
  EXPECT_EQ(static_cast<int>(cnn::Compression::kNone), v1::UNCOMPRESSED);
  EXPECT_EQ(static_cast<int>(cnn::Compression::kHalf), v1::HALF);
  EXPECT_EQ(static_cast<int>(cnn::Compression::kInt8), v1::INT8);
  EXPECT_EQ(static_cast<int>(cnn::Compression::kInt4), v1::INT4);
  EXPECT_EQ(static_cast<int>(cnn::Compression::kTernary), v1::TERNARY);
  EXPECT_EQ(static_cast<int>(cnn::RoundKind::kGradient), v1::CnnRound::GRADIENT);
  EXPECT_EQ(static_cast<int>(cnn::RoundKind::kLocal), v1::CnnRound::LOCAL);
  EXPECT_EQ(static_cast<int>(cnn::RoundKind::kEvaluation), v1::CnnRound::EVALUATION);
}

}  // namespace
}  // namespace potluck
