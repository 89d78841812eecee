// Table 2 in `bench paper`, from figures made up here, and a training of drawn digits.
#include "cli/paper_training.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_split.h"
#include "cli/cnn_training.h"
#include "kernels/cnn/data/synthesis.h"

namespace potluck {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

PaperTraining MadeUp(int epochs) {
  PaperTraining training;
  training.options = {.epochs = epochs, .repeat = 2, .threads = 2};
  training.data = "mnist";
  training.numerics_class = "class/of/numbers";
  training.samples = 60000;
  training.test_samples = 10000;
  training.runs = {{100, 0.04, 0.990}, {104, 0.03, 0.992}};
  return training;
}

TEST(PaperTrainingTest, TellsMeanAndDeviationBesideThePapersFigures) {
  const std::string text = PaperTrainingText(MadeUp(12));
  for (const char* part : {"Table 2", "60000 images (mnist), 12 epochs", "102.0 +- 2.8", "1925", "135", "1600", "110",
                           "99.10 +- 0.14 % of 10000 test images", "class/of/numbers"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, Not(HasSubstr("scaled")));
  for (const absl::string_view line : absl::StrSplit(text, '\n')) EXPECT_LE(line.size(), 100u) << line;
}

TEST(PaperTrainingTest, FewerEpochsAreScaledAndSaidSo) {
  const std::string text = PaperTrainingText(MadeUp(3));
  EXPECT_THAT(text, HasSubstr("408.0 +- 11.3"));
  EXPECT_THAT(text, HasSubstr("3 epochs were measured, 102.0 +- 2.8 s, and scaled"));
}

TEST(PaperTrainingTest, JsonHasEveryRun) {
  const nlohmann::ordered_json json = PaperTrainingJson(MadeUp(12));
  EXPECT_EQ(json["runs"].size(), 2u);
  EXPECT_DOUBLE_EQ(json["seconds"]["mean"], 102);
  EXPECT_DOUBLE_EQ(json["seconds_for_12_epochs"], 102);
  EXPECT_EQ(json["published"][0]["cpu_seconds"], 1925);
  EXPECT_EQ(json["published"][1]["gpu_seconds"], 110);
}

TEST(CnnTrainingTest, LearnsDigitsWithTheSameBitsForAnyNumberOfThreads) {
  const cnn::DataPair data = cnn::DrawDigits({.train = 600, .test = 200});
  CnnTrainingOptions options;
  options.model = {"small", {1, 28, 28}, {}};
  cnn::Layer convolution{.kind = cnn::LayerKind::kConv, .name = "", .units = 16, .kernel = 5, .stride = 2};
  convolution.relu = true;
  cnn::Layer flatten, dense;
  flatten.kind = cnn::LayerKind::kFlatten;
  dense.kind = cnn::LayerKind::kDense;
  dense.units = 10;
  options.model.layers = {convolution, flatten, dense};
  options.micro_shard = 16;
  double loss = 0;
  for (const int threads : {1, 3}) {
    options.threads = threads;
    std::string note;
    auto training = CnnTraining::Create(options, data, &note);
    ASSERT_TRUE(training.ok()) << training.status();
    const absl::StatusOr<cnn::Tally> before = (*training)->Evaluate();
    ASSERT_TRUE(before.ok()) << before.status();
    for (int i = 0; i < 3; ++i) ASSERT_TRUE((*training)->Epoch().ok());
    EXPECT_EQ((*training)->position(), 1800u);
    EXPECT_EQ((*training)->epoch_tally().samples, 600u);
    const absl::StatusOr<cnn::Tally> after = (*training)->Evaluate();
    ASSERT_TRUE(after.ok()) << after.status();
    EXPECT_EQ(after->samples, 200u);
    EXPECT_LT(after->loss_sum, before->loss_sum / 2);
    if (threads == 1) loss = after->loss_sum;
    EXPECT_EQ(after->loss_sum, loss);
  }
}

TEST(CnnTrainingTest, DataOfAnotherShapeIsOneSentence) {
  const cnn::DataPair data = cnn::DrawDigits({.train = 20, .test = 20});
  CnnTrainingOptions options;
  options.model = cnn::MnistCnn();
  options.model.input = {1, 20, 20};
  std::string note;
  const auto training = CnnTraining::Create(options, data, &note);
  ASSERT_FALSE(training.ok());
  EXPECT_THAT(std::string(training.status().message()), HasSubstr("does not fit the network"));
}

}  // namespace
}  // namespace potluck
