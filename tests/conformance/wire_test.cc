// Who is let in, which versions understand each other, and that messages may grow.
#include <gtest/gtest.h>

#include <grpcpp/server.h>

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/exit_code.h"
#include "coordinator/front_door.h"
#include "coordinator/identity.h"
#include "coordinator/web.h"
#include "proto/join_string.h"
#include "proto/transport_settings.h"
#include "proto/versions.h"
#include "tests/bad_input/program.h"
#include "tests/conformance/table.h"

namespace potluck {
namespace {

using grpc::StatusCode;
using Jobs = v1::Jobs::StubInterface;

class WireTest : public testing::Test {
 protected:
  WireTest() {
    CoordinatorOptions options;
    options.core.longest_hold = absl::Seconds(1);
    coordinator_ = Coordinator::Start(std::move(options)).value();
    worker_join_ = coordinator_->worker_join_string();
    admin_join_ = coordinator_->admin_join_string();
  }
  ~WireTest() override { ExpectStillWorks(worker_join_, admin_join_); }

  static StatusCode TryJoin(const Caller& caller) {
    v1::JoinReply reply;
    return caller.Join(SoundJoin("somebody"), &reply).error_code();
  }
  static StatusCode TryList(const Caller& caller) {
    v1::ListReply reply;
    return caller.Call(&Jobs::List, v1::ListRequest(), &reply).error_code();
  }
  static StatusCode TryCancel(const Caller& caller) {
    v1::Empty reply;
    v1::JobRef job;
    job.set_job(4711);
    return caller.Call(&Jobs::Cancel, job, &reply).error_code();
  }
  // The refusal that such a Join gets.
  v1::Refusal RefusalOf(const v1::JoinRequest& request) {
    v1::JoinReply reply;
    const grpc::Status status = Caller(worker_join_).Join(request, &reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_TRUE(reply.has_refused());
    return reply.refused();
  }

  std::unique_ptr<Coordinator> coordinator_;
  std::string worker_join_, admin_join_;
};

TEST_F(WireTest, WithoutTokenNobodyIsLetIn) {
  for (const std::string& token : {std::string(), std::string("x"), std::string(32, 'x'), std::string(100'000, 'x')}) {
    const Caller stranger(admin_join_, token);
    v1::ExchangeReply reply;
    for (const StatusCode refusal : {TryJoin(stranger), TryList(stranger), TryCancel(stranger),
                                     stranger.Exchange(v1::ExchangeRequest(), &reply).error_code()}) {
      if (token.size() < 1000) {
        EXPECT_EQ(refusal, StatusCode::UNAUTHENTICATED);
      } else {
        // What is too long for a header is refused before anybody looks at it; the connection may go with it.
        EXPECT_TRUE(refusal == StatusCode::RESOURCE_EXHAUSTED || refusal == StatusCode::UNAVAILABLE) << refusal;
      }
    }
  }
}

TEST_F(WireTest, EveryRoleMayOnlyWhatIsItsOwn) {
  const Caller admin(admin_join_), worker(worker_join_);
  const Caller viewer(admin.NewJoinString(v1::TOKEN_ROLE_VIEWER, "viewer"));
  EXPECT_EQ(TryJoin(admin), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(TryJoin(viewer), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(TryList(worker), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(TryList(viewer), StatusCode::OK);
  EXPECT_EQ(TryCancel(worker), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(TryCancel(viewer), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(TryCancel(admin), StatusCode::NOT_FOUND);
  v1::SubmitReply submitted;
  v1::Empty empty;
  v1::CreateTokenReply token;
  v1::ListTokensReply tokens;
  for (const Caller* caller : {&worker, &viewer}) {
    EXPECT_EQ(caller->Call(&Jobs::Submit, v1::SubmitRequest(), &submitted).error_code(), StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(caller->Call(&Jobs::Change, v1::ChangeRequest(), &empty).error_code(), StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(caller->Call(&Jobs::Delete, v1::JobRef(), &empty).error_code(), StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(caller->Call(&Jobs::DrainWorker, v1::DrainWorkerRequest(), &empty).error_code(),
              StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(caller->Call(&Jobs::CreateToken, v1::CreateTokenRequest(), &token).error_code(),
              StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(caller->Call(&Jobs::ListTokens, v1::Empty(), &tokens).error_code(), StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(caller->Call(&Jobs::RevokeToken, v1::RevokeTokenRequest(), &empty).error_code(),
              StatusCode::PERMISSION_DENIED);
  }
}

TEST_F(WireTest, ExpiryBarsJoinButASessionLivesOn) {
  const std::string join = Caller(admin_join_).NewJoinString(v1::TOKEN_ROLE_WORKER, "short", 1);
  HandWorker worker(join, "in-time");
  while (TryJoin(Caller(join)) == StatusCode::OK) {
  }
  EXPECT_EQ(TryJoin(Caller(join)), StatusCode::PERMISSION_DENIED);
  v1::ExchangeReply reply;
  EXPECT_TRUE(worker.Exchange(worker.NextRequest(), &reply).ok());
}

TEST_F(WireTest, RevokingATokenEndsItsSessions) {
  const Caller admin(admin_join_);
  const std::string join = admin.NewJoinString(v1::TOKEN_ROLE_WORKER, "doomed");
  HandWorker worker(join, "doomed");
  v1::RevokeTokenRequest revoke;
  revoke.set_name_or_id("doomed");
  v1::Empty empty;
  ASSERT_TRUE(admin.Call(&Jobs::RevokeToken, revoke, &empty).ok());
  v1::ExchangeReply reply;
  const StatusCode code = worker.Exchange(worker.NextRequest(), &reply).error_code();
  EXPECT_TRUE(code == StatusCode::PERMISSION_DENIED || code == StatusCode::UNAUTHENTICATED) << code;
  EXPECT_EQ(TryJoin(Caller(join)), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(admin.Workers().workers_size(), 0);
}

TEST_F(WireTest, AnotherProtocolVersionIsToldBothRanges) {
  for (const auto& [least, most] :
       std::vector<std::pair<uint32_t, uint32_t>>{{kProtocolMax + 1, kProtocolMax + 3}, {0, 0}, {~0u, ~0u}, {5, 4}}) {
    v1::JoinRequest request = SoundJoin("other");
    request.set_protocol_min(least);
    request.set_protocol_max(most);
    const v1::Refusal refusal = RefusalOf(request);
    EXPECT_EQ(refusal.reason(), v1::Refusal::OTHER_VERSION);
    EXPECT_NE(refusal.message().find(absl::StrCat(least, " to ", most)), std::string::npos) << refusal.message();
    EXPECT_NE(refusal.message().find(absl::StrCat(kProtocolMin, " to ", kProtocolMax)), std::string::npos)
        << refusal.message();
  }
  // A newer worker that still speaks this version is welcome.
  v1::JoinRequest request = SoundJoin("newer");
  request.set_protocol_max(kProtocolMax + 7);
  v1::JoinReply reply;
  ASSERT_TRUE(Caller(worker_join_).Join(request, &reply).ok());
  EXPECT_EQ(reply.joined().protocol(), kProtocolMax);
}

TEST_F(WireTest, AWorkerThatCannotBeIsRefusedByName) {
  std::vector<v1::JoinRequest> requests(7, SoundJoin("odd"));
  requests[0].clear_name();
  requests[1].set_name(std::string(65, 'x'));
  requests[2].set_name("bell\a");
  requests[3].clear_installation();
  requests[4].set_installation(std::string(129, 'x'));
  requests[5].clear_devices();
  for (int i = 0; i < 100; ++i) *requests[6].add_devices() = requests[0].devices(0);
  const std::vector<std::string> fields = {"name",         "name",      "name",       "installation",
                                           "installation", "0 devices", "101 devices"};
  for (size_t i = 0; i < requests.size(); ++i) {
    const v1::Refusal refusal = RefusalOf(requests[i]);
    EXPECT_EQ(refusal.reason(), v1::Refusal::INVALID);
    EXPECT_NE(refusal.message().find(fields[i]), std::string::npos) << refusal.message();
  }
}

TEST_F(WireTest, AJobThatCannotBeIsRefused) {
  const Caller admin(admin_join_);
  v1::SubmitRequest sound;
  sound.set_request_id("a-request-id");
  sound.set_workload("nqueens");
  sound.set_spec(std::string("\x08\x08\x10\x01", 4));  // n = 8, algorithm 1.
  std::vector<v1::SubmitRequest> requests(10, sound);
  requests[0].set_request_id("short");
  requests[1].set_workload("chess");
  requests[2].set_spec("garbage");
  requests[3].set_spec(std::string("\x08\x21\x10\x01", 4));  // n = 33
  requests[4].set_spec("");
  requests[5].set_weight(-1);
  requests[6].set_name("two\nlines");
  requests[7].set_verify(-0.1);
  requests[8].set_verify(1.1);
  requests[9].set_verify(std::numeric_limits<double>::quiet_NaN());
  for (const v1::SubmitRequest& request : requests) {
    v1::SubmitReply reply;
    const grpc::Status status = admin.Call(&Jobs::Submit, request, &reply);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_NE(status.error_message(), "");
  }
  v1::ListReply jobs;
  ASSERT_TRUE(admin.Call(&Jobs::List, v1::ListRequest(), &jobs).ok());
  EXPECT_EQ(jobs.jobs_size(), 0);
  // The same request twice is one job.
  v1::SubmitReply first, second;
  ASSERT_TRUE(admin.Call(&Jobs::Submit, sound, &first).ok());
  ASSERT_TRUE(admin.Call(&Jobs::Submit, sound, &second).ok());
  EXPECT_EQ(first.job(), second.job());
}

template <typename Message>
Message WithUnknownFields(Message message) {
  google::protobuf::UnknownFieldSet* fields = message.GetReflection()->MutableUnknownFields(&message);
  fields->AddLengthDelimited(900, "from the future");
  fields->AddVarint(901, ~uint64_t{0});
  fields->AddFixed64(902, 1);
  return message;
}

TEST_F(WireTest, FieldsThatAreNotKnownYetArePassedOver) {
  const Caller admin(admin_join_), caller(worker_join_);
  v1::JoinRequest join = WithUnknownFields(SoundJoin("future"));
  *join.mutable_devices(0) = WithUnknownFields(join.devices(0));
  v1::JoinReply joined;
  ASSERT_TRUE(caller.Join(join, &joined).ok());
  ASSERT_TRUE(joined.has_joined()) << joined.refused().message();
  const uint64_t job = admin.SubmitQueens(10);
  HandWorker helper(worker_join_, "helper");
  helper.LearnRound(job);
  v1::ExchangeRequest request;
  request.set_session(joined.joined().session());
  request.set_seq(1);
  request.set_no_wait(true);
  *request.add_slices() = WithUnknownFields(helper.ComputeSlice(job, {0, 2}));
  v1::ExchangeReply reply;
  ASSERT_TRUE(caller.Exchange(WithUnknownFields(request), &reply).ok());
  ASSERT_EQ(reply.answers_size(), 1);
  EXPECT_EQ(reply.answers(0).verdict(), v1::SliceAnswer::COMMITTED) << reply.answers(0).message();
  ExpectRightCounts(helper.WorkUntilEnded(admin, job), 10);
}

// A coordinator of the future: it refuses every worker of today.
class OtherVersionService final : public v1::Workers::CallbackService {
  grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context, const v1::JoinRequest* request,
                                 v1::JoinReply* reply) override {
    reply->mutable_refused()->set_reason(v1::Refusal::OTHER_VERSION);
    reply->mutable_refused()->set_message(absl::StrCat("this worker speaks protocol versions ", request->protocol_min(),
                                                       " to ", request->protocol_max(),
                                                       ", the coordinator (9.0.0) 41 to 42"));
    *reply = WithUnknownFields(*reply);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

TEST(OtherVersionTest, AWorkerLeavesWithItsFixedExitCodeAndNamesBothRanges) {
  const Identity identity = Identity::Create(absl::Now()).value();
  const std::unique_ptr<WebServer> web = WebServer::Create(identity, {}).value();
  FrontDoorOptions options;
  options.address = "127.0.0.1:0";
  options.web = web.get();
  const std::unique_ptr<FrontDoor> door = FrontDoor::Create(std::move(options)).value();
  OtherVersionService service;
  grpc::ServerBuilder builder;
  SetServerArguments(builder);
  builder.RegisterService(&service);
  door->AddAcceptor(builder, MakeServerCredentials(identity));
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  door->Start();
  JoinString join;
  join.addresses = door->addresses();
  join.pin = identity.pin;
  join.token = std::string(32, 't');
  const Ended ended =
      RunPotluck({"join", FormatJoinString(join).value(), "--device", "cpu", "--threads", "1", "--name", "old"});
  ExpectOneSentence(ended, kExitOtherVersion, {absl::StrCat(kProtocolMin, " to ", kProtocolMax), "41 to 42"});
  EXPECT_EQ(ended.err.find(join.token), std::string::npos);
  door->Stop();
  server->Shutdown();
}

}  // namespace
}  // namespace potluck
