#include "coordinator/bundle.h"

#include <poll.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "coordinator/front_testing.h"
#include "gtest/gtest.h"

namespace potluck {
namespace {

constexpr char kHttp[] = "\x08http/1.1";
const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

// A wheel as far as this looks: begins like a zip and names what it must hold. No two places of it look alike.
std::string FakeWheel(size_t size) {
  std::string bytes = "PK potluck/bin/potluck ";
  uint32_t state = 1;
  while (bytes.size() < size) {
    state = state * 1664525 + 1013904223;
    bytes.push_back(static_cast<char>(state >> 24));
  }
  return bytes;
}

class Folder {
 public:
  Folder() : path_(absl::StrCat(testing::TempDir(), "/bundle_", getpid(), "_", ++count_)) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }

  Folder& Add(const std::string& name, const std::string& bytes = FakeWheel(100)) {
    std::ofstream(absl::StrCat(path_, "/", name), std::ios::binary) << bytes;
    return *this;
  }
  const std::string& path() const { return path_; }

 private:
  static inline int count_ = 0;
  const std::string path_;
};

std::string WheelOf(const std::string& version) {
  return absl::StrCat("potluck-", version, "-py3-none-manylinux_2_35_x86_64.whl");
}

std::string Complaint(const std::string& directory) {
  return std::string(LoadBundle(directory, "0.1.0").status().message());
}

TEST(BundleTest, TheFolderHoldsExactlyOneWheelOfThisVersion) {
  Folder folder;
  folder.Add("notes.txt").Add("other-0.1.0-py3-none-any.whl").Add(WheelOf("0.1.0"));
  const absl::StatusOr<Bundle> bundle = LoadBundle(folder.path(), "0.1.0");
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  EXPECT_EQ(bundle->version, "0.1.0");
  EXPECT_EQ(bundle->file, WheelOf("0.1.0"));
  EXPECT_EQ(*bundle->bytes, FakeWheel(100));
  EXPECT_EQ(bundle->digest, Sha256(FakeWheel(100)));

  folder.Add(WheelOf("0.2.0"));
  EXPECT_EQ(
      Complaint(folder.path()),
      absl::StrCat("the bundle's folder ", folder.path(), " holds 2 wheels (", WheelOf("0.1.0"), ", ", WheelOf("0.2.0"),
                   "); it must hold one, potluck-0.1.0-....whl, as deploy/package.sh makes it"));
}

TEST(BundleTest, AFolderWithoutItSaysWhatIsThereInstead) {
  Folder empty, other, broken;
  EXPECT_EQ(Complaint(empty.path()),
            absl::StrCat("the bundle's folder ", empty.path(),
                         " holds no wheel; it must hold one, potluck-0.1.0-....whl, as deploy/package.sh makes it"));
  EXPECT_TRUE(absl::StrContains(Complaint("/no/such/folder"), "holds no wheel"));
  other.Add(WheelOf("0.2.0"));
  EXPECT_TRUE(absl::StrContains(Complaint(other.path()), "and this coordinator is of version 0.1.0"));
  broken.Add(WheelOf("0.1.0"), "PK but no program");
  EXPECT_TRUE(absl::EndsWith(Complaint(broken.path()),
                             "is no worker bundle, it lacks potluck/bin/potluck: make it by deploy/package.sh"))
      << Complaint(broken.path());
}

TEST(BundleTest, TheOneOfThisVersionIsFoundAmongSeveral) {
  Folder first, second;
  first.Add(WheelOf("0.0.9"));
  second.Add(WheelOf("0.0.9")).Add(WheelOf("0.1.0")).Add(WheelOf("0.2.0"));
  const absl::StatusOr<Bundle> bundle = FindBundle({"/no/such/folder", first.path(), second.path()}, "0.1.0");
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  EXPECT_EQ(bundle->file, WheelOf("0.1.0"));
  EXPECT_TRUE(absl::IsNotFound(FindBundle({first.path()}, "0.1.0").status()));
}

// A front door behind which a bundle of `size` bytes is handed out.
class BundleTable {
 public:
  explicit BundleTable(size_t size, absl::Duration step_deadline = absl::Seconds(15)) {
    bundle_ = {"0.1.0", WheelOf("0.1.0"), "", std::make_shared<const std::string>(FakeWheel(size))};
    bundle_.digest = Sha256(*bundle_.bytes);
    WebServerOptions web;
    web.step_deadline = step_deadline;
    web.route = [this](const WebRequest& request) {
      return AnswerBundle(request, has_bundle_ ? &bundle_ : nullptr, tokens_, kNow);
    };
    coordinator_ = std::make_unique<EchoCoordinator>(FrontDoorOptions(), absl::Now(), std::move(web));
  }

  std::string NewToken(Role role = Role::kWorker, absl::Duration lifetime = absl::Hours(1), absl::Time made = kNow) {
    return tokens_.Create(absl::StrCat("t", ++made_), role, lifetime, made)->secret;
  }
  std::string Request(const std::string& path, const std::string& token, const std::string& more = "",
                      const std::string& method = "GET") {
    return absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n",
                        token.empty() ? "" : absl::StrCat("Authorization: Bearer ", token, "\r\n"), more, "\r\n");
  }
  std::string Ask(const std::string& request) { return TlsClient(port(), kHttp).Ask(request); }

  int port() const { return coordinator_->door().port(); }
  std::string wheel_path() const { return absl::StrCat("/bundle/", HexDigest(bundle_.digest)); }
  const Bundle& bundle() const { return bundle_; }
  void TakeAway() { has_bundle_ = false; }
  Tokens& tokens() { return tokens_; }

 private:
  Bundle bundle_;
  bool has_bundle_ = true;
  int made_ = 0;
  Tokens tokens_;
  std::unique_ptr<EchoCoordinator> coordinator_;
};

std::string Body(const std::string& answer) { return answer.substr(answer.find("\r\n\r\n") + 4); }
std::string Head(const std::string& answer) { return answer.substr(0, answer.find("\r\n\r\n") + 2); }

TEST(BundleTest, AnyValidTokenLearnsWhatTheBundleIsAndGetsIt) {
  BundleTable table(300'000);
  for (const Role role : {Role::kWorker, Role::kViewer, Role::kAdmin}) {
    const std::string token = table.NewToken(role);
    const std::string answer = table.Ask(table.Request("/bundle", token));
    EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 200 OK\r\n")) << answer;
    EXPECT_TRUE(absl::StrContains(Head(answer), "Content-Type: application/json\r\n")) << answer;
    EXPECT_TRUE(absl::StrContains(Head(answer), "Potluck: 0.1.0\r\n")) << answer;
    const nlohmann::json json = nlohmann::json::parse(Body(answer));
    EXPECT_EQ(json["version"], "0.1.0");
    EXPECT_EQ(json["file"], WheelOf("0.1.0"));
    EXPECT_EQ(json["size"], 300'000);
    EXPECT_EQ(json["sha256"], HexDigest(table.bundle().digest));
    const std::string wheel = table.Ask(table.Request(table.wheel_path(), token));
    EXPECT_TRUE(absl::StrContains(Head(wheel), "Content-Length: 300000\r\n")) << Head(wheel);
    EXPECT_EQ(Sha256(Body(wheel)), table.bundle().digest);
    EXPECT_EQ(Body(table.Ask(table.Request("/bundle/cell.py", token))), CellProgram());
  }
}

TEST(BundleTest, NobodyElseDoesAndIsToldWhy) {
  BundleTable table(100);
  const std::string expired = table.NewToken(Role::kWorker, absl::Hours(1), kNow - absl::Hours(2));
  const std::string revoked = table.NewToken();
  ASSERT_TRUE(table.tokens().Revoke(TokenId{2}, kNow).ok());
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "This needs a join string's token"},
      {"unknown-token-of-the-tests",
       "does not know the join string's token; ask whoever runs it for a new join string"},
      {expired, "expired at"},
      {revoked, "revoked"}};
  for (const auto& [token, sentence] : cases) {
    for (const std::string& path :
         {std::string("/bundle"), table.wheel_path(), std::string("/bundle/cell.py"), std::string("/bundle/x")}) {
      const std::string answer = table.Ask(table.Request(path, token));
      EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 401 Unauthorized\r\n")) << answer;
      EXPECT_TRUE(absl::StrContains(Body(answer), sentence)) << answer;
      EXPECT_TRUE(token.empty() || !absl::StrContains(answer, token)) << "a token in an answer";
    }
  }
}

TEST(BundleTest, WhatIsNotThereIsSaid) {
  BundleTable table(100);
  const std::string token = table.NewToken();
  const std::string other = table.Ask(table.Request("/bundle/" + std::string(64, '0'), token));
  EXPECT_TRUE(absl::StartsWith(other, "HTTP/1.1 404 Not Found\r\n")) << other;
  EXPECT_EQ(Body(other), "this coordinator has another bundle than was asked for: ask for /bundle again\n");
  EXPECT_TRUE(
      absl::StartsWith(table.Ask(table.Request("/bundle", token, "Content-Length: 0\r\n", "POST")), "HTTP/1.1 405 "));
  table.TakeAway();
  const std::string none = table.Ask(table.Request("/bundle", token));
  EXPECT_TRUE(absl::StartsWith(none, "HTTP/1.1 404 Not Found\r\n")) << none;
  EXPECT_TRUE(absl::StartsWith(Body(none), "this coordinator has no worker bundle: ")) << none;
}

TEST(BundleTest, ADownloadIsTakenUpWhereItWasBrokenOff) {
  BundleTable table(200'000);
  const std::string token = table.NewToken();
  const std::string& bytes = *table.bundle().bytes;
  const auto ask = [&](const std::string& range) {
    return table.Ask(table.Request(table.wheel_path(), token, absl::StrCat("Range: ", range, "\r\n")));
  };
  const std::string rest = ask("bytes=150000-");
  EXPECT_TRUE(absl::StartsWith(rest, "HTTP/1.1 206 Partial Content\r\n")) << Head(rest);
  EXPECT_TRUE(absl::StrContains(Head(rest), "Content-Range: bytes 150000-199999/200000\r\n")) << Head(rest);
  EXPECT_EQ(Body(rest), bytes.substr(150'000));
  EXPECT_EQ(Body(ask("bytes=0-")), bytes);
  EXPECT_EQ(Body(ask("bytes=5-9")), bytes.substr(5, 5));
  EXPECT_EQ(Body(ask("bytes=199999-999999999")), bytes.substr(199'999));
  const std::string beyond = ask("bytes=200000-");
  EXPECT_TRUE(absl::StartsWith(beyond, "HTTP/1.1 416 ")) << Head(beyond);
  EXPECT_TRUE(absl::StrContains(Head(beyond), "Content-Range: bytes */200000\r\n")) << Head(beyond);
  EXPECT_EQ(Body(beyond), "");
  // What is not understood is passed over.
  for (const char* range : {"bytes=-5", "bytes=9-5", "bytes=0-1,3-4", "bytes=x-", "lines=1-"}) {
    const std::string whole = ask(range);
    EXPECT_TRUE(absl::StartsWith(whole, "HTTP/1.1 200 OK\r\n")) << range;
    EXPECT_EQ(Body(whole), bytes) << range;
  }
  const std::string head = table.Ask(table.Request(table.wheel_path(), token, "", "HEAD"));
  EXPECT_TRUE(absl::StrContains(Head(head), "Content-Length: 200000\r\n")) << head;
  EXPECT_TRUE(absl::StrContains(Head(head), "Accept-Ranges: bytes\r\n")) << head;
  EXPECT_EQ(Body(head), "");
}

// Kilobytes of memory that are this process's own.
int64_t ResidentKilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    int64_t kilobytes = 0;
    if (absl::StartsWith(line, "VmRSS:") && std::sscanf(line.c_str(), "VmRSS: %ld", &kilobytes) == 1) return kilobytes;
  }
  return 0;
}

TEST(BundleTest, ManyDownloadsAtOnceShareOneCopy) {
  constexpr size_t kSize = 30'000'000;
  BundleTable table(kSize);
  const std::string token = table.NewToken();
  const std::string request = table.Request(table.wheel_path(), token);
  constexpr int kClients = 12;
  std::vector<std::unique_ptr<TlsClient>> clients;
  std::vector<std::string> beginnings(kClients);
  const int64_t before = ResidentKilobytes();
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<TlsClient>(table.port(), kHttp));
    clients[i]->Send(request);
    ASSERT_TRUE(clients[i]->Receive(beginnings[i]));
  }
#ifndef __SANITIZE_ADDRESS__
  // All are served now. Copies would be 30 MB each.
  EXPECT_LT(ResidentKilobytes() - before, 30'000);
#endif
  std::vector<std::thread> threads;
  std::vector<std::string> digests(kClients);
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] {
      Sha256Stream stream;
      std::string piece = Body(beginnings[i]);
      do {
        stream.Add(piece);
        piece.clear();
      } while (clients[i]->Receive(piece));
      digests[i] = stream.Digest();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& digest : digests) EXPECT_EQ(HexDigest(digest), HexDigest(table.bundle().digest));
}

TEST(BundleTest, AClientThatTakesNothingMoreIsLetGo) {
  BundleTable table(8'000'000, absl::Milliseconds(200));
  TlsClient client(table.port(), kHttp, TLS1_3_VERSION, 8192);
  client.Send(table.Request(table.wheel_path(), table.NewToken()));
  pollfd state{client.fd(), POLLRDHUP, 0};
  ASSERT_EQ(poll(&state, 1, 20'000), 1) << "the server holds on to it";
  EXPECT_NE(state.revents & (POLLRDHUP | POLLHUP | POLLERR), 0);
}

TEST(BundleTest, ASlowDownloadThatMovesIsNotBrokenOff) {
  // The deadline passes several times between the first byte and the last, and never once without a byte taken.
  constexpr size_t kSize = 400'000;
  BundleTable table(kSize, absl::Seconds(1));
  TlsClient client(table.port(), kHttp, TLS1_3_VERSION, 4096);
  client.Send(table.Request(table.wheel_path(), table.NewToken()));
  std::string answer;
  while (client.Receive(answer)) {
    poll(nullptr, 0, 30);  // A slow line.
  }
  EXPECT_EQ(Body(answer).size(), kSize);
}

}  // namespace
}  // namespace potluck
