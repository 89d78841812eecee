// Models as files: what is written is read again, and what is wrong in a file is told.
#include "cli/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "kernels/cnn/data/testing.h"

namespace potluck {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

cnn::Model SmallModel(const std::string& name = "small") {
  cnn::ModelSpec spec;
  spec.name = name;
  spec.input = {2, 6, 6};
  spec.layers = {{.kind = cnn::LayerKind::kConv, .name = "", .units = 3, .kernel = 3, .padding = 1, .relu = true},
                 {.kind = cnn::LayerKind::kMaxPool, .name = "", .kernel = 2},
                 {.kind = cnn::LayerKind::kFlatten, .name = ""},
                 {.kind = cnn::LayerKind::kDense, .name = "head", .units = 4}};
  Result<cnn::Model> model = cnn::MakeModel(spec);
  EXPECT_TRUE(model.ok()) << model.status().message();
  return std::move(model).value();
}

std::string FileOf(const std::string& header, const std::string& numbers) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + numbers;
}

class ModelFileTest : public ::testing::Test {
 protected:
  std::string Path() const { return folder_.path() + "/model.safetensors"; }
  // The sentence that reading a file of these bytes ends with.
  std::string Sentence(const std::string& bytes) const {
    const absl::StatusOr<ModelFile> file = ReadModelFile(folder_.Write("model.safetensors", bytes));
    return file.ok() ? "no error" : std::string(file.status().message());
  }
  std::string Written() const {
    EXPECT_TRUE(WriteSafetensors(model_, parameters_, Path()).ok());
    return folder_.Read("model.safetensors");
  }
  // The same file with something replaced in its header.
  std::string Changed(const std::string& what, const std::string& with) const {
    const std::string bytes = Written();
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    const std::string header = bytes.substr(8, length);
    EXPECT_THAT(header, HasSubstr(what));
    return FileOf(absl::StrReplaceAll(header, {{what, with}}), bytes.substr(8 + length));
  }

  const cnn::TestFolder folder_;
  const cnn::Model model_ = SmallModel();
  const std::vector<float> parameters_ = cnn::InitialParameters(model_, 5);
};

TEST_F(ModelFileTest, WhatIsWrittenIsReadAgain) {
  Written();
  const absl::StatusOr<ModelFile> file = ReadModelFile(Path());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->model.spec, model_.spec);
  EXPECT_EQ(file->parameters, parameters_);
  const absl::StatusOr<std::vector<float>> alone = ReadParameters(Path(), model_);
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ(*alone, parameters_);
}

TEST_F(ModelFileTest, EqualParametersMakeEqualFilesWhoseNumbersAreAligned) {
  const std::string bytes = Written();
  EXPECT_EQ(bytes, Written());
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  EXPECT_EQ(bytes.size(), 8 + length + model_.parameter_count * 4);
  EXPECT_EQ(std::memcmp(bytes.data() + 8 + length, parameters_.data(), model_.parameter_count * 4), 0);
  EXPECT_THAT(bytes, HasSubstr("\"conv1.bias\":{\"data_offsets\":[216,228],\"dtype\":\"F32\",\"shape\":[3]}"));
  EXPECT_THAT(bytes, HasSubstr("\"format\":\"pt\""));
}

TEST_F(ModelFileTest, TensorsMayLieInAnyOrderAndHaveNoMetadata) {
  const std::string head = R"("head.weight":{"dtype":"F32","shape":[4,27],"data_offsets":[0,432]})";
  const std::string bytes =
      FileOf(absl::StrCat("{ ", head, R"(, "head.bias":{"dtype":"F32","shape":[4],"data_offsets":[432,448]},)",
                          R"("conv1.bias":{"dtype":"F32","shape":[3],"data_offsets":[664,676]},)",
                          R"("conv1.weight":{"dtype":"F32","shape":[3,2,3,3],"data_offsets":[448,664]} })"),
             std::string(reinterpret_cast<const char*>(parameters_.data() + 57), 448) +
                 std::string(reinterpret_cast<const char*>(parameters_.data()), 228));
  EXPECT_THAT(Sentence(bytes), AllOf(HasSubstr("model.safetensors"), HasSubstr("does not say what network it is")));
  const absl::StatusOr<std::vector<float>> read = ReadParameters(Path(), model_);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, parameters_);
}

TEST_F(ModelFileTest, WhatIsWrongInAFileIsTold) {
  const std::string bytes = Written();
  EXPECT_EQ(Sentence(bytes), "no error");
  EXPECT_THAT(Sentence(""), AllOf(HasSubstr("has 0 bytes"), HasSubstr("not a safetensors file")));
  EXPECT_THAT(Sentence(bytes.substr(0, 100)), HasSubstr("cut short"));
  EXPECT_THAT(Sentence(bytes.substr(0, bytes.size() - 1)),
              AllOf(HasSubstr("tensor \"head.bias\""), HasSubstr("675 bytes"), HasSubstr("cut short")));
  EXPECT_THAT(Sentence(bytes + "x"), AllOf(HasSubstr("end at byte 676"), HasSubstr("has 677")));
  EXPECT_THAT(Sentence("PK\x03\x04 something else altogether"), HasSubstr("not a safetensors file"));
  EXPECT_THAT(Sentence(FileOf("[]", "")), HasSubstr("not a JSON object"));
  EXPECT_THAT(Sentence(Changed("\"conv1.bias\"", "conv1.bias")), HasSubstr("not a JSON object"));
  EXPECT_THAT(Sentence(Changed("\"conv1.bias\"", "\"conv9.bias\"")),
              AllOf(HasSubstr("has no tensor \"conv1.bias\""), HasSubstr("which the model has")));
  EXPECT_THAT(Sentence(Changed("[3,2,3,3]", "[3,2,9]")),
              AllOf(HasSubstr("conv1.weight"), HasSubstr("[3, 2, 9]"), HasSubstr("in the model it is [3, 2, 3, 3]")));
  EXPECT_THAT(Sentence(Changed("[3,2,3,3]", "[3,2,3]")), HasSubstr("does not make the 216 bytes"));
  EXPECT_THAT(Sentence(Changed("[3,2,3,3]", "[4294967296,4294967296,4294967296]")), HasSubstr("does not make"));
  EXPECT_THAT(Sentence(Changed("[3,2,3,3]", "[3,-2,3,3]")), HasSubstr("shape is not a list of whole numbers"));
  EXPECT_THAT(Sentence(Changed("[216,228]", "[228,216]")), HasSubstr("data_offsets are 228 and 216"));
  EXPECT_THAT(Sentence(Changed("[216,228]", "[212,224]")), HasSubstr("overlap at byte 212"));
  EXPECT_THAT(Sentence(Changed("[216,228]", "[216]")), HasSubstr("not a list of two whole numbers"));
  EXPECT_THAT(Sentence(Changed("F32", "F16")), AllOf(HasSubstr("dtype is \"F16\""), HasSubstr("allowed is F32")));
  EXPECT_THAT(Sentence(Changed("\"potluck.model\":\"", "\"potluck.model\":\"!")), HasSubstr("not base64"));
  EXPECT_THAT(Sentence(Changed("\"potluck.model\":\"", "\"potluck.model\":\"aaaa")), HasSubstr("potluck.model"));
  std::string odd = bytes;
  const float infinity = std::numeric_limits<float>::infinity();
  std::memcpy(odd.data() + odd.size() - 8, &infinity, 4);
  EXPECT_THAT(Sentence(odd), AllOf(HasSubstr("\"head.bias\": number 2 is inf"), HasSubstr("finite")));
  EXPECT_THAT(std::string(ReadModelFile(folder_.path()).status().message()), HasSubstr("not a plain file"));
  EXPECT_THAT(std::string(ReadModelFile("/no/such/file").status().message()), HasSubstr("No such file"));
}

TEST_F(ModelFileTest, TheFileOfAnotherModelIsRefused) {
  Written();
  const Result<cnn::Model> other = cnn::MakeModel(cnn::MnistCnn());
  ASSERT_TRUE(other.ok());
  EXPECT_THAT(std::string(ReadParameters(Path(), *other).status().message()),
              AllOf(HasSubstr("conv1.weight"), HasSubstr("[3, 2, 3, 3]"), HasSubstr("[32, 1, 3, 3]")));
  cnn::ModelSpec less = model_.spec;
  less.layers.erase(less.layers.begin(), less.layers.begin() + 2);
  less.input = {3, 3, 3};
  const Result<cnn::Model> smaller = cnn::MakeModel(less);
  ASSERT_TRUE(smaller.ok());
  EXPECT_THAT(std::string(ReadParameters(Path(), *smaller).status().message()),
              AllOf(HasSubstr("has a tensor \"conv1.bias\""), HasSubstr("which the model has not")));
}

TEST_F(ModelFileTest, AnOnnxFileHoldsTheNumbersAsTheyAre) {
  // That it opens elsewhere and gives the same logits is for tests/model_files.
  const std::string path = folder_.path() + "/model.onnx";
  ASSERT_TRUE(WriteOnnx(model_, parameters_, path).ok());
  const std::string bytes = folder_.Read("model.onnx");
  EXPECT_THAT(bytes, HasSubstr(std::string(reinterpret_cast<const char*>(parameters_.data()), 216)));
  EXPECT_THAT(bytes, AllOf(HasSubstr("Gemm"), HasSubstr("MaxPool"), HasSubstr("logits"), HasSubstr("head.weight")));
  EXPECT_THAT(std::string(WriteOnnx(model_, parameters_, "/no/such/model.onnx").message()), HasSubstr("cannot write"));
}

}  // namespace
}  // namespace potluck
