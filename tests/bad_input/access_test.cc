// Join strings that cannot be read, and people who must not come in.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "cli/exit_code.h"
#include "coordinator/coordinator.h"
#include "proto/join_string.h"
#include "tests/bad_input/program.h"

namespace potluck {
namespace {

using Words = std::vector<std::string>;

std::string Format(const JoinString& join) { return FormatJoinString(join).value(); }

// A port of the loopback that answers nobody: it takes connections and stays silent, or refuses them.
class DeadPort {
 public:
  explicit DeadPort(bool takes_connections) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_TRUE(!takes_connections || listen(socket_, 16) == 0);
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  ~DeadPort() { close(socket_); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  int socket_;
  int port_ = 0;
};

class AccessTest : public testing::Test {
 protected:
  AccessTest() {
    CoordinatorOptions options;
    options.core.longest_hold = absl::Seconds(2);
    coordinator_ = Coordinator::Start(std::move(options)).value();
    worker_ = coordinator_->worker_join_string();
    admin_ = coordinator_->admin_join_string();
    secrets_ = {Token(worker_), Token(admin_)};
  }

  static std::string Token(const std::string& join) { return ParseJoinString(join).value().token; }

  // Runs it, and looks for secrets in what it says.
  Ended Run(const Words& arguments, const ProgramOptions& options = {}) {
    Ended ended = RunPotluck(arguments, options);
    for (const std::string& secret : secrets_) {
      EXPECT_EQ((ended.out + ended.err).find(secret), std::string::npos) << absl::StrJoin(arguments, " ");
    }
    return ended;
  }
  Ended RunFor(const std::string& join, Words arguments) {
    arguments.insert(arguments.end(), {"--coordinator", join});
    return Run(arguments);
  }

  std::string NewJoinString(const std::string& role, const std::string& name, const std::string& lifetime = "1h") {
    const Ended made = RunPotluck(
        {"token", "create", "--role", role, "--name", name, "--lifetime", lifetime, "--coordinator", admin_, "--json"});
    ExpectOneJsonObject(made);
    const std::string join = nlohmann::json::parse(made.out)["join_string"];
    secrets_.push_back(Token(join));
    return join;
  }

  // As join strings go wrong when they are copied; each keeps the secret, or most of it.
  std::vector<std::string> Malformed() const {
    const size_t hash = worker_.find('#');
    const std::string fragment = worker_.substr(hash + 1);
    std::string other_check = worker_;
    other_check.back() = other_check.back() == 'A' ? 'B' : 'A';
    return {
        worker_.substr(0, worker_.size() - 1),
        worker_.substr(0, worker_.size() - 6),
        worker_.substr(0, worker_.size() - 20),
        worker_.substr(0, hash),
        worker_.substr(0, hash + 1),
        worker_.substr(1),
        "https" + worker_.substr(worker_.find(':')),
        other_check,
        "potluck://#" + fragment,
        "potluck://127.0.0.1#" + fragment,
        "potluck://127.0.0.1:0#" + fragment,
        "potluck://127.0.0.1:65536#" + fragment,
        "potluck://127.0.0.1:http#" + fragment,
        "potluck://::1:4242#" + fragment,
        "potluck://256.1.1.1:4242#" + fragment,
        "potluck://a b:4242#" + fragment,
        "potluck://127.0.0.1:4242,#" + fragment,
        worker_ + " " + worker_,
        worker_ + std::string(9000, 'A'),
        "potluck://127.0.0.1:4242#7." + fragment.substr(2),
        "#" + fragment,
    };
  }

  std::unique_ptr<Coordinator> coordinator_;
  std::string worker_, admin_;
  Words secrets_;
};

TEST_F(AccessTest, AMalformedJoinStringEndsTheCommandAtOnceAndIsNotShown) {
  for (const std::string& join : Malformed()) {
    SCOPED_TRACE(join);
    const Ended ended = Run({"join", join});
    ExpectOneSentence(ended, kExitUsage, {"join string"});
    EXPECT_LT(ended.took, absl::Seconds(5));
    ExpectOneSentence(RunFor(join, {"jobs", "list"}), kExitUsage, {"join string"});
  }
  // Says which part, and what to do.
  ExpectOneSentence(Run({"join", worker_.substr(0, worker_.size() - 3)}), kExitUsage, {"copy the whole string again"});
  ExpectOneSentence(Run({"join", "potluck://127.0.0.1:70000" + worker_.substr(worker_.find('#'))}), kExitUsage,
                    {"70000", "1 to 65535"});
}

TEST_F(AccessTest, AMalformedJoinStringFromAFileOrStandardInputOrTheEnvironmentIsToldToo) {
  const TemporaryDirectory directory;
  const std::string broken = worker_.substr(0, worker_.size() - 4);
  WriteWholeFile(directory / "broken.join", broken + "\n");
  WriteWholeFile(directory / "empty.join", "\n");
  ExpectOneSentence(Run({"join", directory / "broken.join"}), kExitUsage, {"join string", "broken.join"});
  ExpectOneSentence(Run({"join", directory / "empty.join"}), kExitUsage, {"empty.join", "empty"});
  ExpectOneSentence(Run({"join", directory / "none.join"}), kExitUsage, {"none.join", "cannot read"});
  ExpectOneSentence(Run({"join", "-"}, {.input = broken}), kExitUsage, {"join string", "standard input"});
  ExpectOneSentence(Run({"join", "-"}), kExitUsage, {"standard input", "empty"});
  ExpectOneSentence(Run({"join"}, {.environment = {{"POTLUCK_JOIN", broken}}}), kExitUsage, {"join string"});
  ExpectOneSentence(Run({"jobs", "list"}, {.environment = {{"POTLUCK_COORDINATOR", broken}}}), kExitUsage,
                    {"join string"});
  // And what is right works by each of these ways.
  WriteWholeFile(directory / "admin.join", admin_ + "\n");
  for (const Ended& listed : {RunFor(directory / "admin.join", {"jobs", "list", "--json"}),
                              Run({"jobs", "list", "--coordinator", "-", "--json"}, {.input = admin_}),
                              Run({"jobs", "list", "--json"}, {.environment = {{"POTLUCK_COORDINATOR", admin_}}})}) {
    ExpectOneJsonObject(listed);
  }
}

TEST_F(AccessTest, AWrongTokenIsRefused) {
  JoinString join = ParseJoinString(admin_).value();
  join.token = std::string(32, 'x');
  secrets_.push_back(join.token);
  ExpectOneSentence(RunFor(Format(join), {"jobs", "list"}), kExitRefused, {"token"});
  ExpectOneSentence(RunFor(Format(join), {"report", "availability"}), kExitRefused, {"token"});
  ExpectOneSentence(RunFor(Format(join), {"nqueens", "8"}), kExitRefused, {"token"});
  ExpectOneSentence(Run({"join", Format(join), "--device", "cpu", "--threads", "1"}), kExitRefused, {"token"});
}

TEST_F(AccessTest, ARevokedTokenIsRefused) {
  const std::string viewer = NewJoinString("viewer", "eve");
  const std::string worker = NewJoinString("worker", "mallory");
  ExpectOneJsonObject(RunFor(viewer, {"jobs", "list", "--json"}));
  for (const char* name : {"eve", "mallory"}) {
    EXPECT_EQ(RunFor(admin_, {"token", "revoke", name}).code, kExitOk);
  }
  ExpectOneSentence(RunFor(viewer, {"jobs", "list"}), kExitRefused, {"eve", "revoked"});
  ExpectOneSentence(Run({"join", worker, "--device", "cpu", "--threads", "1"}), kExitRefused, {"mallory", "revoked"});
  ExpectOneSentence(RunFor(admin_, {"token", "revoke", "eve"}), kExitFailed, {"eve"});
  ExpectOneSentence(RunFor(admin_, {"token", "revoke", "nobody"}), kExitFailed, {"nobody"});
}

TEST_F(AccessTest, RevokingOnesOwnTokenIsWarnedOf) {
  const std::string other = NewJoinString("admin", "me");
  EXPECT_EQ(RunFor(admin_, {"token", "revoke", "worker.join"}).err, "");
  const Ended own = RunFor(other, {"token", "revoke", "me"});
  EXPECT_EQ(own.code, kExitOk);
  EXPECT_EQ(own.out, "me is revoked\n");
  EXPECT_NE(own.err.find("a restart of the coordinator makes a new admin.join\n"), std::string::npos) << own.err;
}

TEST_F(AccessTest, AJobWithoutWorkersSaysOnceHowToGetThem) {
  Program client({"nqueens", "16", "--coordinator", admin_});
  ASSERT_TRUE(client.WaitForError("waiting for workers")) << client.err();
  EXPECT_TRUE(client.WaitForError("no worker yet: run `potluck join ...`")) << client.err();
  absl::SleepFor(absl::Seconds(1));
  client.Signal(SIGINT);
  const Ended ended = client.Wait();
  EXPECT_EQ(ended.code, kExitInterrupted);
  EXPECT_EQ(ended.err.find("no worker yet"), ended.err.rfind("no worker yet")) << ended.err;
}

TEST_F(AccessTest, WorkersOfOneNameAreCounted) {
  const Words join = {"join", worker_, "--device", "cpu", "--threads", "1", "--name"};
  std::vector<std::unique_ptr<Program>> workers;
  for (const char* name : {"twin", "twin", "single"}) {
    Words arguments = join;
    arguments.insert(arguments.end(), {name, "--installation", absl::StrCat("number-", workers.size())});
    workers.push_back(std::make_unique<Program>(arguments));
  }
  const auto joined = [&] {
    return nlohmann::json::parse(RunFor(admin_, {"workers", "list", "--json"}).out)["workers"].size();
  };
  for (int i = 0; i < 100 && joined() < 3; ++i) absl::SleepFor(absl::Milliseconds(100));
  EXPECT_EQ(RunFor(admin_, {"workers", "drain", "twin"}).out, "2 workers named twin are draining\n");
  EXPECT_EQ(RunFor(admin_, {"workers", "drain", "single"}).out, "single is draining\n");
  for (const auto& worker : workers) EXPECT_EQ(worker->Wait().code, kExitOk) << worker->err();
}

TEST_F(AccessTest, AnExpiredTokenIsRefused) {
  const std::string viewer = NewJoinString("viewer", "guest", "1s");
  const std::string worker = NewJoinString("worker", "temp", "1s");
  Ended listed;
  for (int i = 0; i < 100 && (listed = RunFor(viewer, {"jobs", "list"})).code == kExitOk;) ++i;
  ExpectOneSentence(listed, kExitRefused, {"guest", "expired"});
  while (RunFor(admin_, {"token", "list"}).code == kExitOk) {
    const Ended joined = Run({"join", worker, "--device", "cpu", "--threads", "1", "--exit-when-idle", "1"});
    if (joined.code == kExitOk) continue;  // It came in in time.
    ExpectOneSentence(joined, kExitRefused, {"temp", "expired"});
    break;
  }
}

TEST_F(AccessTest, AnotherRoleIsRefused) {
  const std::string viewer = NewJoinString("viewer", "looker");
  ExpectOneSentence(RunFor(worker_, {"nqueens", "8"}), kExitRefused, {"role worker", "needs admin"});
  ExpectOneSentence(RunFor(worker_, {"jobs", "list"}), kExitRefused, {"role worker", "needs viewer"});
  ExpectOneSentence(RunFor(viewer, {"nqueens", "8"}), kExitRefused, {"looker", "role viewer", "needs admin"});
  for (const Words& command : std::vector<Words>{{"jobs", "cancel", "1"},
                                                 {"jobs", "pause", "1"},
                                                 {"jobs", "delete", "1"},
                                                 {"jobs", "set", "1", "--weight", "2"},
                                                 {"workers", "drain", "x"},
                                                 {"workers", "pardon", "x"},
                                                 {"token", "list"},
                                                 {"token", "revoke", "looker"},
                                                 {"token", "create", "--role", "admin", "--name", "me"}}) {
    SCOPED_TRACE(absl::StrJoin(command, " "));
    ExpectOneSentence(RunFor(viewer, command), kExitRefused, {"looker", "role viewer", "needs admin"});
  }
  ExpectOneJsonObject(RunFor(viewer, {"jobs", "list", "--json"}));
  ExpectOneSentence(Run({"join", admin_, "--device", "cpu", "--threads", "1"}), kExitRefused,
                    {"role admin", "needs worker"});
  ExpectOneSentence(Run({"join", viewer, "--device", "cpu", "--threads", "1"}), kExitRefused,
                    {"role viewer", "needs worker"});
}

TEST_F(AccessTest, AnotherKeyIsRefused) {
  JoinString join = ParseJoinString(admin_).value();
  join.pin = std::string(32, 'p');
  ExpectOneSentence(RunFor(Format(join), {"jobs", "list"}), kExitRefused, {"another key", join.addresses[0]});
  ExpectOneSentence(RunFor(Format(join), {"nqueens", "8"}), kExitRefused, {"another key"});
  join.token = Token(worker_);
  ExpectOneSentence(Run({"join", Format(join), "--device", "cpu", "--threads", "1"}), kExitRefused, {"another key"});
}

TEST_F(AccessTest, AnUnknownJobOrWorkerIsNamed) {
  for (const char* command : {"show", "watch", "certificate", "cancel", "pause", "resume", "delete"}) {
    SCOPED_TRACE(command);
    ExpectOneSentence(RunFor(admin_, {"jobs", command, "4711"}), kExitFailed, {"job", "4711"});
  }
  ExpectOneSentence(RunFor(admin_, {"jobs", "set", "4711", "--weight", "2"}), kExitFailed, {"job", "4711"});
  ExpectOneSentence(RunFor(admin_, {"workers", "drain", "nobody"}), kExitFailed, {"nobody"});
  ExpectOneSentence(RunFor(admin_, {"workers", "pardon", "nobody"}), kExitFailed, {"nobody", "is quarantined"});
  ExpectOneSentence(RunFor(admin_, {"token", "create", "--role", "worker", "--name", std::string(65, 'x')}),
                    kExitFailed, {"name", "65", "1 to 64"});
}

TEST_F(AccessTest, CommandsGiveUpAnUnreachableCoordinatorWithin15Seconds) {
  const DeadPort silent(true), closed(false);
  JoinString join = ParseJoinString(admin_).value();
  join.addresses = {silent.address()};
  const std::string to_silent = Format(join);
  join.addresses = {closed.address()};
  const std::string to_closed = Format(join);
  join.addresses = {closed.address(), silent.address()};
  const std::string to_both = Format(join);
  const std::vector<std::pair<std::string, Words>> commands = {
      {to_silent, {"jobs", "list"}},       {to_silent, {"nqueens", "8"}},
      {to_silent, {"jobs", "watch", "1"}}, {to_silent, {"jobs", "certificate", "1"}},
      {to_closed, {"jobs", "list"}},       {to_closed, {"nqueens", "8"}},
      {to_both, {"jobs", "cancel", "1"}},
  };
  std::vector<Ended> ended(commands.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < commands.size(); ++i) {
    threads.emplace_back([&, i] { ended[i] = RunFor(commands[i].first, commands[i].second); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < commands.size(); ++i) {
    SCOPED_TRACE(absl::StrJoin(commands[i].second, " "));
    ExpectOneSentence(ended[i], kExitUnreachable, {"the coordinator at 127.0.0.1:"});
    EXPECT_LT(ended[i].took, absl::Seconds(15.5));
  }
}

TEST_F(AccessTest, JoinKeepsTryingAnUnreachableCoordinatorAlsoAtItsFirstStart) {
  const TemporaryDirectory state;
  CoordinatorOptions options;
  options.state_directory = state / "state";
  options.core.longest_hold = absl::Seconds(1);
  std::unique_ptr<Coordinator> coordinator = Coordinator::Start(options).value();
  const std::string join = coordinator->worker_join_string();
  options.listen = absl::StrCat("127.0.0.1:", coordinator->port());
  coordinator.reset();

  Program worker({"join", join, "--device", "cpu", "--threads", "1", "--name", "patient"});
  EXPECT_TRUE(worker.WaitForError("cannot be reached")) << worker.err();
  EXPECT_TRUE(worker.WaitForError("trying again")) << worker.err();
  coordinator = Coordinator::Start(options).value();
  EXPECT_TRUE(worker.WaitForError("joined the table")) << worker.err();
  coordinator.reset();
  EXPECT_TRUE(worker.WaitForError("computing on meanwhile")) << worker.err();
  coordinator = Coordinator::Start(options).value();
  EXPECT_TRUE(worker.WaitForError("back at the table")) << worker.err();
  worker.Signal(SIGTERM);
  const Ended ended = worker.Wait();
  EXPECT_EQ(ended.code, kExitOk) << ended.err;
  EXPECT_EQ(ended.out, "");
  EXPECT_EQ(ended.err.find(Token(join)), std::string::npos);
}

}  // namespace
}  // namespace potluck
