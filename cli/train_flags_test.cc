#include "cli/train_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

namespace potluck {
namespace {

using testing::HasSubstr;

class TrainFlagsTest : public testing::Test {
 protected:
  ~TrainFlagsTest() override { std::remove(file_.c_str()); }

  static absl::StatusOr<cnn::Spec> SpecOf(const Args& args) {
    TrainFlags flags;
    Arguments arguments("train", "Trains.");
    flags.Declare(arguments);
    if (absl::Status parsed = arguments.Parse(args); !parsed.ok()) return parsed;
    if (absl::Status checked = flags.Check(); !checked.ok()) return checked;
    return MakeSpec(flags);
  }

  std::string ModelError(const std::string& text) {
    std::FILE* file = std::fopen(file_.c_str(), "w");
    std::fputs(text.c_str(), file);
    std::fclose(file);
    const auto spec = LoadModelSpec(file_);
    return spec.ok() ? "" : std::string(spec.status().message());
  }

  const std::string file_ = "train_flags_test." + std::to_string(getpid()) + ".txt";
};

TEST_F(TrainFlagsTest, WithoutFlagsItIsThePapersRecipe) {
  const auto spec = SpecOf({});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->model, cnn::MnistCnn());
  EXPECT_EQ(spec->batch, 128u);
  EXPECT_EQ(spec->epochs, 12u);
  EXPECT_EQ(spec->optimizer.kind, cnn::OptimizerKind::kAdadelta);
  EXPECT_EQ(spec->optimizer.learning_rate, 1.0);
  EXPECT_EQ(spec->optimizer.epsilon, 1e-7);
  EXPECT_EQ(spec->local.replicas, 0u);
}

TEST_F(TrainFlagsTest, LocalStepsBringWhatSuitsThem) {
  const auto spec = SpecOf({"--local-steps", "16", "--compress", "ternary"});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->local.inner_steps, 16u);
  EXPECT_EQ(spec->local.replicas, 8u);
  EXPECT_EQ(spec->local.upload, cnn::Compression::kTernary);
  EXPECT_EQ(spec->local.broadcast, cnn::Compression::kInt4);
  EXPECT_EQ(spec->optimizer.kind, cnn::OptimizerKind::kSgd);
  EXPECT_EQ(spec->schedule.kind, cnn::ScheduleKind::kCosine);
}

TEST_F(TrainFlagsTest, SaysWhatContradictsItself) {
  EXPECT_THAT(std::string(SpecOf({"--sync", "--local-steps", "4"}).status().message()), HasSubstr("--sync"));
  const std::vector<std::pair<std::string, std::string>> only_local = {{"--replicas", "2"},
                                                                       {"--compress", "int8"},
                                                                       {"--broadcast", "int8"},
                                                                       {"--outer-lr", "1"},
                                                                       {"--outer-momentum", "0.5"}};
  for (const auto& [flag, value] : only_local) {
    EXPECT_THAT(std::string(SpecOf({flag, value}).status().message()),
                testing::AllOf(HasSubstr(flag), HasSubstr("--local-steps")));
  }
}

TEST_F(TrainFlagsTest, ValuesOutOfRangeAreToldWithWhatIsAllowed) {
  EXPECT_THAT(std::string(SpecOf({"--lr", "-1"}).status().message()), HasSubstr("--lr is \"-1\""));
  EXPECT_THAT(std::string(SpecOf({"--batch", "0"}).status().message()), HasSubstr("1 to 65536"));
  EXPECT_THAT(std::string(SpecOf({"--compress", "int2"}).status().message()), HasSubstr("ternary"));
}

TEST_F(TrainFlagsTest, ReadsAModelFromText) {
  EXPECT_EQ(ModelError("name: \"tiny\" input { channels: 1 height: 8 width: 8 } layers { flatten {} } "
                       "layers { dense { units: 10 } }"),
            "");
  // What is written is read again.
  EXPECT_EQ(ModelError(ModelSpecText(cnn::MnistCnn())), "");
}

TEST_F(TrainFlagsTest, ABadModelIsOneSentence) {
  EXPECT_THAT(ModelError("layers { conv { filtres: 3 } }"), testing::AllOf(HasSubstr("line 1"), HasSubstr("filtres")));
  EXPECT_THAT(
      ModelError("input { channels: 1 height: 8 width: 8 } layers { dropout { rate: 1.5 } } layers { flatten {} } "
                 "layers { dense { units: 10 } }"),
      HasSubstr("1.5"));
  EXPECT_THAT(ModelError("input { channels: 1 height: 4 width: 4 } layers { conv { filters: 2 kernel: 9 } } layers { "
                         "flatten {} } layers { dense { units: 10 } }"),
              HasSubstr("kernel"));
  EXPECT_THAT(std::string(LoadModelSpec("no-such-preset").status().message()),
              testing::AllOf(HasSubstr("no-such-preset"), HasSubstr("mnist-cnn")));
}

}  // namespace
}  // namespace potluck
