// The paper's network on the real data, through planner and runner.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "kernels/cnn/data/readers.h"
#include "kernels/cnn/training_testing.h"

namespace potluck::cnn {
namespace {

std::string MnistFolder() {
  const char* folder = std::getenv("POTLUCK_MNIST_DIR");
  return folder != nullptr ? folder : POTLUCK_MNIST_DIR;
}

std::string Plugin() {
#ifdef POTLUCK_ONEDNN_PLUGIN
  return POTLUCK_ONEDNN_PLUGIN;
#else
  return "";
#endif
}

class MnistTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(MnistFolder())) {
      GTEST_SKIP() << "POTLUCK_MNIST_DIR (a folder with MNIST) is \"" << MnistFolder() << "\", which is not there.";
    }
    if (Plugin().empty()) GTEST_SKIP() << "Built without oneDNN: the portable code would take an hour.";
    Result<DataPair> data = ReadDataFolder(MnistFolder());
    ASSERT_TRUE(data.ok()) << data.status().message();
    spec_.model = MnistCnn();
    spec_.train = PutData(data->train, SamplesAShard(data->train.shape, data->train.samples()), blobs_);
    spec_.test = PutData(data->test, SamplesAShard(data->test.shape, data->test.samples()), blobs_);
    spec_.seed = 1;
    spec_.epochs = 1;
    spec_.optimizer.learning_rate = 1.0;  // Adadelta.
  }

  TestBlobs blobs_;
  Spec spec_;
};

// The paper's recipe.
TEST_F(MnistTest, OneEpochOfAdadeltaReaches975) {
  const Outcome outcome = RunByHand(spec_, blobs_, {.threads = 2, .plugin = Plugin()});
  ASSERT_EQ(outcome.summary.epochs.size(), 1u);
  const Epoch& epoch = outcome.summary.epochs[0];
  EXPECT_GE(epoch.test_accuracy, 0.975);
  EXPECT_LT(epoch.test_loss, 0.1);
}

TEST_F(MnistTest, PartsOfABatchGiveEqualBits) {
  spec_.batch = 512;
  spec_.max_steps = 6;
  const Outcome one = RunByHand(spec_, blobs_, {.threads = 2, .plugin = Plugin()});
  const Outcome three = RunByHand(spec_, blobs_, {.workers = 3, .plugin = Plugin(), .seed = 5});
  EXPECT_EQ(one.parameters, three.parameters);
  EXPECT_EQ(one.summary.epochs[0].test_loss, three.summary.epochs[0].test_loss);
  spec_.local = {.replicas = 4, .inner_steps = 2, .upload = Compression::kInt4, .broadcast = Compression::kInt8};
  spec_.batch = 96;  // One replica a thread, or one by two threads.
  spec_.micro_shard = 96;
  const Outcome first = RunByHand(spec_, blobs_, {.threads = 2, .plugin = Plugin()});
  const Outcome second = RunByHand(spec_, blobs_, {.workers = 3, .plugin = Plugin(), .seed = 5});
  EXPECT_EQ(first.parameters, second.parameters);
}

}  // namespace
}  // namespace potluck::cnn
