// `potluck doctor` as a user runs it: whatever is wrong is recognised, with its own exit code and what to do about it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/doctor_testing.h"
#include "cli/exit_code.h"
#include "cli/subprocess.h"
#include "coordinator/coordinator.h"
#include "proto/join_string.h"
#include "tests/bad_input/program.h"

namespace potluck {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

std::string Format(const JoinString& join) { return FormatJoinString(join).value(); }

// The row of that name in the JSON object; fails the test if there is none.
nlohmann::json RowOf(const nlohmann::json& report, const std::string& check) {
  for (const nlohmann::json& row : report["checks"]) {
    if (row["check"] == check) return row;
  }
  ADD_FAILURE() << "no row " << check << " in " << report.dump();
  return {{"status", ""}, {"message", ""}, {"remedy", ""}};
}

class DoctorTest : public testing::Test {
 protected:
  // Runs it with --json, looks for secrets in what it says, and gives back the object.
  nlohmann::json Examine(const Words& arguments, int code, const ProgramOptions& options = {}) {
    Words words = {"doctor", "--json", "--step-limit", "5s"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    const Ended ended = RunPotluck(words, options, absl::Seconds(90));
    SCOPED_TRACE(absl::StrJoin(words, " "));
    EXPECT_EQ(ended.code, code) << ended.out << ended.err;
    EXPECT_EQ(std::count(ended.out.begin(), ended.out.end(), '\n'), 1) << ended.out;
    for (const std::string& secret : secrets_) EXPECT_FALSE(absl::StrContains(ended.out + ended.err, secret));
    nlohmann::json report = nlohmann::json::parse(ended.out, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(report.is_object()) << ended.out;
    if (report.is_object()) {
      EXPECT_EQ(report["ok"], code == 0);
      EXPECT_EQ(report["exit_code"], code);
    }
    return report;
  }

  void ExpectFailed(const nlohmann::json& report, const std::string& check, const Words& message, const Words& remedy) {
    const nlohmann::json row = RowOf(report, check);
    EXPECT_EQ(row["status"], "fail") << row.dump();
    for (const std::string& part : message)
      EXPECT_TRUE(absl::StrContains(row["message"].get<std::string>(), part)) << row.dump();
    for (const std::string& part : remedy)
      EXPECT_TRUE(absl::StrContains(row["remedy"].get<std::string>(), part)) << row.dump();
  }

  Words secrets_ = {kFakeToken};
};

class DoctorAtACoordinatorTest : public DoctorTest {
 protected:
  DoctorAtACoordinatorTest() : coordinator_(Coordinator::Start({}).value()) {
    worker_ = coordinator_->worker_join_string();
    join_ = ParseJoinString(worker_).value();
    secrets_.push_back(join_.token);
  }

  std::unique_ptr<Coordinator> coordinator_;
  std::string worker_;
  JoinString join_;
};

TEST_F(DoctorAtACoordinatorTest, AllIsWellByArgumentFileStandardInputAndEnvironment) {
  const TemporaryDirectory directory;
  WriteWholeFile(directory / "worker.join", worker_ + "\n");
  const nlohmann::json report = Examine({worker_}, kExitOk);
  for (const char* check :
       {"join-string", "name", "tcp", "tls", "http2", "token", "version", "round-trip", "throughput"}) {
    EXPECT_EQ(RowOf(report, check)["status"], "ok") << check;
  }
  EXPECT_EQ(RowOf(report, "keepalive")["status"], "skip");
  EXPECT_EQ(RowOf(report, "cpu-test")["status"], "ok");
  EXPECT_GT(RowOf(report, "cpu-test")["data"]["solutions_per_second"], 0);
  EXPECT_EQ(RowOf(Examine({directory / "worker.join"}, kExitOk), "version")["status"], "ok");
  EXPECT_EQ(RowOf(Examine({"-"}, kExitOk, {.input = worker_}), "version")["status"], "ok");
  EXPECT_EQ(RowOf(Examine({}, kExitOk, {.environment = {{"POTLUCK_JOIN", worker_}}}), "version")["status"], "ok");
}

TEST_F(DoctorAtACoordinatorTest, ForPeopleEachRowIsALine) {
  const Ended ended = RunPotluck({"doctor", worker_, "--long", "--silence", "1s"}, {}, absl::Seconds(90));
  EXPECT_EQ(ended.code, kExitOk) << ended.out << ended.err;
  for (const char* line :
       {"\nok    tls           TLSv1.3, the pinned key\n", "\nok    token         valid, for a worker\n",
        "\nok    keepalive     the connection lived through"}) {
    EXPECT_TRUE(absl::StrContains(ended.out, line)) << line << ended.out;
  }
  EXPECT_TRUE(absl::StrContains(ended.err, "staying silent")) << ended.err;
  EXPECT_FALSE(absl::StrContains(ended.out + ended.err, join_.token));
}

TEST_F(DoctorAtACoordinatorTest, AJoinStringThatIsCutShortIsTold) {
  ExpectFailed(Examine({worker_.substr(0, worker_.size() - 5)}, kExitFailed), "join-string", {"cut short"},
               {"copy the whole join string again"});
  ExpectFailed(Examine({"/nowhere/worker.join"}, kExitFailed), "join-string", {"cannot read"}, {});
}

TEST_F(DoctorAtACoordinatorTest, AnotherPinAnOldTokenAndAnotherRoleAreTold) {
  JoinString other = join_;
  other.pin = std::string(32, 'p');
  ExpectFailed(Examine({Format(other)}, kExitRefused), "tls", {"another key"}, {"new join string"});
  const std::string admin = coordinator_->admin_join_string();
  const Ended made =
      RunPotluck({"token", "create", "--role", "worker", "--name", "old", "--coordinator", admin, "--json"});
  const std::string old = nlohmann::json::parse(made.out)["join_string"];
  ASSERT_EQ(RunPotluck({"token", "revoke", "old", "--coordinator", admin}).code, kExitOk);
  ExpectFailed(Examine({old}, kExitRefused), "token", {"old", "revoked"}, {"token create"});
  other = join_;
  other.token = kFakeToken;
  ExpectFailed(Examine({Format(other)}, kExitRefused), "token", {"token"}, {"token create"});
  ExpectFailed(Examine({admin}, kExitRefused), "token", {"role admin", "needs worker"}, {"token create"});
}

TEST_F(DoctorAtACoordinatorTest, OfTwoAddressesOneThatServesIsEnough) {
  const FakePort closed(-1);
  join_.addresses.insert(join_.addresses.begin(), closed.address());
  const nlohmann::json report = Examine({Format(join_)}, kExitOk);
  EXPECT_EQ(RowOf(report, "tcp")["status"], "warn");
  EXPECT_TRUE(absl::StrContains(RowOf(report, "tcp")["message"].get<std::string>(), "another address"));
  EXPECT_EQ(RowOf(report, "tls")["message"], "not tried");
}

TEST_F(DoctorTest, ACoordinatorOfAnotherVersionIsTold) {
  FakeWorkers workers;
  workers.refusal.set_reason(v1::Refusal::OTHER_VERSION);
  workers.refusal.set_message("this worker speaks protocol versions 1 to 1, the coordinator (9.9.9) 7 to 9");
  workers.version = "9.9.9";
  workers.protocol_min = 7;
  workers.protocol_max = 9;
  const FakeCoordinator coordinator(workers);
  ExpectFailed(Examine({Format(coordinator.join())}, kExitOtherVersion), "version", {"1 to 1", "7 to 9"},
               {"install 9.9.9 here"});
}

TEST_F(DoctorTest, AnHttpServerAndACaptivePortalAreTold) {
  FakeServer http(FakeServer::Saying("HTTP/1.1 404 Not Found\r\nServer: SimpleHTTP\r\n\r\n"));
  const JoinString to_http{{http.address()}, std::string(32, 'p'), kFakeToken};
  ExpectFailed(Examine({Format(to_http)}, kExitUnreachable), "tls", {"HTTP server", "SimpleHTTP"}, {"port"});
  FakeTlsServer portal("portal.example", "http/1.1", "HTTP/1.1 302 Found\r\nLocation: https://portal.example/\r\n\r\n");
  const JoinString to_portal{{portal.address()}, std::string(32, 'p'), kFakeToken};
  ExpectFailed(Examine({Format(to_portal)}, kExitUnreachable), "tls", {"sign-in page"}, {"sign in first"});
}

TEST_F(DoctorTest, NoNetworkIsTold) {
  const FakePort closed(-1);
  FakePort full(0);
  full.Fill();
  JoinString join{{"no-such-host.invalid:4242"}, std::string(32, 'p'), kFakeToken};
  ExpectFailed(Examine({Format(join), "--step-limit", "20s"}, kExitUnreachable), "name", {"no-such-host.invalid"},
               {"no network"});
  join.addresses = {closed.address()};
  ExpectFailed(Examine({Format(join)}, kExitUnreachable), "tcp", {"refused"}, {"potluck serve"});
  join.addresses = {full.address()};
  ExpectFailed(Examine({Format(join), "--step-limit", "1s"}, kExitUnreachable), "tcp", {"does not answer"},
               {"packets vanish"});
}

TEST_F(DoctorTest, NoDiskSpaceIsTold) {
  // A disk of one page, for this program alone.
  const TemporaryDirectory directory;
  const std::string inner =
      absl::StrCat("mount -t tmpfs -o size=4k none '", directory.path(), "' || exit 77; XDG_CACHE_HOME='",
                   directory.path(), "' exec '", POTLUCK_BINARY, "' doctor --json");
  const absl::StatusOr<ProgramEnd> end = RunProgram({"unshare", "-rm", "sh", "-c", inner});
  if (!end.ok() || end->code == 77 || absl::StrContains(end->output, "unshare:")) {
    GTEST_SKIP() << "a small disk cannot be mounted here (unshare -rm)";
  }
  EXPECT_EQ(end->code, kExitFailed) << end->output;
  ExpectFailed(nlohmann::json::parse(LastLine(end->output)), "cache", {"no disk space"}, {"free some disk space"});
}

TEST_F(DoctorTest, HomeThatCannotBeWrittenIsToldAndSoIsNone) {
  ExpectFailed(Examine({}, kExitFailed, {.environment = {{"XDG_CACHE_HOME", "/proc/nowhere"}}}), "cache",
               {"/proc/nowhere/potluck", "cannot be written"}, {"XDG_CACHE_HOME"});
  EXPECT_EQ(RowOf(Examine({}, kExitOk, {.environment = {{"HOME", ""}}}), "cache")["status"], "warn");
}

// With a library that stands in for the driver.
class DoctorGpuTest : public DoctorTest {
 protected:
  static ProgramOptions WithGpu(const std::string& compute, std::map<std::string, std::string> more = {}) {
    more.insert({{"LD_LIBRARY_PATH", fs::path(POTLUCK_FAKE_DRIVER).parent_path()}, {"FAKE_COMPUTE", compute}});
    return {.environment = more};
  }
  static std::string PluginPath() { return fs::path(POTLUCK_BINARY).parent_path() / "libpotluck_cuda.so"; }
};

TEST_F(DoctorGpuTest, AGpuThatThePluginDoesNotFitIsToldWithTheBuildAsRemedy) {
  if (!fs::exists(PluginPath())) GTEST_SKIP() << "no GPU plug-in was built: see POTLUCK_CUDA";
  const nlohmann::json report = Examine({}, kExitOk, WithGpu("3.5"));
  const nlohmann::json row = RowOf(report, "gpu");
  EXPECT_EQ(row["status"], "warn");
  EXPECT_TRUE(absl::StrContains(row["message"].get<std::string>(), "no machine code that fits it")) << row.dump();
  EXPECT_TRUE(absl::StrContains(row["remedy"].get<std::string>(), "--build-plugin")) << row.dump();
  EXPECT_EQ(RowOf(report, "driver")["status"], "ok");
}

TEST_F(DoctorGpuTest, AGpuThatDoesNotWorkAndADriverThatIsTooOldAreTold) {
  if (!fs::exists(PluginPath())) GTEST_SKIP() << "no GPU plug-in was built: see POTLUCK_CUDA";
  const nlohmann::json report = Examine({}, kExitOk, WithGpu("7.5", {{"FAKE_CUDA", "11040"}}));
  EXPECT_TRUE(absl::StrContains(RowOf(report, "driver")["message"].get<std::string>(), "too old"));
  const nlohmann::json row = RowOf(report, "gpu");
  EXPECT_EQ(row["status"], "warn");
  EXPECT_TRUE(absl::StrContains(row["message"].get<std::string>(), "no kernel image")) << row.dump();
}

TEST_F(DoctorGpuTest, APluginOfAnotherVersionInTheCacheIsTold) {
  const TemporaryDirectory cache;
  const std::string folder = absl::StrCat(cache.path(), "/potluck/plugin-", kVersion);
  fs::create_directories(folder);
  fs::copy_file(POTLUCK_OTHER_VERSION_PLUGIN, folder + "/libpotluck_cuda.so");
  fs::last_write_time(folder + "/libpotluck_cuda.so", fs::file_time_type::clock::now());
  const nlohmann::json row = RowOf(Examine({}, kExitOk, WithGpu("7.5", {{"XDG_CACHE_HOME", cache.path()}})), "plugin");
  EXPECT_EQ(row["status"], "warn");
  EXPECT_TRUE(absl::StrContains(row["message"].get<std::string>(), "interface version 1002")) << row.dump();
}

// The program in a folder of its own, beside the kernels' sources: what it builds goes there.
class BuildPluginTest : public DoctorGpuTest {
 protected:
  void SetUp() override {
    std::error_code error;
    fs::create_hard_link(POTLUCK_BINARY, directory_ / "potluck", error);
    if (error) fs::copy_file(POTLUCK_BINARY, directory_ / "potluck");
    fs::create_symlink(fs::path(POTLUCK_SOURCE_ROOT) / "kernels", directory_ / "kernels");
    fs::create_directories(directory_ / "cache");
    fs::create_directories(directory_ / "empty");
  }

  ProgramEnd Build(const Words& arguments, const Words& variables) {
    Words words = {"env", absl::StrCat("XDG_CACHE_HOME=", directory_ / "cache")};
    words.insert(words.end(), variables.begin(), variables.end());
    words.insert(words.end(), {directory_ / "potluck", "doctor", "--build-plugin"});
    words.insert(words.end(), arguments.begin(), arguments.end());
    return RunProgram(words).value();
  }
  static Words WithNvrtc() { return {absl::StrCat("POTLUCK_NVRTC_ROOT=", POTLUCK_NVRTC_ROOT), "CUDA_HOME=/nowhere"}; }
  static bool HasNvrtc() { return fs::exists(fs::path(POTLUCK_NVRTC_ROOT) / "nvidia/cuda_nvrtc/lib/libnvrtc.so.12"); }

  TemporaryDirectory directory_;
};

TEST_F(BuildPluginTest, WithNvccAndNvrtcMissingOneSentenceSaysWhatToInstall) {
  const ProgramEnd end = Build({"--architectures", "75"},
                               {absl::StrCat("POTLUCK_NVRTC_ROOT=", directory_ / "empty"), "CUDA_HOME=/nowhere"});
  EXPECT_EQ(end.code, kExitFailed);
  EXPECT_EQ(std::count(end.output.begin(), end.output.end(), '\n'), 1) << end.output;
  EXPECT_TRUE(absl::StrContains(end.output, "neither nvcc nor NVRTC")) << end.output;
  EXPECT_TRUE(absl::StrContains(end.output, "pip install nvidia-cuda-nvrtc-cu12")) << end.output;
}

TEST_F(BuildPluginTest, WithoutAGpuItAsksForTheArchitecture) {
  const ProgramEnd end = Build(
      {}, {absl::StrCat("LD_LIBRARY_PATH=", fs::path(POTLUCK_FAKE_DRIVER).parent_path().string()), "FAKE_GPUS=0"});
  EXPECT_EQ(end.code, kExitFailed);
  EXPECT_TRUE(absl::StrContains(end.output, "no GPU was found here")) << end.output;
  EXPECT_TRUE(absl::StrContains(end.output, "--architectures 75")) << end.output;
}

TEST_F(BuildPluginTest, WithoutSourcesItSaysWhereTheyBelong) {
  fs::remove(directory_ / "kernels");
  const ProgramEnd end = Build({"--architectures", "75"}, {});
  EXPECT_EQ(end.code, kExitFailed);
  EXPECT_TRUE(absl::StrContains(end.output, "sources are not beside the program")) << end.output;
}

TEST_F(BuildPluginTest, FlagsThatDoNotGoTogetherAreRefused) {
  ExpectOneSentence(RunPotluck({"doctor", "--architectures", "75"}), kExitUsage, {"--architectures", "--build-plugin"});
  ExpectOneSentence(RunPotluck({"doctor", "x", "--build-plugin"}), kExitUsage, {"JOIN", "--build-plugin"});
  ExpectOneSentence(RunPotluck({"doctor", "--build-plugin", "--compiler", "gcc"}), kExitUsage, {"--compiler", "nvrtc"});
  ExpectOneSentence(RunPotluck({"doctor", "--build-plugin", "--architectures", "seven"}), kExitFailed,
                    {"seven", "75,80"});
}

TEST_F(BuildPluginTest, ItIsBuiltForTheGpuHereBesideTheProgramAndFits) {
  if (!HasNvrtc()) GTEST_SKIP() << "NVRTC is not there (deploy/setup.sh fetches it)";
  Words variables = WithNvrtc();
  variables.insert(
      variables.end(),
      {absl::StrCat("LD_LIBRARY_PATH=", fs::path(POTLUCK_FAKE_DRIVER).parent_path().string()), "FAKE_COMPUTE=8.9"});
  const ProgramEnd end = Build({"--json"}, variables);
  ASSERT_EQ(end.code, kExitOk) << end.output;
  const nlohmann::json built = nlohmann::json::parse(LastLine(end.output));
  EXPECT_EQ(fs::canonical(built["plugin"].get<std::string>()), fs::canonical(directory_ / "libpotluck_cuda.so"));
  EXPECT_EQ(built["architectures"], (nlohmann::json{89}));
  EXPECT_EQ(built["compiler"], "NVRTC 12.8");
  // The program loads it and finds that its code is for this GPU.
  Words look = {"env"};
  look.insert(look.end(), variables.begin(), variables.end());
  look.insert(look.end(), {directory_ / "potluck", "doctor", "--json"});
  const nlohmann::json row = RowOf(nlohmann::json::parse(LastLine(RunProgram(look)->output)), "gpu");
  EXPECT_EQ(row["data"]["code_sm"], 89) << row.dump();
}

TEST_F(BuildPluginTest, WhereTheProgramsFolderCannotBeWrittenItGoesToTheCacheAndIsFoundThere) {
  if (!HasNvrtc()) GTEST_SKIP() << "NVRTC is not there (deploy/setup.sh fetches it)";
  fs::create_directories(directory_ / "libpotluck_cuda.so");  // Nothing can be written over a folder.
  fs::last_write_time(directory_ / "libpotluck_cuda.so", fs::file_time_type::clock::now() - std::chrono::hours(1));
  const ProgramEnd end = Build({"--json", "--architectures", "75"}, WithNvrtc());
  ASSERT_EQ(end.code, kExitOk) << end.output;
  const std::string path = nlohmann::json::parse(LastLine(end.output))["plugin"];
  EXPECT_EQ(path, absl::StrCat(directory_ / "cache", "/potluck/plugin-", kVersion, "/libpotluck_cuda.so"));
  const ProgramEnd looked =
      RunProgram({"env", absl::StrCat("XDG_CACHE_HOME=", directory_ / "cache"),
                  absl::StrCat("LD_LIBRARY_PATH=", fs::path(POTLUCK_FAKE_DRIVER).parent_path().string()),
                  directory_ / "potluck", "doctor", "--json"})
          .value();
  EXPECT_EQ(RowOf(nlohmann::json::parse(LastLine(looked.output)), "gpu")["data"]["code_sm"], 75) << looked.output;
}

}  // namespace
}  // namespace potluck
