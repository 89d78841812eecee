// The ways home of docs/reach.md, each with the real program in between: a job that is exact although workers, and what
// is in between, are killed; large data both ways; and limits on silence that do not cut a worker off.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/sha256.h"
#include "proto/versions.h"
#include "tests/end_to_end/forwarder.h"
#include "tests/end_to_end/process.h"
#include "tests/end_to_end/proxies.h"
#include "tests/end_to_end/table.h"

namespace potluck::end_to_end {
namespace {

using testing::HasSubstr;
using Environment = std::map<std::string, std::string>;

constexpr int kShortLease = 2;
constexpr double kShortSlice = 0.05;

// 1.3 million parameters: 5 MB to a worker each step, and back.
constexpr char kWideModel[] = R"(
name: "wide"
input { channels: 1 height: 28 width: 28 }
layers { flatten {} }
layers { dense { units: 1600 activation: RELU } }
layers { dense { units: 10 } }
)";

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// A table at which everybody sits behind something.
class Reach : public Table {
 public:
  // A join string of an administrator's, as one has it who comes through what is in between.
  std::string FarAdmin(const Environment& environment) {
    const std::string file = directory() + "/far.join";
    if (!ReadAll(file).empty()) return file;
    Process& create =
        Run({"token", "create", "--role", "admin", "--name", "far", "--coordinator", Admin()}, environment);
    EXPECT_EQ(create.WaitForExit(kPatience), Exit{}) << create.errors();
    std::ofstream(file) << create.output();
    return file;
  }
  std::string Admin() const { return directory() + "/state/admin.join"; }

  // `potluck nqueens`, from there; returns when its job is there.
  Process& CountFromAfar(int n, uint64_t job, const Environment& environment) {
    Process& process =
        Run({"nqueens", absl::StrCat(n), "--nodes", "--json", "--coordinator", FarAdmin(environment)}, environment);
    WaitUntil(absl::StrCat("job ", job, " is submitted"), [&] { return process.has_ended() || Job(job).ok(); });
    return process;
  }

  // A short training whose data, parameters and results are megabytes gives the same model from afar as at home.
  void ExpectTheSameModelFromAfar(const Environment& environment) {
    std::ofstream(directory() + "/wide.txt") << kWideModel;
    Process& synth = Run({"data", "synth", directory() + "/digits", "--samples", "6000", "--test", "500"});
    ASSERT_EQ(synth.WaitForExit(kPatience), Exit{}) << synth.errors();
    const auto train = [&](const std::string& out, std::vector<std::string> more, const Environment& with) {
      std::vector<std::string> arguments = {
          "train", directory() + "/wide.txt", "--data", directory() + "/digits", "--batch", "128", "--max-steps", "4",
          "--out", directory() + "/" + out};
      arguments.insert(arguments.end(), more.begin(), more.end());
      Process& process = Run(arguments, with);
      EXPECT_EQ(process.WaitForExit(kPatience), Exit{}) << process.errors();
      const std::string model = ReadAll(directory() + "/" + out + "/model.safetensors");
      EXPECT_GT(model.size(), size_t{5000000});
      return HexDigest(Sha256(model));
    };
    const std::string far = train("far", {"--coordinator", FarAdmin(environment)}, environment);
    EXPECT_EQ(far, train("near", {"--local-workers", "1", "--threads", "1", "--dispatch", "scalar"}, {}));
  }
};

// Kills it and what it has forked.
void KillAll(Process& process) {
  const std::vector<pid_t> children = ChildrenOf(process.pid());
  process.Kill();
  for (const pid_t child : children) SignalStranger(child, SIGKILL);
  WaitUntil("its children are gone", [&] {
    return std::none_of(children.begin(), children.end(), [](pid_t child) { return IsRunning(child); });
  });
}

// ---- A forwarded port

Process* StartSocat(Table& table, int port) {
  const Tool tool = FindTool("socat");
  Process& socat = table.RunProgram(tool.path,
                                    {absl::StrCat("TCP-LISTEN:", port, ",bind=127.0.0.1,reuseaddr,fork"),
                                     absl::StrCat("TCP:127.0.0.1:", table.port())},
                                    tool.environment);
  EXPECT_TRUE(WaitUntil("socat listens", [&] { return socat.has_ended() || IsListening(port); })) << socat.errors();
  return &socat;
}

TEST(ReachTest, AJobGoesOnWhenItsTcpForwarderIsKilledAndComesBack) {
  POTLUCK_NEEDS_TOOL("socat");
  Reach table;
  const int port = FreePort();
  ASSERT_TRUE(table.Serve(kShortLease, port));
  Process* socat = StartSocat(table, port);
  Process& worker = table.Join("worker", kShortSlice);
  Process* victim = &table.Join("victim", kShortSlice);
  Process& client = table.CountFromAfar(17, 1, {});
  ASSERT_TRUE(table.WaitForProgress(1, 0.1));
  KillAll(*socat);
  ASSERT_TRUE(worker.WaitForLine("trying again", kPatience)) << worker.errors();
  socat = StartSocat(table, port);
  ASSERT_TRUE(worker.WaitForLine("reached 127.0.0.1", kPatience)) << worker.errors();
  ASSERT_TRUE(table.WaitForProgress(1, 0.4));
  ASSERT_TRUE(victim->Signal(SIGKILL));
  victim = &table.Join("victim again", kShortSlice);
  table.ExpectExact(client, 17, 1);
  table.ExpectTheSameModelFromAfar({});
  KillAll(*socat);
}

// ---- What ends TLS itself

using MakeTerminator = std::unique_ptr<Terminator> (*)(Table&, absl::Duration);

constexpr char kWheel[] = "PK, and potluck/bin/potluck: as good as a wheel";

// The coordinator stands behind it, and trusts it. It has a bundle to hand out.
bool ServeBehind(Table& table, Terminator& terminator, absl::Duration longest_hold) {
  const std::string bundle = table.directory() + "/bundle";
  std::filesystem::create_directory(bundle);
  std::ofstream(absl::StrCat(bundle, "/potluck-", kVersion, "-py3-none-manylinux_2_35_x86_64.whl")) << kWheel;
  table.SetServeFlags({"--public", absl::StrCat("127.0.0.1:", terminator.port()), "--trust-proxy-ca", "--bundle",
                       bundle, "--longest-hold", absl::FormatDuration(longest_hold)});
  return table.Serve(kShortLease) && terminator.Start();
}

Environment Trusting(const Terminator& terminator) { return {{"SSL_CERT_FILE", terminator.authority()}}; }

void JobsPassThrough(MakeTerminator make) {
  Reach table;
  const std::unique_ptr<Terminator> terminator = make(table, absl::Seconds(60));
  ASSERT_TRUE(ServeBehind(table, *terminator, absl::Seconds(20)));
  EXPECT_THAT(table.coordinator().errors(), HasSubstr("reads the tokens"));
  // Join strings for others hold no key; the administrator's own is for this machine.
  EXPECT_EQ(LoadJoinString(table.directory() + "/state/worker.join")->pin, "");
  EXPECT_EQ(LoadJoinString(table.FarAdmin({}))->pin, "");
  EXPECT_NE(LoadJoinString(table.Admin())->pin, "");
  // What a worker runs cannot be swapped on the way.
  EXPECT_EQ(LoadJoinString(table.directory() + "/state/worker.join")->bundle, Sha256(kWheel));
  EXPECT_EQ(LoadJoinString(table.Admin())->bundle, "");
  const Environment trusting = Trusting(*terminator);
  Process& worker = table.Join("worker", kShortSlice, "scalar", trusting);
  Process* victim = &table.Join("victim", kShortSlice, "scalar", trusting);
  Process& client = table.CountFromAfar(17, 1, trusting);
  ASSERT_TRUE(table.WaitForProgress(1, 0.1));
  ASSERT_TRUE(victim->Signal(SIGKILL));
  victim = &table.Join("victim again", kShortSlice, "scalar", trusting);
  ASSERT_TRUE(table.WaitForProgress(1, 0.3));
  terminator->process().Kill();
  ASSERT_TRUE(worker.WaitForLine("trying again", kPatience)) << worker.errors();
  ASSERT_TRUE(terminator->Start());
  ASSERT_TRUE(worker.WaitForLine("reached 127.0.0.1", kPatience)) << worker.errors();
  ASSERT_TRUE(table.WaitForProgress(1, 0.6));
  table.coordinator().Kill();
  ASSERT_TRUE(table.Serve(kShortLease));
  table.ExpectExact(client, 17, 1);
  table.ExpectTheSameModelFromAfar(trusting);
  EXPECT_GT(terminator->Count("Exchange", 200), 0) << terminator->log();
  EXPECT_GT(terminator->Count("GetBlob", 200), 0) << terminator->log();
  EXPECT_GT(terminator->Count("PutResult", 200), 0) << terminator->log();
  EXPECT_GT(terminator->Count("PutBlob", 200), 0) << terminator->log();
}

TEST(ReachTest, JobsPassThroughNginx) {
  POTLUCK_NEEDS_TOOL("nginx");
  JobsPassThrough(&MakeNginx);
}

TEST(ReachTest, JobsPassThroughHaproxy) {
  POTLUCK_NEEDS_TOOL("haproxy");
  JobsPassThrough(&MakeHaproxy);
}

// A worker without work is silent as long as its calls are held, and no longer: so many of them are answered, one after
// the other, each sooner than the limit, that together they outlast it; then there is work.
void AnIdleWorkerOutlasts(MakeTerminator make, absl::Duration limit, absl::Duration hold) {
  Table table;
  const std::unique_ptr<Terminator> terminator = make(table, limit);
  ASSERT_TRUE(ServeBehind(table, *terminator, hold));
  Process& worker = table.Join("worker", kShortSlice, "scalar", Trusting(*terminator));
  const int calls = static_cast<int>(2 * limit / hold);
  ASSERT_TRUE(WaitUntil(
      "idle calls have outlasted the limit",
      [&] { return terminator->Count("Exchange", 200) > calls || worker.has_ended(); }, kPatience + 3 * limit));
  table.ExpectExact(table.Count(14, 1), 14, 1);
  EXPECT_EQ(terminator->Count("Exchange", 502) + terminator->Count("Exchange", 504), 0) << terminator->log();
  EXPECT_EQ(terminator->Count("Join", 200), 1) << terminator->log();
  EXPECT_FALSE(absl::StrContains(worker.errors(), "trying again")) << worker.errors();
}

constexpr absl::Duration kShortLimit = absl::Seconds(3);
constexpr absl::Duration kShortHold = absl::Seconds(1);

TEST(ReachTest, AnIdleWorkerOutlastsALimitOfNginxes) {
  POTLUCK_NEEDS_TOOL("nginx");
  AnIdleWorkerOutlasts(&MakeNginx, kShortLimit, kShortHold);
}

TEST(ReachTest, AnIdleWorkerOutlastsALimitOfHaproxys) {
  POTLUCK_NEEDS_TOOL("haproxy");
  AnIdleWorkerOutlasts(&MakeHaproxy, kShortLimit, kShortHold);
}

// With the limits that both have by themselves, and ours: two minutes of silence but for calls that are answered.
TEST(LongReachTest, AnIdleWorkerOutlastsNginxesOwnLimits) {
  POTLUCK_NEEDS_TOOL("nginx");
  AnIdleWorkerOutlasts(&MakeNginx, absl::Seconds(60), absl::Seconds(20));
}

TEST(LongReachTest, AnIdleWorkerOutlastsHaproxysOwnLimits) {
  POTLUCK_NEEDS_TOOL("haproxy");
  AnIdleWorkerOutlasts(&MakeHaproxy, absl::Seconds(60), absl::Seconds(20));
}

// The limit is there: a call that is held for longer is cut off. Nothing is lost by that.
void AWorkerThatIsCutOffComesBack(MakeTerminator make) {
  Table table;
  const std::unique_ptr<Terminator> terminator = make(table, absl::Seconds(1));
  ASSERT_TRUE(ServeBehind(table, *terminator, absl::Seconds(30)));
  Process& worker = table.Join("worker", kShortSlice, "scalar", Trusting(*terminator));
  ASSERT_TRUE(worker.WaitForLine("trying again", kPatience)) << worker.errors();
  EXPECT_TRUE(WaitUntil("it is logged", [&] { return terminator->Count("Exchange", 504) > 0; })) << terminator->log();
  table.ExpectExact(table.Count(16, 1), 16, 1);
}

TEST(ReachTest, AWorkerThatNginxCutsOffComesBack) {
  POTLUCK_NEEDS_TOOL("nginx");
  AWorkerThatIsCutOffComesBack(&MakeNginx);
}

TEST(ReachTest, AWorkerThatHaproxyCutsOffComesBack) {
  POTLUCK_NEEDS_TOOL("haproxy");
  AWorkerThatIsCutOffComesBack(&MakeHaproxy);
}

TEST(ReachTest, ATerminatorOfAnotherAuthorityOrNameIsRefused) {
  POTLUCK_NEEDS_TOOL("haproxy");
  Table table;
  const std::unique_ptr<Terminator> terminator = MakeHaproxy(table);
  ASSERT_TRUE(ServeBehind(table, *terminator, absl::Seconds(20)));
  Process& worker = table.Join("worker", kShortSlice, "scalar", {{"SSL_CERT_FILE", table.directory() + "/none.pem"}});
  EXPECT_EQ(worker.WaitForExit(kPatience), (Exit{.code = 5})) << worker.errors();
  EXPECT_THAT(worker.errors(), HasSubstr("SSL_CERT_FILE is " + table.directory() + "/none.pem"));
  const std::string other = table.directory() + "/state/certificate.pem";  // An authority, but not the right one.
  Process& another = table.Join("another", kShortSlice, "scalar", {{"SSL_CERT_FILE", other}});
  EXPECT_EQ(another.WaitForExit(kPatience), (Exit{.code = 5})) << another.errors();
  EXPECT_THAT(another.errors(), HasSubstr(absl::StrCat("the certificate of 127.0.0.1:", terminator->port())));
  // The right authority, but not for that name. Addresses in a join string may be edited.
  const std::string join = ReadAll(table.directory() + "/state/worker.join");
  Process& renamed = table.Run({"join", absl::StrReplaceAll(join, {{"127.0.0.1:", "localhost:"}}), "--device", "cpu"},
                               Trusting(*terminator));
  EXPECT_EQ(renamed.WaitForExit(kPatience), (Exit{.code = 5})) << renamed.errors();
  EXPECT_THAT(renamed.errors(), HasSubstr(absl::StrCat("the certificate of localhost:", terminator->port())));
}

// ---- An HTTP proxy

TEST(ReachTest, AJobPassesThroughAnHttpConnectProxy) {
  POTLUCK_NEEDS_TOOL("tinyproxy");
  Reach table;
  const int port = FreePort();
  // A way to write 127.0.0.1 that every resolver knows without asking, and that is not taken for this machine: to that
  // no proxy is used.
  table.SetServeFlags({"--public", absl::StrCat("0x7f000001:", table.port())});
  ASSERT_TRUE(table.Serve(kShortLease));
  const std::string conf = table.directory() + "/tinyproxy.conf";
  std::ofstream(conf) << "Port " << port << "\nListen 127.0.0.1\nTimeout 60\nMaxClients 100\nLogLevel Connect\n";
  const Tool tool = FindTool("tinyproxy");
  const auto start = [&] {
    Process& proxy = table.RunProgram(tool.path, {"-d", "-c", conf}, tool.environment);
    EXPECT_TRUE(WaitUntil("tinyproxy listens", [&] { return proxy.has_ended() || IsListening(port); }))
        << proxy.errors();
    return &proxy;
  };
  Process* proxy = start();
  const std::string url = absl::StrCat("http://127.0.0.1:", port);
  const Environment by_https = {{"https_proxy", url}, {"no_proxy", ""}, {"no_grpc_proxy", ""}};
  const Environment by_grpc = {{"grpc_proxy", url}, {"no_proxy", ""}, {"no_grpc_proxy", ""}};
  Process& worker = table.Join("worker", kShortSlice, "scalar", by_https);
  Process& victim = table.Join("victim", kShortSlice, "scalar", by_grpc);
  Process& client = table.CountFromAfar(17, 1, by_grpc);
  ASSERT_TRUE(table.WaitForProgress(1, 0.1));
  EXPECT_THAT(proxy->output() + proxy->errors(), HasSubstr(absl::StrCat("CONNECT 0x7f000001:", table.port())));
  ASSERT_TRUE(victim.Signal(SIGKILL));
  table.Join("victim again", kShortSlice, "scalar", by_grpc);
  ASSERT_TRUE(table.WaitForProgress(1, 0.3));
  KillAll(*proxy);
  ASSERT_TRUE(worker.WaitForLine("trying again", kPatience)) << worker.errors();
  proxy = start();
  ASSERT_TRUE(worker.WaitForLine("reached 0x7f000001", kPatience)) << worker.errors();
  table.ExpectExact(client, 17, 1);
  table.ExpectTheSameModelFromAfar(by_https);
}

// ---- Several addresses

bool HasIpv6Loopback() {
  const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  const bool has = fd >= 0 && bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  if (fd >= 0) close(fd);
  return has;
}

TEST(ReachTest, PublicAddressesAreTriedInTurnAnIpv6OneAmongThem) {
  if (!HasIpv6Loopback()) GTEST_SKIP() << "this machine has no IPv6 loopback address";
  Reach table;
  const int nobody = FreePort();
  Process& coordinator =
      table.Run({"serve", "--state", table.directory() + "/state", "--listen", absl::StrCat("[::1]:", table.port()),
                 "--public", absl::StrCat("127.0.0.1:", nobody, ",[::1]:", table.port())});
  ASSERT_TRUE(coordinator.WaitForLine("potluck://")) << coordinator.errors();
  EXPECT_EQ(ParseJoinString(coordinator.output())->addresses.size(), 2u);
  Process& worker = table.Join("worker");
  ASSERT_TRUE(worker.WaitForLine(absl::StrCat("joined the table of [::1]:", table.port()), kPatience))
      << worker.errors();
  EXPECT_THAT(worker.errors(), HasSubstr(absl::StrCat("127.0.0.1:", nobody, " cannot be reached")));
  Process& client = table.Run({"nqueens", "12", "--json", "--coordinator", table.Admin()});
  EXPECT_EQ(client.WaitForExit(kPatience), Exit{}) << client.errors();
  EXPECT_THAT(client.output(), HasSubstr("\"14200\""));
  // Killed and started again, it is found again.
  coordinator.Kill();
  ASSERT_TRUE(worker.WaitForLine("trying again", kPatience)) << worker.errors();
  Process& again =
      table.Run({"serve", "--state", table.directory() + "/state", "--listen", absl::StrCat("[::1]:", table.port())});
  ASSERT_TRUE(again.WaitForLine("potluck://")) << again.errors();
  ASSERT_TRUE(worker.WaitForLine(absl::StrCat("back at the table of [::1]:", table.port()), kPatience))
      << worker.errors();
}

}  // namespace
}  // namespace potluck::end_to_end
