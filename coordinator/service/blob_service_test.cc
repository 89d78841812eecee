// Blobs over the wire: a real coordinator on the loopback, an admin who puts, workers who get.
#include <gmock/gmock.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/coordinator.h"
#include "coordinator/service/blob_service_testing.h"
#include "coordinator/store/blob_store.h"

namespace potluck {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string RandomBytes(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

class BlobServiceTest : public ::testing::Test {
 protected:
  BlobServiceTest() {
    std::string pattern = ::testing::TempDir() + "/potluck-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr) << pattern;
    directory_ = pattern;
  }
  ~BlobServiceTest() override {
    admin_.reset();
    coordinator_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  // In memory unless a state directory is given; stops the one before.
  void Start(const std::string& state_directory = "", uint64_t quota_bytes = 64 << 20) {
    coordinator_.reset();
    CoordinatorOptions options;
    options.state_directory = state_directory;
    options.blob_quota_bytes = quota_bytes;
    absl::StatusOr<std::unique_ptr<Coordinator>> started = Coordinator::Start(std::move(options));
    ASSERT_TRUE(started.ok()) << started.status();
    coordinator_ = *std::move(started);
    admin_ = std::make_unique<Admin>(coordinator_->admin_join_string());
  }
  Worker NewWorker(const std::string& name = "ada") const { return Worker(coordinator_->worker_join_string(), name); }

  std::string directory_;  // Removed at the end.
  const std::string bytes_ = RandomBytes(5 * kPieceBytes / 2, 1);
  const std::string digest_ = BlobDigest(DescribeBlob(bytes_));
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<Admin> admin_;
};

TEST_F(BlobServiceTest, AWorkerWithALeaseGetsWhatAnAdminPut) {
  Start();
  EXPECT_THAT(admin_->Missing(bytes_), ElementsAre(0, 1, 2));
  EXPECT_EQ(admin_->Put(bytes_), digest_);
  EXPECT_THAT(admin_->Missing(bytes_), IsEmpty());
  const std::string empty = admin_->Put("");
  admin_->MustSubmit({digest_, empty, digest_});
  Worker worker = NewWorker();
  EXPECT_THAT(worker.TakeLease(), ElementsAre(digest_, empty));
  std::string got;
  const grpc::Status status = worker.Get(digest_, got);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(got, bytes_);
  EXPECT_TRUE(worker.Get(empty, got).ok());
  EXPECT_EQ(got, "");
}

TEST_F(BlobServiceTest, AGetGoesOnAtTheFirstPieceAskedFor) {
  Start();
  admin_->MustSubmit({admin_->Put(bytes_)});
  Worker worker = NewWorker();
  worker.TakeLease();
  std::string got;
  EXPECT_TRUE(worker.Get(digest_, got, 2).ok());
  EXPECT_EQ(got, bytes_.substr(2 * kPieceBytes));
  EXPECT_TRUE(worker.Get(digest_, got, 3).ok());
  EXPECT_EQ(got, "");
  const grpc::Status beyond = worker.Get(digest_, got, 4);
  EXPECT_EQ(beyond.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(beyond.error_message(), "first_piece is 4; allowed are 0 to 3, the number of the blob's pieces");
}

TEST_F(BlobServiceTest, AnInterruptedPutGoesOnWithTheMissingPieces) {
  Start();
  const auto stream = admin_->StartPut(bytes_);
  stream->Piece(1, PieceOf(bytes_, 1));
  const grpc::Status early = stream->Finish();
  EXPECT_EQ(early.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(early.error_message(), HasSubstr("still lacks 2 of its 3 pieces"));
  EXPECT_THAT(admin_->Missing(bytes_), ElementsAre(0, 2));
  EXPECT_EQ(admin_->Put(bytes_, {0, 2}), digest_);
  admin_->MustSubmit({digest_});
  Worker worker = NewWorker();
  worker.TakeLease();
  std::string got;
  EXPECT_TRUE(worker.Get(digest_, got).ok());
  EXPECT_EQ(got, bytes_);
}

// The coordinator may still read the first put when the second one starts.
TEST_F(BlobServiceTest, APutWhoseClientVanishedIsInNobodysWay) {
  Start();
  for (int i = 0; i < 20; ++i) {
    const auto stream = admin_->StartPut(bytes_);
    stream->Piece(0, PieceOf(bytes_, 0));
    stream->context->TryCancel();
    EXPECT_EQ(stream->writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
    if (i % 2 == 0) continue;
    EXPECT_EQ(admin_->Put(bytes_), digest_);
  }
  admin_->MustSubmit({digest_});
}

TEST_F(BlobServiceTest, APieceThatIsNotWhatTheManifestSaysIsRefused) {
  Start();
  const auto stream = admin_->StartPut(bytes_);
  stream->Piece(0, PieceOf(bytes_, 0));
  stream->Piece(1, PieceOf(bytes_, 0));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("piece 1 of blob"));
  EXPECT_THAT(status.error_message(), HasSubstr("is not what its manifest says"));
  EXPECT_THAT(admin_->Missing(bytes_), ElementsAre(1, 2));
}

TEST_F(BlobServiceTest, AManifestThatCannotBeIsRefused) {
  Start();
  v1::FindMissingRequest request;
  request.set_size(1);
  request.set_manifest("short");
  v1::FindMissingReply reply;
  grpc::Status status = admin_->jobs().FindMissing(admin_->Context().get(), request, &reply);
  EXPECT_EQ(status.error_message(), "manifest has 5 bytes; allowed are 32 for each piece");
  request.set_manifest(std::string(64, 'x'));
  status = admin_->jobs().FindMissing(admin_->Context().get(), request, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("lists 2 pieces"));
}

TEST_F(BlobServiceTest, OnlyAnAdminPuts) {
  Start();
  const Admin worker(coordinator_->worker_join_string());
  std::vector<uint64_t> missing;
  EXPECT_EQ(worker.FindMissing(bytes_, missing).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(worker.StartPut(bytes_)->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(BlobServiceTest, ABlobOverTheQuotaIsRefusedAndLeftoversMakeRoom) {
  Start("", 3 * kPieceBytes);
  const std::string large = RandomBytes(4 * kPieceBytes, 2);
  std::vector<uint64_t> missing;
  const grpc::Status asked = admin_->FindMissing(large, missing);
  EXPECT_EQ(asked.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(asked.error_message(), HasSubstr("does not fit"));
  EXPECT_EQ(admin_->StartPut(large)->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  const std::string abandoned = RandomBytes(2 * kPieceBytes, 3);
  const auto stream = admin_->StartPut(abandoned);
  stream->Piece(0, PieceOf(abandoned, 0));
  EXPECT_FALSE(stream->Finish().ok());
  EXPECT_EQ(admin_->Put(bytes_), digest_);
  EXPECT_EQ(admin_->FindMissing(abandoned, missing).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(BlobServiceTest, AWorkerReadsOnlyWhatItsLeasesName) {
  Start();
  const uint64_t job = admin_->MustSubmit({admin_->Put(bytes_)});
  const auto expect_refused = [this](const Worker& worker, const std::string& why, uint64_t session = 0) {
    std::string got;
    const grpc::Status status = worker.Get(digest_, got, 0, session);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(status.error_message(), why);
    EXPECT_EQ(got, "");
  };
  const std::string no_lease = "the session holds no lease of a job that names this blob";
  const std::string no_session = "the session is not live or belongs to another token: join again";
  Worker holder = NewWorker("holder");
  expect_refused(holder, no_lease);
  holder.TakeLease();
  expect_refused(holder, no_session, holder.session() + 1);
  const Worker other_token(admin_->NewWorkerJoinString(), "stranger");
  expect_refused(other_token, no_session, holder.session());
  admin_->MustSubmit({}, /*priority=*/1);
  Worker other_job = NewWorker("other");
  other_job.TakeLease();
  expect_refused(other_job, no_lease);
  std::string got;
  EXPECT_TRUE(holder.Get(digest_, got).ok());
  EXPECT_EQ(got, bytes_);
  admin_->Cancel(job);
  expect_refused(holder, no_lease);
}

TEST_F(BlobServiceTest, ANamedBlobSurvivesARestartAndAnotherDoesNot) {
  Start(directory_);
  const uint64_t job = admin_->MustSubmit({admin_->Put(bytes_)});
  const std::string unnamed = RandomBytes(kPieceBytes, 4);
  admin_->Put(unnamed);
  EXPECT_THAT(admin_->Missing(unnamed), IsEmpty());
  Start(directory_);
  EXPECT_THAT(admin_->Missing(unnamed), ElementsAre(0));
  Worker worker = NewWorker();
  EXPECT_THAT(worker.TakeLease(), ElementsAre(digest_));
  std::string got;
  EXPECT_TRUE(worker.Get(digest_, got).ok());
  EXPECT_EQ(got, bytes_);
  admin_->CancelAndDelete(job);
  EXPECT_THAT(admin_->Missing(bytes_), ElementsAre(0, 1, 2));
}

TEST_F(BlobServiceTest, ABlobGoesWithTheLastJobThatNamesIt) {
  Start();
  admin_->Put(bytes_);
  const std::string fresh = RandomBytes(10, 5);
  admin_->Put(fresh);
  const uint64_t first = admin_->MustSubmit({digest_});
  const uint64_t second = admin_->MustSubmit({digest_});
  admin_->CancelAndDelete(first);
  EXPECT_THAT(admin_->Missing(bytes_), IsEmpty());
  admin_->CancelAndDelete(second);
  EXPECT_THAT(admin_->Missing(bytes_), ElementsAre(0, 1, 2));
  EXPECT_THAT(admin_->Missing(fresh), IsEmpty());  // Its job may be on the way.
}

TEST_F(BlobServiceTest, AJobThatNamesABlobThatIsNotHereIsRefused) {
  Start();
  uint64_t job = 0;
  grpc::Status status = admin_->Submit({digest_}, job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("no complete blob here; put it first"));
  const auto stream = admin_->StartPut(bytes_);
  stream->Piece(0, PieceOf(bytes_, 0));
  EXPECT_FALSE(stream->Finish().ok());
  EXPECT_EQ(admin_->Submit({digest_}, job).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  status = admin_->Submit({"short"}, job);
  EXPECT_EQ(status.error_message(), "blobs has a digest of 5 bytes; allowed are 32");
}

TEST_F(BlobServiceTest, ACoordinatorStopsWhileBlobsAreOnTheirWay) {
  Start();
  admin_->MustSubmit({admin_->Put(bytes_)});
  Worker worker = NewWorker();
  worker.TakeLease();
  const std::string other = RandomBytes(2 * kPieceBytes, 6);
  const auto put = admin_->StartPut(other);
  put->Piece(0, PieceOf(other, 0));
  const auto get = worker.StartGet(digest_);
  v1::BlobPiece message;
  ASSERT_TRUE(get->reader->Read(&message));
  coordinator_.reset();  // Returns although nobody reads on and the put has no end.
  while (get->reader->Read(&message)) {
  }
  get->reader->Finish();  // What was on the wire may have been all of it.
  EXPECT_FALSE(put->Finish().ok());
}

}  // namespace
}  // namespace potluck
