#include "kernels/cnn/payload.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "kernels/workload/fields.h"

namespace potluck::cnn {
namespace {

Spec GoodSpec() {
  Spec spec;
  spec.model = MnistCnn();
  spec.train = {"mnist", {1, 28, 28}, 10, 60000, 1300, {}};
  for (int i = 0; i < 47; ++i) spec.train.shards.push_back(std::string(32, static_cast<char>(i)));
  spec.test = {"mnist", {1, 28, 28}, 10, 10000, 10000, {std::string(32, 'x')}};
  return spec;
}

Spec FullSpec() {
  Spec spec = GoodSpec();
  spec.seed = 0xfedcba9876543210;
  spec.precision = Precision::kBf16;
  spec.optimizer = {
      .kind = OptimizerKind::kSgd, .learning_rate = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 1e-4};
  spec.schedule = {ScheduleKind::kCosine, 0.05, 0.01, 0.5};
  spec.local = {8, 32, 0.7, 0.9, Compression::kTernary, Compression::kInt8};
  spec.max_steps = 1000;
  spec.target_accuracy = 0.99;
  spec.time_limit_seconds = 60;
  spec.shift = 2;
  spec.initial_parameters = std::string(32, 'p');
  spec.initial_state = std::string(32, 's');
  spec.numerics_class = "cpu/avx512+reference/1/fp32";
  return spec;
}

TEST(PayloadTest, WhatIsWrittenIsRead) {
  for (const Spec& spec : {GoodSpec(), FullSpec()}) {
    const auto read = DecodeSpec(Encode(spec));
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(*read, spec);
    EXPECT_EQ(Encode(*read), Encode(spec));
  }
  const auto model = DecodeModelSpec(Encode(MnistCnn()));
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(*model, MnistCnn());
  const RoundPayload round{"spec", RoundKind::kLocal, 1, 2, 3, 0.5, true, {0.5, 0.0, 0.25}};
  const auto read_round = DecodeRound(Encode(round));
  ASSERT_TRUE(read_round.ok());
  EXPECT_EQ(*read_round, round);
  const Summary summary{1, 2, 3, 4, 5, 0.5, 0.75, 0.1, true, {{1, 2, 3, 4, 5, 6, 7, 8}, {}}, "epochs"};
  const auto read_summary = DecodeSummary(Encode(summary));
  ASSERT_TRUE(read_summary.ok());
  EXPECT_EQ(*read_summary, summary);
}

TEST(PayloadTest, ATallyIsThirtyTwoBytes) {
  const Tally tally{1.5, 2, 3, 0x0102030405060708};
  std::string result = "numbers";
  AppendTally(tally, result);
  EXPECT_EQ(result.size(), 7 + kTallyBytes);
  EXPECT_EQ(ReadTally(result), tally);
  EXPECT_EQ(result.substr(7 + 24), std::string("\x08\x07\x06\x05\x04\x03\x02\x01"));
}

std::string Complaint(const std::function<void(Spec&)>& change) {
  Spec spec = FullSpec();
  change(spec);
  const std::string message = CheckSpec(spec).message();
  EXPECT_EQ(DecodeSpec(Encode(spec)).status().message(), message);
  return message;
}

TEST(PayloadTest, EveryFieldOfTheDataIsChecked) {
  EXPECT_EQ(Complaint([](Spec&) {}), "");
  EXPECT_EQ(Complaint([](Spec& s) { s.model.layers[3].rate = 1.5; }),
            "Layer 4 (dropout): rate is 1.5; allowed: 0 to less than 1.");
  EXPECT_EQ(Complaint([](Spec& s) { s.train.shape.width = 32; }),
            "train.shape is 1 x 28 x 32; allowed: 1 x 28 x 28, the network's input.");
  EXPECT_EQ(Complaint([](Spec& s) { s.test.classes = 11; }),
            "test.classes is 11; allowed: 2 to 10, the network's outputs.");
  EXPECT_EQ(Complaint([](Spec& s) { s.train.samples = 0; }), "train.samples is 0; allowed: 1 to 4294967295.");
  EXPECT_EQ(Complaint([](Spec& s) { s.train.samples_a_shard = 0; }),
            "train.samples_a_shard is 0; allowed: 1 to 341520.");
  EXPECT_EQ(Complaint([](Spec& s) { s.train.shards.pop_back(); }),
            "train.shards has 46 digests; allowed for 60000 samples, 1300 a shard: 47.");
  EXPECT_EQ(Complaint([](Spec& s) { s.train.shards[3] = "short"; }),
            "train.shards[3] is 5 bytes long; allowed: 32 (a digest).");
  EXPECT_EQ(Complaint([](Spec& s) { s.test.name = "\x01"; }), "test.name may only have printable ASCII characters.");
}

TEST(PayloadTest, EveryOtherFieldIsChecked) {
  EXPECT_EQ(Complaint([](Spec& s) { s.batch = 0; }), "batch is 0; allowed: 1 to 65536.");
  EXPECT_EQ(Complaint([](Spec& s) { s.batch = 65537; }), "batch is 65537; allowed: 1 to 65536.");
  EXPECT_EQ(Complaint([](Spec& s) { s.epochs = 100001; }), "epochs is 100001; allowed: 0 to 100000.");
  EXPECT_EQ(Complaint([](Spec& s) { s.micro_shard = 4097; }), "micro_shard is 4097; allowed: 1 to 4096.");
  EXPECT_EQ(Complaint([](Spec& s) { s.precision = static_cast<Precision>(3); }),
            "precision is 3; allowed: 0 (FP32), 1 (BF16) and 2 (FP16).");
  EXPECT_EQ(Complaint([](Spec& s) { s.optimizer.learning_rate = -1; }),
            "learning_rate is -1.000000; allowed: 0 to 1000000.");
  EXPECT_EQ(Complaint([](Spec& s) { s.optimizer.kind = static_cast<OptimizerKind>(7); }),
            "optimizer is 7; allowed: 1 (SGD), 2 (ADADELTA) and 3 (ADAMW).");
  EXPECT_EQ(Complaint([](Spec& s) { s.schedule.kind = static_cast<ScheduleKind>(7); }),
            "schedule is 7; allowed: 0 (CONSTANT), 1 (COSINE) and 2 (EXPONENTIAL).");
  EXPECT_EQ(Complaint([](Spec& s) { s.local.replicas = 0; }), "local.replicas is 0; allowed: 1 to 4096.");
  EXPECT_EQ(Complaint([](Spec& s) { s.local.inner_steps = 0; }), "local.inner_steps is 0; allowed: 1 to 1000000.");
  EXPECT_EQ(Complaint([](Spec& s) { s.local.outer_learning_rate = 0; }),
            "local.outer_learning_rate is 0.000000; allowed: more than 0, 100 at most.");
  EXPECT_EQ(Complaint([](Spec& s) { s.local.outer_momentum = std::nan(""); }),
            "local.outer_momentum is nan; allowed: 0 to less than 1.");
  EXPECT_EQ(Complaint([](Spec& s) { s.local.upload = static_cast<Compression>(5); }),
            "local.upload is 5; allowed: 0 to 4.");
  EXPECT_EQ(Complaint([](Spec& s) { s.local.broadcast = static_cast<Compression>(99); }),
            "local.broadcast is 99; allowed: 0 to 4.");
  EXPECT_EQ(Complaint([](Spec& s) { s.target_accuracy = 1.5; }),
            "target_accuracy is 1.500000; allowed: 0 (none) to 1.");
  EXPECT_EQ(Complaint([](Spec& s) { s.time_limit_seconds = std::numeric_limits<double>::infinity(); }),
            "time_limit_seconds is inf; allowed: 0 (none) or more, finite.");
  EXPECT_EQ(Complaint([](Spec& s) { s.shift = 9; }), "shift is 9; allowed: 0 to 8.");
  EXPECT_EQ(Complaint([](Spec& s) { s.initial_state = "x"; }),
            "initial_state is 1 bytes long; allowed: 32 (a digest), or none.");
  EXPECT_EQ(Complaint([](Spec& s) { s.initial_parameters = "x"; }),
            "initial_parameters is 1 bytes long; allowed: 32 (a digest), or none.");
  EXPECT_EQ(Complaint([](Spec& s) { s.numerics_class = std::string(201, 'c'); }),
            "numerics_class is 201 characters long; allowed: 200 at most.");
}

TEST(PayloadTest, NumbersOfMoreThan32BitsAreNotCutOff) {
  FieldWriter extra;
  extra.Uint(5, (uint64_t{1} << 32) + 128);
  EXPECT_EQ(DecodeSpec(Encode(FullSpec()) + extra.Take()).status().message(),
            "batch is 4294967295; allowed: 1 to 65536.");
}

TEST(PayloadTest, WhatIsNotAMessageIsRefused) {
  EXPECT_EQ(DecodeSpec("\xff").status().message(), "The specification is not a well-formed CnnSpec message.");
  EXPECT_EQ(DecodeSpec("").status().message(),
            "The network's input is 0 x 0 x 0 (channels x height x width); allowed: 1 to 4096 each.");
  EXPECT_EQ(DecodeRound("\xff").status().message(), "The round is not a well-formed CnnRound message.");
  EXPECT_EQ(DecodeRound("").status().message(),
            "The round's kind is 0; allowed: 1 (GRADIENT), 2 (LOCAL) and 3 (EVALUATION).");
  FieldWriter odd;
  odd.Uint(2, 1);
  odd.Bytes(8, "not 8");
  EXPECT_EQ(DecodeRound(odd.Take()).status().message(), "The round is not a well-formed CnnRound message.");
  RoundPayload round{"", RoundKind::kLocal, 0, 0, 0, 0, false, {std::nan("")}};
  EXPECT_EQ(DecodeRound(Encode(round)).status().message(), "A learning rate of the round is negative or not finite.");
  EXPECT_EQ(DecodeSummary("\x0b").status().message(), "The summary is not a well-formed CnnSummary message.");
  FieldWriter layer, model;
  layer.Bytes(1, "name only");
  model.Message(3, layer.Take());
  EXPECT_EQ(DecodeModelSpec(model.Take()).status().message(),
            "Layer 1: it is of no known kind; allowed: one of conv, max_pool, dropout, flatten and dense.");
}

// Every prefix, and every byte changed: a sentence or a specification, nothing else.
TEST(PayloadTest, DamagedBytesNeverDoHarm) {
  const std::string bytes = Encode(FullSpec());
  for (size_t i = 0; i < bytes.size(); i += 3) {
    (void)DecodeSpec(std::string_view(bytes).substr(0, i));
    for (const char change : {'\x01', '\x80', '\xff'}) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ change);
      const auto spec = DecodeSpec(damaged);
      EXPECT_TRUE(!spec.ok() || CheckSpec(*spec).ok());
    }
  }
}

}  // namespace
}  // namespace potluck::cnn
