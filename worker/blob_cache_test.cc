#include "worker/blob_cache.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "worker/scratch.h"

namespace potluck {
namespace {

std::string NewFolder() {
  std::string pattern = ::testing::TempDir() + "/potluck-XXXXXX";
  EXPECT_NE(mkdtemp(pattern.data()), nullptr) << pattern;
  return pattern;
}

class BlobCacheTest : public ::testing::Test {
 protected:
  ~BlobCacheTest() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<BlobCache> Open(uint64_t limit) {
    absl::StatusOr<std::unique_ptr<BlobCache>> cache = BlobCache::Open(directory_ + "/blobs", limit, now_);
    EXPECT_TRUE(cache.ok()) << cache.status();
    return *std::move(cache);
  }
  // Fills in a blob of `size` times that letter; returns its digest.
  std::string Put(BlobCache& cache, char letter, size_t size) {
    const std::string bytes(size, letter);
    const Manifest manifest = DescribeBlob(bytes);
    const std::string digest = BlobDigest(manifest);
    std::string digests;
    for (const std::string& piece : manifest.pieces) digests += piece;
    absl::StatusOr<std::unique_ptr<PartialBlob>> blob = cache.Start(digest);
    EXPECT_TRUE(blob.ok()) << blob.status();
    EXPECT_EQ((*blob)->Describe(size, digests), absl::OkStatus());
    for (uint64_t i = 0; i < manifest.pieces.size(); ++i) {
      EXPECT_EQ((*blob)->Add(i, bytes.substr(i * kPieceBytes, kPieceBytes)), absl::OkStatus());
    }
    EXPECT_TRUE((*blob)->IsComplete());
    EXPECT_TRUE(cache.Keep(**blob, digest, now_).ok());
    return digest;
  }
  bool Has(BlobCache& cache, const std::string& digest) { return cache.Find(digest, now_).has_value(); }

  const std::string directory_ = NewFolder();
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
};

TEST_F(BlobCacheTest, TheLeastRecentlyUsedGoesFirst) {
  const std::unique_ptr<BlobCache> cache = Open(350);
  const std::string a = Put(*cache, 'a', 100);
  now_ += absl::Minutes(1);
  const std::string b = Put(*cache, 'b', 100);
  now_ += absl::Minutes(1);
  const std::string c = Put(*cache, 'c', 100);
  now_ += absl::Minutes(1);
  EXPECT_TRUE(Has(*cache, a));
  const std::string d = Put(*cache, 'd', 100);
  EXPECT_EQ(cache->size_bytes(), 300u);
  EXPECT_FALSE(Has(*cache, b));
  EXPECT_TRUE(Has(*cache, a) && Has(*cache, c) && Has(*cache, d));
}

TEST_F(BlobCacheTest, WhatWasJustHandedOutStays) {
  const std::unique_ptr<BlobCache> cache = Open(150);
  const std::string a = Put(*cache, 'a', 100);
  const std::string b = Put(*cache, 'b', 100);
  EXPECT_TRUE(Has(*cache, a) && Has(*cache, b));
  now_ += absl::Minutes(1);
  Put(*cache, 'c', 100);
  EXPECT_FALSE(Has(*cache, a) || Has(*cache, b));
}

TEST_F(BlobCacheTest, TheLimitHoldsForWhatOthersLeft) {
  std::string a;
  {
    const std::unique_ptr<BlobCache> cache = Open(1000);
    a = Put(*cache, 'a', 600);
    now_ += absl::Minutes(1);
    Put(*cache, 'b', 100);
  }
  now_ += absl::Minutes(1);
  const std::unique_ptr<BlobCache> cache = Open(500);
  EXPECT_EQ(cache->size_bytes(), 100u);
  EXPECT_FALSE(Has(*cache, a));
}

TEST_F(BlobCacheTest, TwoProcessesShareAFolder) {
  const std::unique_ptr<BlobCache> cache = Open(1000);
  const std::unique_ptr<BlobCache> other = Open(1000);
  const std::string a = Put(*cache, 'a', 100);
  EXPECT_TRUE(Has(*other, a));
  unlink(other->Find(a, now_)->c_str());
  EXPECT_FALSE(Has(*cache, a));
  EXPECT_EQ(Put(*cache, 'a', 100), a);
  EXPECT_TRUE(Has(*other, a));
}

TEST_F(BlobCacheTest, TwoMayFetchTheSameBlobAtOnce) {
  const std::unique_ptr<BlobCache> cache = Open(1000);
  const std::string digest = BlobDigest(DescribeBlob(std::string(100, 'a')));
  const absl::StatusOr<std::unique_ptr<PartialBlob>> first = cache->Start(digest);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(Put(*cache, 'a', 100), digest);
  EXPECT_EQ((*first)->Describe(100, Sha256(std::string(100, 'a'))), absl::OkStatus());
  EXPECT_EQ((*first)->Add(0, std::string(100, 'a')), absl::OkStatus());
  EXPECT_TRUE((*first)->Finish().ok());
  EXPECT_TRUE(Has(*cache, digest));
}

TEST_F(BlobCacheTest, WhatIsNotTheBlobAskedForIsRefused) {
  const std::unique_ptr<BlobCache> cache = Open(1000);
  const std::string digest = BlobDigest(DescribeBlob("abc"));
  const absl::StatusOr<std::unique_ptr<PartialBlob>> blob = cache->Start(digest);
  EXPECT_EQ((*blob)->Describe(4, Sha256("abc")).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*blob)->Describe(3, Sha256("abd")).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*blob)->Describe(3, "short").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*blob)->Add(0, "abc").code(), absl::StatusCode::kDataLoss);  // Not described yet.
  EXPECT_EQ((*blob)->Describe(3, Sha256("abc")), absl::OkStatus());
  EXPECT_EQ((*blob)->Add(1, "abc").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*blob)->Add(0, "abd").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*blob)->Add(0, "abc"), absl::OkStatus());
}

TEST_F(BlobCacheTest, AnEmptyBlobIsABlob) {
  const std::unique_ptr<BlobCache> cache = Open(1000);
  EXPECT_TRUE(Has(*cache, Put(*cache, 'a', 0)));
}

TEST_F(BlobCacheTest, OldPartsAreRemovedAndNewOnesStay) {
  const std::string digest = BlobDigest(DescribeBlob("abc"));
  const std::string part = absl::StrCat(directory_, "/blobs/", HexDigest(digest), ".part");
  std::filesystem::create_directory(directory_ + "/blobs");
  std::ofstream(part) << "ab";
  std::ofstream(part + "-123-1") << "of a process that is gone";
  now_ = absl::Now();
  Open(1000);
  EXPECT_TRUE(std::filesystem::exists(part));
  EXPECT_FALSE(std::filesystem::exists(part + "-123-1"));
  now_ += absl::Hours(25);
  Open(1000);
  EXPECT_FALSE(std::filesystem::exists(part));
}

TEST_F(BlobCacheTest, AFullDiskMakesRoom) {
  const std::unique_ptr<BlobCache> cache = Open(1000);
  Put(*cache, 'a', 100);
  EXPECT_FALSE(cache->MakeRoom(100, now_));  // Just used.
  now_ += absl::Minutes(1);
  EXPECT_FALSE(cache->MakeRoom(101, now_));
  Put(*cache, 'b', 100);
  now_ += absl::Minutes(1);
  EXPECT_TRUE(cache->MakeRoom(100, now_));
}

TEST(ScratchTest, AFolderIsGoneWithItsOwner) {
  const std::string parent = NewFolder();
  std::string path;
  {
    const absl::StatusOr<Scratch> scratch = Scratch::Create(parent + "/scratch");
    ASSERT_TRUE(scratch.ok()) << scratch.status();
    const absl::StatusOr<Scratch> other = Scratch::Create(parent + "/scratch");
    ASSERT_TRUE(other.ok()) << other.status();
    path = scratch->path();
    EXPECT_NE(path, other->path());
    std::ofstream(path + "/file") << "bytes";
    EXPECT_TRUE(std::filesystem::exists(path + "/file"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(parent + "/scratch"));
  std::filesystem::remove_all(parent);
}

TEST(ScratchTest, WhatAKilledProcessLeftIsRemovedByTheNext) {
  const std::string parent = NewFolder();
  const pid_t child = fork();
  if (child == 0) {
    const absl::StatusOr<Scratch> scratch = Scratch::Create(parent);
    std::ofstream(scratch->path() + "/file") << "bytes";
    kill(getpid(), SIGKILL);
  }
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(std::filesystem::is_empty(parent));
  absl::StatusOr<Scratch> scratch = Scratch::Create(parent);
  ASSERT_TRUE(scratch.ok()) << scratch.status();
  EXPECT_FALSE(std::filesystem::exists(absl::StrCat(parent, "/", child, "-0")));
  *scratch = Scratch();
  EXPECT_TRUE(std::filesystem::is_empty(parent));
  std::filesystem::remove_all(parent);
}

TEST(ScratchTest, AParentThatCannotBeIsSaid) {
  EXPECT_THAT(Scratch::Create("/proc/potluck").status().message(), ::testing::HasSubstr("choose another by --cache."));
}

}  // namespace
}  // namespace potluck
