#include "coordinator/service/shared_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/sha256.h"
#include "coordinator/store/store_testing.h"

namespace potluck {
namespace {

using ::testing::HasSubstr;

class SharedFolderTest : public ::testing::Test {
 protected:
  SharedFolderTest() { std::filesystem::create_directory(directory_ + "/worker-1"); }

  static std::shared_ptr<const Bulk> MakeBulk(const std::string& bytes) {
    const Manifest manifest = DescribeBlob(bytes);
    return std::make_shared<const Bulk>(Bulk{BlobDigest(manifest), manifest, SharedBytes(bytes)});
  }
  std::string Content(const std::string& name) const {
    std::ifstream file(directory_ + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void ExpectRefused(const std::string& name, uint64_t size) const {
    std::string out;
    const absl::Status status = folder_->Read(name, size, out);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << name << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }

  const TemporaryDirectory temporary_;
  const std::string& directory_ = temporary_.path();
  const std::unique_ptr<SharedFolder> folder_ = std::make_unique<SharedFolder>(directory_);
};

TEST_F(SharedFolderTest, AFileIsThereAsLongAsItsBulkIs) {
  auto first = MakeBulk(std::string(100'000, 'a'));
  const absl::StatusOr<std::string> name = folder_->Share(first);
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(Content(*name), first->bytes.view());
  EXPECT_EQ(*folder_->Share(first), *name);
  const auto second = MakeBulk(std::string(1000, 'b'));
  EXPECT_EQ(Content(*folder_->Share(second)).size(), 1000u);
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/" + *name));
  first.reset();
  EXPECT_TRUE(folder_->Share(second).ok());
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/" + *name));
}

TEST_F(SharedFolderTest, ResultsAreReadWholeAndFromNowhereElse) {
  std::ofstream(directory_ + "/worker-1/result-1") << "0123456789";
  std::string out;
  EXPECT_EQ(folder_->Read("worker-1/result-1", 10, out), absl::OkStatus());
  EXPECT_EQ(out, "0123456789");
  ExpectRefused("worker-1/result-1", 9);
  ExpectRefused("worker-1/result-2", 10);
  ASSERT_EQ(symlink("/etc/passwd", (directory_ + "/worker-1/link").c_str()), 0);
  ExpectRefused("worker-1/link", std::filesystem::file_size("/etc/passwd"));
  ASSERT_EQ(mkfifo((directory_ + "/worker-1/pipe").c_str(), 0600), 0);
  ExpectRefused("worker-1/pipe", 10);
  // All of these lead to a file of that size.
  std::filesystem::create_directory(directory_ + "/worker-1/sub");
  for (const char* file : {"/secret", "/worker-1/sub/x"}) std::ofstream(directory_ + file) << "0123456789";
  const std::string out_and_in = "../" + std::filesystem::path(directory_).filename().string() + "/secret";
  for (const std::string& name :
       {out_and_in, std::string("secret"), std::string("./secret"), std::string("worker-1/sub/x"),
        std::string("worker-1/../secret"), std::string("worker-1//result-1"), std::string("../../../../etc/passwd")}) {
    EXPECT_THAT(std::string(folder_->Read(name, 10, out).message()), HasSubstr("allowed is FOLDER/FILE")) << name;
  }
}

}  // namespace
}  // namespace potluck
