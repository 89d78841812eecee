#include "kernels/cnn/data/images.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/cnn/data/idx.h"
#include "kernels/cnn/data/npy.h"
#include "kernels/cnn/data/testing.h"

namespace potluck::cnn {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Sentence(const std::string& bytes) {
  const Result<DataSet> images = ParseImages("picture", bytes);
  return images.ok() ? "no error" : images.status().message();
}

TEST(ImagesTest, IdxAndNpyFilesAreToldByTheirFirstBytes) {
  const DataSet data = SomeData({3, 4, 5}, 6, 2);
  for (const std::string& bytes : {WriteIdxImages(data), WriteNpyImages(data)}) {
    const Result<DataSet> images = ParseImages("picture", bytes);
    ASSERT_TRUE(images.ok()) << images.status().message();
    EXPECT_EQ(images->shape, data.shape);
    EXPECT_EQ(images->pixels, data.pixels);
  }
}

TEST(ImagesTest, PgmAndPpmFilesAreRead) {
  Result<DataSet> images = ParseImages("picture", "P5\n# a comment\n 3 #another\n2\n255\nabcdef");
  ASSERT_TRUE(images.ok()) << images.status().message();
  EXPECT_EQ(images->shape, (Shape{1, 2, 3}));
  EXPECT_EQ(images->pixels, (std::vector<uint8_t>{'a', 'b', 'c', 'd', 'e', 'f'}));
  images = ParseImages("picture", std::string("P6 2 1 5 ") + std::string("\0\1\2\3\4\5", 6));
  ASSERT_TRUE(images.ok()) << images.status().message();
  EXPECT_EQ(images->shape, (Shape{3, 1, 2}));
  EXPECT_EQ(images->pixels, (std::vector<uint8_t>{0, 153, 51, 204, 102, 255}));
}

TEST(ImagesTest, WhatIsWrongIsTold) {
  EXPECT_THAT(Sentence("P5 3 2 255 abcde"), AllOf(HasSubstr("picture"), HasSubstr("short")));
  EXPECT_THAT(Sentence("P5 3 2 255 abcdefg"), HasSubstr("behind its end"));
  EXPECT_THAT(Sentence("P5 3 2 65535 abcdef"), AllOf(HasSubstr("greatest value is 65535"), HasSubstr("1 to 255")));
  EXPECT_THAT(Sentence("P5 0 2 255 "), AllOf(HasSubstr("offset 3"), HasSubstr("width is 0")));
  EXPECT_THAT(Sentence("P5 3 99999 255 "), HasSubstr("height is 99999"));
  EXPECT_THAT(Sentence("P5 3 2 100 abcdex"), AllOf(HasSubstr("offset 15"), HasSubstr("a pixel is 101")));
  EXPECT_THAT(Sentence("P5"), HasSubstr("width is missing"));
  EXPECT_THAT(Sentence("P5 #"), HasSubstr("width is missing"));
  EXPECT_THAT(Sentence("P5 3 2 255"), HasSubstr("short"));
  EXPECT_THAT(Sentence("\x89PNG\r\n"), AllOf(HasSubstr("allowed are IDX"), HasSubstr("PGM")));
  EXPECT_THAT(Sentence(""), HasSubstr("allowed are IDX"));
  EXPECT_THAT(ReadImages("/no/such/file").status().message(), HasSubstr("No such file"));
}

}  // namespace
}  // namespace potluck::cnn
