// Jobs.Sessions: who was at the table, for those who may look.
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/bad_input/program.h"
#include "tests/conformance/table.h"

namespace potluck {
namespace {

using grpc::StatusCode;
using Jobs = v1::Jobs::StubInterface;

class SessionsTest : public testing::Test {
 protected:
  static std::unique_ptr<Coordinator> Start(const std::string& state) {
    CoordinatorOptions options;
    options.state_directory = state;
    options.core.longest_hold = absl::Seconds(1);
    return Coordinator::Start(std::move(options)).value();
  }

  SessionsTest() : coordinator_(Start("")), admin_(coordinator_->admin_join_string()) {}

  static grpc::Status Ask(const Caller& caller, const v1::SessionsRequest& request, v1::SessionsReply* reply) {
    return caller.Call(&Jobs::Sessions, request, reply);
  }
  static v1::SessionsReply Read(const Caller& caller, const v1::SessionsRequest& request = {}) {
    v1::SessionsReply reply;
    const grpc::Status status = Ask(caller, request, &reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return reply;
  }
  static void Join(const std::string& join_string, const v1::JoinRequest& request) {
    v1::JoinReply reply;
    ASSERT_TRUE(Caller(join_string).Join(request, &reply).ok());
    ASSERT_TRUE(reply.has_joined()) << reply.refused().message();
  }

  std::unique_ptr<Coordinator> coordinator_;
  const Caller admin_;
};

TEST_F(SessionsTest, AJoinIsToldWithAllThatTheWorkerSaid) {
  v1::JoinRequest request = SoundJoin("lab");
  request.set_place("colab");
  request.set_session_age_seconds(3600);
  request.set_lacks_gpu(true);
  const int64_t before = absl::ToUnixMillis(absl::Now());
  Join(coordinator_->worker_join_string(), request);
  const v1::SessionsReply reply = Read(admin_);
  ASSERT_EQ(reply.sessions_size(), 1);
  const v1::SessionStatus& session = reply.sessions(0);
  EXPECT_EQ(session.number(), 1u);
  EXPECT_EQ(session.name(), "lab");
  EXPECT_EQ(session.place(), "colab");
  EXPECT_EQ(session.token_name(), "worker.join");
  EXPECT_EQ(session.gpu(), v1::SessionStatus::REFUSED);
  EXPECT_EQ(session.opened_unix_ms() - session.began_unix_ms(), 3600 * 1000);
  EXPECT_GE(session.opened_unix_ms(), before);
  EXPECT_EQ(session.closed_unix_ms(), 0);
  EXPECT_EQ(session.end(), v1::SessionStatus::END_UNSPECIFIED);
  ASSERT_EQ(reply.ran_size(), 1);
  EXPECT_LE(reply.ran(0).from_unix_ms(), before);
  EXPECT_GE(reply.now_unix_ms(), session.opened_unix_ms());
  EXPECT_EQ(reply.next(), 0u);
}

TEST_F(SessionsTest, AnOlderWorkerSaysNeitherPlaceNorAge) {
  Join(coordinator_->worker_join_string(), SoundJoin("lab"));
  const v1::SessionsReply reply = Read(admin_);
  ASSERT_EQ(reply.sessions_size(), 1);
  EXPECT_EQ(reply.sessions(0).place(), "");
  EXPECT_EQ(reply.sessions(0).began_unix_ms(), 0);
  EXPECT_EQ(reply.sessions(0).gpu(), v1::SessionStatus::NOT_SOUGHT);
}

TEST_F(SessionsTest, APlaceThatIsNoneIsRefused) {
  for (const std::string& place : {std::string(33, 'a'), std::string("co lab"), std::string("<b>")}) {
    v1::JoinRequest request = SoundJoin("lab");
    request.set_place(place);
    v1::JoinReply reply;
    ASSERT_TRUE(Caller(coordinator_->worker_join_string()).Join(request, &reply).ok());
    EXPECT_EQ(reply.refused().reason(), v1::Refusal::INVALID) << place;
  }
  EXPECT_EQ(Read(admin_).sessions_size(), 0);
}

TEST_F(SessionsTest, TheSameInstallationReplacesItself) {
  for (int i = 0; i < 2; ++i) Join(coordinator_->worker_join_string(), SoundJoin("lab"));
  const v1::SessionsReply reply = Read(admin_);
  ASSERT_EQ(reply.sessions_size(), 2);
  EXPECT_EQ(reply.sessions(0).end(), v1::SessionStatus::REPLACED);
  EXPECT_GE(reply.sessions(0).closed_unix_ms(), reply.sessions(0).opened_unix_ms());
  EXPECT_EQ(reply.sessions(1).closed_unix_ms(), 0);
  EXPECT_EQ(reply.sessions(0).worker(), reply.sessions(1).worker());
}

TEST_F(SessionsTest, ManyComeInPagesAndOldOnesAreLeftOut) {
  const std::string worker_join = coordinator_->worker_join_string();
  constexpr int kJoins = 1003;
  const Caller worker(worker_join);
  for (int i = 0; i < kJoins; ++i) {
    v1::JoinReply reply;
    ASSERT_TRUE(worker.Join(SoundJoin("lab"), &reply).ok());
  }
  v1::SessionsRequest request;
  v1::SessionsReply first = Read(admin_, request);
  EXPECT_EQ(first.sessions_size(), 1000);
  EXPECT_EQ(first.next(), 1000u);
  EXPECT_LT(first.ByteSizeLong(), size_t{1} << 20);
  request.set_after(first.next());
  const v1::SessionsReply second = Read(admin_, request);
  EXPECT_EQ(second.sessions_size(), kJoins - 1000);
  EXPECT_EQ(second.ran_size(), 0);
  EXPECT_EQ(second.next(), 0u);
  request.set_after(0);
  request.set_since_unix_ms(absl::ToUnixMillis(absl::Now()) + 3'600'000);
  EXPECT_EQ(Read(admin_, request).sessions_size(), 1);  // The one that is open.
}

TEST_F(SessionsTest, WhoMayLook) {
  v1::SessionsReply reply;
  EXPECT_EQ(Ask(Caller(coordinator_->worker_join_string()), {}, &reply).error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Ask(Caller(coordinator_->admin_join_string(), "nonsense"), {}, &reply).error_code(),
            StatusCode::UNAUTHENTICATED);
  Read(Caller(admin_.NewJoinString(v1::TOKEN_ROLE_VIEWER, "guest")));
}

TEST_F(SessionsTest, ATimeBeforeAllTimesIsRefused) {
  v1::SessionsRequest request;
  request.set_since_unix_ms(-1);
  v1::SessionsReply reply;
  const grpc::Status status = Ask(admin_, request, &reply);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "since_unix_ms is -1; allowed is 0 for all, or milliseconds since 1970");
  request.set_since_unix_ms(std::numeric_limits<int64_t>::max());
  request.set_after(~uint64_t{0});
  EXPECT_EQ(Read(admin_, request).sessions_size(), 0);
}

TEST_F(SessionsTest, AStoppedCoordinatorClosesWhatItKnewAndTheNextOneGoesOnCounting) {
  const TemporaryDirectory directory;
  for (int life = 0; life < 2; ++life) {
    const std::unique_ptr<Coordinator> coordinator = Start(directory / "state");
    Join(coordinator->worker_join_string(), SoundJoin("lab"));
  }
  const std::unique_ptr<Coordinator> coordinator = Start(directory / "state");
  const v1::SessionsReply reply = Read(Caller(coordinator->admin_join_string()));
  ASSERT_EQ(reply.sessions_size(), 2);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(reply.sessions(i).number(), static_cast<uint64_t>(i) + 1);
    EXPECT_EQ(reply.sessions(i).end(), v1::SessionStatus::STOPPED);
    EXPECT_GE(reply.ran(i).to_unix_ms(), reply.sessions(i).closed_unix_ms());
  }
  EXPECT_EQ(reply.ran_size(), 3);
}

}  // namespace
}  // namespace potluck
