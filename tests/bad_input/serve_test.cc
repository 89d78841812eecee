// What keeps a coordinator from starting, or a state directory from being used: one sentence that says what to do, and
// nothing lost or changed.
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/exit_code.h"
#include "coordinator/store/schema.h"
#include "proto/join_string.h"
#include "tests/bad_input/program.h"

namespace potluck {
namespace {

using Words = std::vector<std::string>;
using Files = std::map<std::string, std::string>;

Words Serve(const std::string& state, const std::string& listen = "127.0.0.1:0") {
  return {"serve", "--state", state, "--listen", listen};
}

// Starts a coordinator, lets `meanwhile` use it, and stops it as Ctrl-C does.
void WithCoordinator(const std::string& state, const std::function<void(const std::string& admin)>& meanwhile) {
  Program serve(Serve(state));
  ASSERT_TRUE(serve.WaitForOutput("\n")) << serve.err();
  meanwhile(state + "/admin.join");
  serve.Signal(SIGINT);
  const Ended ended = serve.Wait();
  EXPECT_EQ(ended.code, kExitOk) << ended.err;
  // Only the workers' join string stands on standard output, and no secret in the log.
  const JoinString join = ParseJoinString(ended.out).value();
  const JoinString admin = LoadJoinString(state + "/admin.join").value();
  for (const std::string& secret : {join.token, admin.token}) {
    EXPECT_EQ(ended.err.find(secret), std::string::npos) << ended.err;
  }
}

// A state directory with one finished job in it.
void MakeState(const std::string& state) {
  WithCoordinator(state, [&](const std::string& admin) {
    Program worker({"join", state + "/worker.join", "--device", "cpu", "--threads", "1", "--name", "w"});
    const Ended counted = RunPotluck({"nqueens", "8", "--coordinator", admin, "--json"});
    ExpectOneJsonObject(counted);
    EXPECT_NE(counted.out.find("\"solutions\":\"92\""), std::string::npos);
    worker.Signal(SIGTERM);
    EXPECT_EQ(worker.Wait().code, kExitOk) << worker.err();
  });
}

// The finished job is still there, with its result.
void ExpectJobIsThere(const std::string& state) {
  WithCoordinator(state, [](const std::string& admin) {
    const Ended shown = RunPotluck({"jobs", "show", "1", "--coordinator", admin, "--json"});
    ExpectOneJsonObject(shown);
    EXPECT_NE(shown.out.find("\"92\""), std::string::npos) << shown.out;
  });
}

void SetVersion(const std::string& database, int version) {
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(database.c_str(), &handle), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(handle, absl::StrCat("PRAGMA user_version = ", version).c_str(), nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(handle);
}

// A coordinator on this state ends at once, with a sentence that holds `parts`, and leaves every file as it was, but
// for the database if it is sound: that counts how often it was opened.
void ExpectRefusedAndUnchanged(const std::string& state, const Words& parts, bool is_database_sound = false) {
  Files before = ReadDirectory(state);
  ExpectOneSentence(RunPotluck(Serve(state)), kExitFailed, parts);
  Files after = ReadDirectory(state);
  // Empty once closed; the number of the process that has it locked is nobody's loss.
  for (Files* files : {&before, &after}) {
    for (const char* name : {"lock", "potluck.db-shm"}) files->erase(name);
    if (is_database_sound) files->erase("potluck.db");
    if (const auto wal = files->find("potluck.db-wal"); wal != files->end() && wal->second.empty()) files->erase(wal);
  }
  for (const auto& [name, bytes] : before) {
    EXPECT_TRUE(after.contains(name)) << name;
    EXPECT_TRUE(after[name] == bytes) << name << " was changed";
  }
  EXPECT_EQ(after.size(), before.size());
}

TEST(ServeTest, APortInUseIsNamed) {
  const TemporaryDirectory directory;
  Program first(Serve(directory / "first"));
  ASSERT_TRUE(first.WaitForOutput("\n")) << first.err();
  const std::string address = ParseJoinString(first.out()).value().addresses[0];
  ExpectOneSentence(RunPotluck(Serve(directory / "second", address)), kExitFailed,
                    {address.substr(address.rfind(':') + 1), "in use", "choose another port"});
}

TEST(ServeTest, AnAddressThatCannotBeListenedOnIsNamed) {
  const TemporaryDirectory directory;
  for (const char* address :
       {"nonsense", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1", "::1:80", "[::1:80", "a b:1"}) {
    SCOPED_TRACE(address);
    ExpectOneSentence(RunPotluck(Serve(directory / "state", address)), kExitUsage,
                      {absl::StrCat("--listen is \"", address, "\""), "HOST:PORT"});
    EXPECT_NE(access((directory / "state").c_str(), F_OK), 0);
  }
  ExpectOneSentence(RunPotluck(Serve(directory / "state", "192.0.2.1:0")), kExitFailed, {"192.0.2.1:0"});
  ExpectOneSentence(
      RunPotluck({"serve", "--state", directory / "state", "--listen", "127.0.0.1:0", "--public", "here"}), kExitUsage,
      {"--public", "'here'", "port"});
}

TEST(ServeTest, PublicAddressesThatCannotBeAreNamed) {
  const TemporaryDirectory directory;
  const auto serve = [&](const Words& more) {
    Words words = Serve(directory / "state");
    words.insert(words.end(), more.begin(), more.end());
    return RunPotluck(words);
  };
  ExpectOneSentence(serve({"--public", "good.example:1,[::1:2"}), kExitUsage, {"--public", "[::1"});
  ExpectOneSentence(serve({"--public", "good.example:1,"}), kExitUsage, {"--public", "without a port"});
  std::string many = "a.example:1";
  for (int i = 0; i < 16; ++i) many += ",a.example:1";
  ExpectOneSentence(serve({"--public", many}), kExitUsage, {"--public has 17 addresses", "1 to 16"});
  ExpectOneSentence(serve({"--trust-proxy-ca"}), kExitUsage, {"--trust-proxy-ca", "without --public"});
  EXPECT_NE(access((directory / "state").c_str(), F_OK), 0);
}

TEST(ServeTest, AJoinStringThatNamesNoMachineIsWarnedOf) {
  const TemporaryDirectory directory;
  const std::string warning = "warning: the join strings name no address";
  for (const char* address : {"0.0.0.0:0", "[::]:0", ":0"}) {
    Program serve(Serve(directory / "state", address));
    ASSERT_TRUE(serve.WaitForError("listening")) << address;
    EXPECT_TRUE(serve.WaitForError("--public")) << address << serve.err();
    EXPECT_NE(serve.err().find(warning), std::string::npos) << serve.err();
    serve.Signal(SIGINT);
    EXPECT_EQ(serve.Wait().code, kExitOk);
  }
  Words arguments = Serve(directory / "state", "0.0.0.0:0");
  arguments.insert(arguments.end(), {"--public", "example.org:443"});
  Program serve(arguments);
  ASSERT_TRUE(serve.WaitForError("listening"));
  serve.Signal(SIGINT);
  EXPECT_EQ(serve.Wait().err.find(warning), std::string::npos);
}

TEST(ServeTest, ALockedStateDirectoryNamesWhoHasIt) {
  const TemporaryDirectory directory;
  Program first(Serve(directory / "state"));
  ASSERT_TRUE(first.WaitForOutput("\n")) << first.err();
  ExpectOneSentence(RunPotluck(Serve(directory / "state")), kExitFailed,
                    {directory / "state", "in use by another coordinator", "process", "choose another --state"});
}

TEST(ServeTest, AStateDirectoryThatCannotBeWrittenIsNamed) {
  const TemporaryDirectory directory;
  WriteWholeFile(directory / "file", "mine");
  ExpectOneSentence(RunPotluck(Serve(directory / "file")), kExitFailed,
                    {directory / "file", "not a directory", "choose another place"});
  ExpectOneSentence(RunPotluck(Serve(directory / "file/state")), kExitFailed, {directory / "file"});
  EXPECT_EQ(ReadWholeFile(directory / "file"), "mine");
  // Not even root may make a directory there.
  if (access("/sys/kernel", F_OK) != 0) GTEST_SKIP() << "nothing is mounted on /sys";
  ExpectOneSentence(RunPotluck(Serve("/sys/potluck")), kExitFailed, {"/sys/potluck", "choose another place"});
}

TEST(ServeTest, AStateDirectoryWithoutWritePermissionIsNamed) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const TemporaryDirectory directory;
  ASSERT_EQ(mkdir((directory / "state").c_str(), 0500), 0);
  ExpectOneSentence(RunPotluck(Serve(directory / "state")), kExitFailed,
                    {directory / "state", "give this user write access"});
}

class DamagedStateTest : public testing::Test {
 protected:
  DamagedStateTest() : state_(directory_ / "state") {
    MakeState(state_);
    intact_ = ReadDirectory(state_);
  }

  std::string File(const std::string& name) const { return state_ + "/" + name; }
  void Restore(const std::string& name) { WriteWholeFile(File(name), intact_[name]); }

  const TemporaryDirectory directory_;
  const std::string state_;
  Files intact_;
};

TEST_F(DamagedStateTest, AStateOfANewerVersionIsLeftAlone) {
  SetVersion(File("potluck.db"), 99);
  ExpectRefusedAndUnchanged(state_, {"potluck.db", "format version 99", absl::StrCat("up to version ", kSchemaVersion),
                                     "use a newer potluck"});
  SetVersion(File("potluck.db"), kSchemaVersion);
  ExpectJobIsThere(state_);
}

TEST_F(DamagedStateTest, ADamagedDatabaseIsLeftAloneAndABackupPutsItRight) {
  const std::string& database = intact_["potluck.db"];
  std::string other_header = database, other_middle = database;
  other_header.replace(0, 16, "not a database!!");
  other_middle.replace(database.size() / 3, database.size() / 3, std::string(database.size() / 3, '\xa5'));
  for (const std::string& damaged :
       {std::string(), std::string("x"), database.substr(0, database.size() / 2), other_header, other_middle}) {
    SCOPED_TRACE(absl::StrCat(damaged.size(), " bytes"));
    WriteWholeFile(File("potluck.db"), damaged);
    ExpectRefusedAndUnchanged(state_, {"potluck.db is damaged", "left as it is", "put a backup in its place"});
  }
  Restore("potluck.db");
  ExpectJobIsThere(state_);
}

TEST_F(DamagedStateTest, ADamagedKeyIsLeftAloneAndNothingElseIsLost) {
  for (const std::string& damaged : {std::string("garbage"), std::string(), intact_["key.pem"].substr(0, 100)}) {
    WriteWholeFile(File("key.pem"), damaged);
    ExpectRefusedAndUnchanged(state_, {"key.pem", "put back a copy"}, /*is_database_sound=*/true);
  }
  unlink(File("key.pem").c_str());
  ExpectRefusedAndUnchanged(state_, {"key.pem is missing", "put back a copy"}, /*is_database_sound=*/true);
  Restore("key.pem");
  ExpectJobIsThere(state_);
  EXPECT_EQ(ReadWholeFile(File("worker.join")).substr(0, 10), "potluck://");
}

TEST_F(DamagedStateTest, ADamagedCertificateIsLeftAloneAndMadeAnewForTheSameKey) {
  WriteWholeFile(File("certificate.pem"), "garbage");
  ExpectRefusedAndUnchanged(state_, {"certificate.pem", "remove it", "made anew"}, /*is_database_sound=*/true);
  unlink(File("certificate.pem").c_str());
  ExpectJobIsThere(state_);
  EXPECT_EQ(LoadJoinString(File("worker.join")).value().pin, ParseJoinString(intact_["worker.join"]).value().pin);
}

TEST_F(DamagedStateTest, ADamagedJoinFileIsMadeAnewAndTheOldStringStaysGood) {
  WriteWholeFile(File("admin.join"), "garbage");
  WithCoordinator(state_, [&](const std::string& admin) {
    const JoinString now = LoadJoinString(admin).value();
    JoinString old = ParseJoinString(intact_["admin.join"]).value();
    EXPECT_EQ(old.pin, now.pin);
    old.addresses = now.addresses;
    for (const std::string& join : {FormatJoinString(old).value(), admin}) {
      ExpectOneJsonObject(RunPotluck({"jobs", "show", "1", "--coordinator", join, "--json"}));
    }
  });
}

TEST_F(DamagedStateTest, ABackupOntoAFileThatIsThereOrOfNoStateIsRefused) {
  WriteWholeFile(directory_ / "kept", "precious");
  ExpectOneSentence(RunPotluck({"backup", state_, directory_ / "kept"}), kExitFailed, {"kept", "choose another name"});
  EXPECT_EQ(ReadWholeFile(directory_ / "kept"), "precious");
  ExpectOneSentence(RunPotluck({"backup", directory_ / "nothing", directory_ / "copy"}), kExitFailed,
                    {"nothing", "not a state directory"});
  ExpectOneSentence(RunPotluck({"backup", state_, directory_ / "no/such/place"}), kExitFailed, {"no/such/place"});
}

}  // namespace
}  // namespace potluck
