#include "kernels/cnn/data/shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/cnn/data/testing.h"
#include "kernels/workload/parallel.h"

namespace potluck::cnn {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

void ExpectSame(const ShardReader& reader, const DataSet& data, uint64_t sample) {
  EXPECT_EQ(reader.label(sample), data.labels[sample]) << sample;
  EXPECT_TRUE(std::equal(reader.image(sample), reader.image(sample) + data.shape.size(), data.image(sample))) << sample;
}

TEST(ShardsTest, AShardHasAboutAMebibyte) {
  const uint32_t mnist = SamplesAShard({1, 28, 28}, 60000);
  EXPECT_EQ(mnist, 1280u);
  EXPECT_EQ(ShardCount(60000, mnist), 47u);
  EXPECT_EQ(SamplesAShard({1, 28, 28}, 100), 100u);
  EXPECT_EQ(SamplesAShard({3, 1024, 1024}, 100), 1u);
  EXPECT_EQ(SamplesAShard({3, 100, 100}, 1000), 34u);
}

TEST(ShardsTest, EverySampleComesBackInWhateverOrderShardsAreOpened) {
  const DataSet data = SomeData({3, 5, 7}, 2503, 300);
  DataSpec spec = DescribeData(data);
  EXPECT_EQ(spec.samples_a_shard, 2503u);
  spec.samples_a_shard = 100;
  ShardReader reader(spec);
  ASSERT_EQ(reader.shards(), 26u);
  EXPECT_EQ(reader.ShardOf(99), 0u);
  EXPECT_EQ(reader.ShardOf(2502), 25u);
  const TestFolder folder;
  for (uint64_t i = reader.shards(); i-- > 0;) {
    EXPECT_FALSE(reader.IsOpen(i));
    const std::string bytes = EncodeShard(data, 100, i);
    if (i % 2 == 0) {
      ASSERT_TRUE(reader.Adopt(i, bytes).ok());
    } else {
      const std::string path = folder.Write("shard", bytes);
      ASSERT_TRUE(reader.Open(i, path).ok());
      std::filesystem::remove(path);  // What is mapped stays.
    }
    EXPECT_TRUE(reader.IsOpen(i));
  }
  for (uint64_t sample = 0; sample < data.samples(); ++sample) ExpectSame(reader, data, sample);
}

TEST(ShardsTest, ThreadsReadWhileOthersOpen) {
  const DataSet data = SomeData({1, 4, 4}, 640, 10);
  DataSpec spec = DescribeData(data);
  spec.samples_a_shard = 10;
  ShardReader reader(spec);
  RunOnThreads(4, [&](int thread) {
    for (uint64_t shard = 0; shard < reader.shards(); ++shard) {
      EXPECT_TRUE(reader
                      .Adopt((shard + static_cast<uint64_t>(thread) * 16) % 64,
                             EncodeShard(data, 10, (shard + static_cast<uint64_t>(thread) * 16) % 64))
                      .ok());
      for (uint64_t sample = 0; sample < 640; sample += 10) {
        if (reader.IsOpen(reader.ShardOf(sample))) ExpectSame(reader, data, sample);
      }
    }
  });
}

TEST(ShardsTest, AShardOfAnotherLengthOrWithAWrongLabelIsRefused) {
  const DataSet data = SomeData({1, 4, 4}, 25, 10);
  DataSpec spec = DescribeData(data);
  spec.samples_a_shard = 10;
  ShardReader reader(spec);
  const std::string last = EncodeShard(data, 10, 2);
  EXPECT_THAT(reader.Adopt(0, last).message(), AllOf(HasSubstr("shard 0"), HasSubstr("has 90 bytes"),
                                                     HasSubstr("expected 180"), HasSubstr("10 samples")));
  EXPECT_THAT(reader.Adopt(2, "").message(), HasSubstr("has 0 bytes, expected 90"));
  std::string wrong = EncodeShard(data, 10, 1);
  wrong[160 + 2 * 3 + 1] = 1;
  EXPECT_THAT(reader.Adopt(1, wrong).message(), AllOf(HasSubstr("shard 1"), HasSubstr("offset 166"),
                                                      HasSubstr("sample 13"), HasSubstr("expected 0 to 9")));
  EXPECT_THAT(reader.Open(1, "/no/such/file").message(), AllOf(HasSubstr("shard 1"), HasSubstr("No such file")));
  EXPECT_FALSE(reader.IsOpen(0));
  EXPECT_FALSE(reader.IsOpen(1));
  EXPECT_TRUE(reader.Adopt(2, last).ok());
}

}  // namespace
}  // namespace potluck::cnn
