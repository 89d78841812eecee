#include "cli/inference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cnn/data/testing.h"

namespace potluck {
namespace {

ModelFile SmallModel() {
  cnn::ModelSpec spec;
  spec.name = "small";
  spec.input = {1, 8, 8};
  spec.layers = {{.kind = cnn::LayerKind::kConv, .name = "", .units = 4, .kernel = 3, .relu = true},
                 {.kind = cnn::LayerKind::kDropout, .name = "", .rate = 0.5},
                 {.kind = cnn::LayerKind::kFlatten, .name = ""},
                 {.kind = cnn::LayerKind::kDense, .name = "", .units = 5}};
  Result<cnn::Model> model = cnn::MakeModel(spec);
  EXPECT_TRUE(model.ok()) << model.status().message();
  std::vector<float> parameters = cnn::InitialParameters(*model, 3);
  return {std::move(model).value(), std::move(parameters)};
}

TEST(InferenceTest, LogitsDependNeitherOnThreadsNorOnTheImagesBeside) {
  const cnn::DataSet data = cnn::SomeData({1, 8, 8}, 300, 5);
  const auto one = Inference::Create(SmallModel(), 1), many = Inference::Create(SmallModel(), 3);
  ASSERT_TRUE(one.ok() && many.ok());
  const absl::StatusOr<std::vector<float>> expected = (*one)->Logits(data.pixels);
  ASSERT_TRUE(expected.ok()) << expected.status();
  ASSERT_EQ(expected->size(), 1500u);
  EXPECT_EQ(*(*many)->Logits(data.pixels), *expected);
  const absl::StatusOr<std::vector<float>> alone = (*one)->Logits(std::span(data.pixels).subspan(64 * 200, 64));
  ASSERT_TRUE(alone.ok()) << alone.status();
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ((*alone)[i], (*expected)[1000 + i]);
  EXPECT_TRUE((*one)->Logits({})->empty());
}

TEST(InferenceTest, ProbabilitiesAndLossesAreThoseOfSoftmax) {
  const std::vector<float> logits = {1, 3, 3, -2};
  EXPECT_EQ(BestClass(logits), 1u);
  const std::vector<double> probabilities = Probabilities(logits);
  const double sum = std::exp(1) + 2 * std::exp(3) + std::exp(-2);
  EXPECT_NEAR(probabilities[0], std::exp(1) / sum, 1e-12);
  EXPECT_NEAR(probabilities[3], std::exp(-2) / sum, 1e-12);
  EXPECT_NEAR(CrossEntropy(logits, 3), std::log(sum) + 2, 1e-12);
  const std::vector<float> far = {-1000, 1000};
  EXPECT_EQ(Probabilities(far), (std::vector<double>{0, 1}));
  EXPECT_EQ(CrossEntropy(far, 0), 2000);
}

TEST(InferenceTest, ImagesOfAnotherSizeAreRefused) {
  const absl::Status status = CheckShape(SmallModel().model, "some.pgm", {3, 8, 9});
  EXPECT_THAT(std::string(status.message()),
              ::testing::AllOf(::testing::HasSubstr("some.pgm"), ::testing::HasSubstr("9 x 8 pixels in 3 channels"),
                               ::testing::HasSubstr("8 x 8 pixels in 1 channel")));
}

}  // namespace
}  // namespace potluck
