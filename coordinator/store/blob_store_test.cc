#include "coordinator/store/blob_store.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/sha256.h"
#include "coordinator/store/store_testing.h"

namespace potluck {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kQuota = 64 << 20;

std::string RandomBytes(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

class BlobStoreTest : public ::testing::TestWithParam<std::string> {
 protected:
  BlobStoreTest() { Open(kQuota); }

  void Open(uint64_t quota) {
    store_.reset();
    if (GetParam() == "Memory") {
      store_ = BlobStore::InMemory(quota);
      return;
    }
    absl::StatusOr<std::unique_ptr<BlobStore>> store = BlobStore::OpenDirectory(directory_.path() + "/blobs", quota);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  TemporaryDirectory directory_;
  std::unique_ptr<BlobStore> store_;
};

INSTANTIATE_TEST_SUITE_P(Blobs, BlobStoreTest, ::testing::Values("Memory", "Directory"),
                         [](const auto& info) { return info.param; });

TEST_P(BlobStoreTest, BytesOfAnySizeComeBack) {
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{1}, kPieceBytes - 1, kPieceBytes, kPieceBytes + 1, 3 * kPieceBytes + 5}) {
    const std::string bytes = RandomBytes(size, size);
    const absl::StatusOr<std::string> blob = store_->Put(bytes);
    ASSERT_TRUE(blob.ok()) << blob.status();
    EXPECT_EQ(*blob, BlobDigest(DescribeBlob(bytes)));
    EXPECT_TRUE(store_->Has(*blob));
    EXPECT_EQ(*store_->Read(*blob), bytes);
    EXPECT_EQ(store_->ReadManifest(*blob)->size, size);
  }
}

TEST_P(BlobStoreTest, PutGoesOnWithTheMissingPieces) {
  const std::string bytes = RandomBytes(3 * kPieceBytes, 1);
  const Manifest manifest = DescribeBlob(bytes);
  const std::string blob = BlobDigest(manifest);
  EXPECT_THAT(*store_->StartPut(manifest), ElementsAre(0, 1, 2));
  ASSERT_TRUE(store_->PutPiece(blob, 1, bytes.substr(kPieceBytes, kPieceBytes)).ok());
  EXPECT_FALSE(store_->Has(blob));
  const absl::Status early = store_->FinishPut(blob);
  EXPECT_TRUE(absl::IsFailedPrecondition(early)) << early;
  EXPECT_THAT(std::string(early.message()), HasSubstr("still lacks 2 of its 3 pieces"));
  if (GetParam() == "Directory") Open(kQuota);  // A crash in between.
  EXPECT_THAT(*store_->StartPut(manifest), ElementsAre(0, 2));
  for (const uint64_t i : {0, 2}) {
    ASSERT_TRUE(store_->PutPiece(blob, i, bytes.substr(i * kPieceBytes, kPieceBytes)).ok());
  }
  ASSERT_TRUE(store_->FinishPut(blob).ok());
  EXPECT_TRUE(store_->FinishPut(blob).ok());
  EXPECT_EQ(*store_->Read(blob), bytes);
}

TEST_P(BlobStoreTest, WrongBytesAreRefused) {
  const std::string bytes = RandomBytes(kPieceBytes + 10, 2);
  const Manifest manifest = DescribeBlob(bytes);
  const std::string blob = BlobDigest(manifest);
  EXPECT_TRUE(absl::IsNotFound(store_->PutPiece(blob, 0, "early")));
  ASSERT_TRUE(store_->StartPut(manifest).ok());
  const absl::Status wrong = store_->PutPiece(blob, 1, "0123456789");
  EXPECT_TRUE(absl::IsInvalidArgument(wrong)) << wrong;
  EXPECT_THAT(std::string(wrong.message()), HasSubstr("is not what its manifest says"));
  EXPECT_TRUE(absl::IsInvalidArgument(store_->PutPiece(blob, 1, "")));
  EXPECT_TRUE(absl::IsInvalidArgument(store_->PutPiece(blob, 2, "")));
  EXPECT_EQ(store_->SizeBytes(), 0u);
}

TEST_P(BlobStoreTest, BlobsThatAreNotThereAreNotFound) {
  const std::string none(kSha256Bytes, 'x');
  EXPECT_FALSE(store_->Has(none));
  EXPECT_TRUE(absl::IsNotFound(store_->ReadPiece(none, 0).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->ReadManifest(none).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->FinishPut(none)));
  const std::string blob = *store_->Put("small");
  EXPECT_TRUE(absl::IsInvalidArgument(store_->ReadPiece(blob, 1).status()));
}

TEST_P(BlobStoreTest, SharedPiecesAreKeptOnce) {
  const std::string base = RandomBytes(2 * kPieceBytes, 3);
  const std::string first = *store_->Put(base);
  const uint64_t before = store_->SizeBytes();
  const std::string second = *store_->Put(base + "tail");
  EXPECT_LT(store_->SizeBytes(), before + 1000);
  EXPECT_GT(*store_->Collect({second}), 0u);
  EXPECT_FALSE(store_->Has(first));
  EXPECT_EQ(*store_->Read(second), base + "tail");
}

TEST_P(BlobStoreTest, CollectKeepsWhatIsReferencedOrBeingPut) {
  const std::string kept = *store_->Put(RandomBytes(kPieceBytes, 4));
  const std::string dropped = *store_->Put(RandomBytes(kPieceBytes + 1, 5));
  const std::string bytes = RandomBytes(2 * kPieceBytes, 6);
  const Manifest manifest = DescribeBlob(bytes);
  ASSERT_TRUE(store_->StartPut(manifest).ok());
  ASSERT_TRUE(store_->PutPiece(BlobDigest(manifest), 0, bytes.substr(0, kPieceBytes)).ok());
  EXPECT_EQ(*store_->Collect({kept}), kPieceBytes + 1 + 8 + 2 * kSha256Bytes);
  EXPECT_TRUE(store_->Has(kept));
  EXPECT_FALSE(store_->Has(dropped));
  EXPECT_THAT(*store_->StartPut(manifest), ElementsAre(1));
  store_->AbandonPut(BlobDigest(manifest));
  EXPECT_EQ(*store_->Collect({kept}), kPieceBytes);
  EXPECT_EQ(store_->SizeBytes(), kPieceBytes + 8 + kSha256Bytes);
}

TEST_P(BlobStoreTest, QuotaIsNamedWhenABlobDoesNotFit) {
  Open(3 * kPieceBytes);
  const Manifest first = DescribeBlob(RandomBytes(2 * kPieceBytes, 7));
  ASSERT_TRUE(store_->StartPut(first).ok());
  const std::string bytes = RandomBytes(kPieceBytes + 1, 8);
  const absl::Status full = store_->Put(bytes).status();
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_THAT(std::string(full.message()),
              HasSubstr("of the limit of 3145728; delete finished jobs or raise the limit"));
  store_->AbandonPut(BlobDigest(first));
  EXPECT_TRUE(store_->Put(bytes).ok());
}

TEST_P(BlobStoreTest, ManifestsThatCannotBeAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(store_->StartPut({5, {}}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(store_->StartPut({~uint64_t{0}, {std::string(32, 'x')}}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(store_->StartPut({5, {"short"}}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(DecodeManifest("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(DecodeManifest(std::string(40, '\0')).status()));
  const Manifest manifest = DescribeBlob("twelve bytes");
  EXPECT_EQ(DecodeManifest(EncodeManifest(manifest))->pieces, manifest.pieces);
}

TEST_P(BlobStoreTest, ThreadsPutAndReadTheSameBlob) {
  const std::string bytes = RandomBytes(3 * kPieceBytes, 9);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      const Manifest manifest = DescribeBlob(bytes);
      const std::string blob = BlobDigest(manifest);
      const absl::StatusOr<std::vector<uint64_t>> missing = store_->StartPut(manifest);
      for (const uint64_t i : *missing) {
        EXPECT_TRUE(store_->PutPiece(blob, i, bytes.substr(i * kPieceBytes, kPieceBytes)).ok());
      }
      EXPECT_TRUE(store_->FinishPut(blob).ok());
      EXPECT_EQ(*store_->Read(blob), bytes);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store_->SizeBytes(), 3 * kPieceBytes + 8 + 3 * kSha256Bytes);
}

class BlobDirectoryTest : public ::testing::Test {
 protected:
  std::unique_ptr<BlobStore> Open() {
    absl::StatusOr<std::unique_ptr<BlobStore>> store = BlobStore::OpenDirectory(directory_.path(), kQuota);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  std::string PathOf(const std::string& digest) const {
    const std::string hex = HexDigest(digest);
    return absl::StrCat(directory_.path(), "/", hex.substr(0, 2), "/", hex.substr(2));
  }
  TemporaryDirectory directory_;
};

TEST_F(BlobDirectoryTest, ReopeningFindsBlobsAndRemovesLeftovers) {
  const std::string bytes = RandomBytes(2 * kPieceBytes, 10);
  const std::string blob = *Open()->Put(bytes);
  const std::string leftover = PathOf(blob) + ".7.tmp";
  std::ofstream(leftover) << "half";
  const std::unique_ptr<BlobStore> store = Open();
  EXPECT_EQ(*store->Read(blob), bytes);
  EXPECT_FALSE(std::filesystem::exists(leftover));
  EXPECT_EQ(store->SizeBytes(), 2 * kPieceBytes + 8 + 2 * kSha256Bytes);
}

TEST_F(BlobDirectoryTest, ChangedPieceIsReportedAndHealsWhenPutAgain) {
  const std::string bytes = RandomBytes(2 * kPieceBytes, 11);
  const Manifest manifest = DescribeBlob(bytes);
  const std::unique_ptr<BlobStore> store = Open();
  const std::string blob = *store->Put(bytes);
  std::string changed = bytes.substr(kPieceBytes);
  changed[77] ^= 1;
  std::ofstream(PathOf(manifest.pieces[1]), std::ios::binary) << changed;
  EXPECT_TRUE(store->ReadPiece(blob, 0).ok());
  const absl::Status status = store->ReadPiece(blob, 1).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("is damaged"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("put the blob again"));
  EXPECT_FALSE(store->Has(blob));
  ASSERT_TRUE(store->Put(bytes).ok());
  EXPECT_EQ(*store->Read(blob), bytes);
}

TEST_F(BlobDirectoryTest, ShortOrRemovedFilesCountAsMissing) {
  const std::string bytes = RandomBytes(2 * kPieceBytes, 12);
  const Manifest manifest = DescribeBlob(bytes);
  const std::string blob = *Open()->Put(bytes);
  std::filesystem::resize_file(PathOf(manifest.pieces[0]), 100);
  EXPECT_FALSE(Open()->Has(blob));
  EXPECT_THAT(*Open()->StartPut(manifest), ElementsAre(0));
  std::ofstream(PathOf(blob) + ".manifest") << "damaged";
  EXPECT_FALSE(Open()->Has(blob));
  EXPECT_TRUE(Open()->Put(bytes).ok());
  const std::unique_ptr<BlobStore> store = Open();
  std::filesystem::remove(PathOf(manifest.pieces[0]));
  EXPECT_TRUE(absl::IsDataLoss(store->ReadPiece(blob, 0).status()));
  EXPECT_THAT(*store->StartPut(manifest), ElementsAre(0));
}

TEST_F(BlobDirectoryTest, PlaceThatCannotBeWrittenIsRefused) {
  std::ofstream(directory_.path() + "/file") << "x";
  const absl::Status status = BlobStore::OpenDirectory(directory_.path() + "/file", kQuota).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("is not a directory; choose another place"));
}

TEST(Sha256Test, PiecesGiveTheDigestOfTheWhole) {
  Sha256Stream stream;
  EXPECT_EQ(stream.Digest(), Sha256(""));
  stream.Add("a");
  EXPECT_EQ(stream.Digest(), Sha256("a"));
  stream.Add("");
  stream.Add("bc");
  EXPECT_EQ(stream.Digest(), Sha256("abc"));
}

TEST(Sha256Test, KnownAnswersAreGiven) {
  EXPECT_EQ(HexDigest(Sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(HexDigest(Sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  std::string digest;
  EXPECT_TRUE(ParseHexDigest(HexDigest(Sha256("abc")), digest));
  EXPECT_EQ(digest, Sha256("abc"));
  EXPECT_FALSE(ParseHexDigest("ABC", digest));
  EXPECT_FALSE(ParseHexDigest(std::string(64, 'G'), digest));
}

}  // namespace
}  // namespace potluck
