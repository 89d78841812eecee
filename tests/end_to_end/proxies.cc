#include "tests/end_to_end/proxies.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "tests/end_to_end/forwarder.h"

namespace potluck::end_to_end {
namespace {

namespace fs = std::filesystem;

bool IsProgram(const std::string& path) { return access(path.c_str(), X_OK) == 0 && !fs::is_directory(path); }

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void WriteText(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

// A file of the project with some of its words replaced; each has to be there.
std::string Adapt(const std::string& file, const std::vector<std::pair<std::string, std::string>>& replaced) {
  std::string text = ReadText(absl::StrCat(POTLUCK_SOURCE, "/", file));
  EXPECT_NE(text, "") << file;
  for (const auto& [from, to] : replaced) {
    EXPECT_TRUE(absl::StrContains(text, from)) << file << " does not have " << from;
    text = absl::StrReplaceAll(text, {{from, to}});
  }
  return text;
}

// Both write lines of "STATUS /potluck.v1.Service/Method".
int CountLines(const std::string& log, const std::string& method, int status) {
  int count = 0;
  for (const absl::string_view line : absl::StrSplit(log, '\n')) {
    count += absl::StartsWith(line, absl::StrCat(status, " ")) && absl::EndsWith(line, "/" + method) ? 1 : 0;
  }
  return count;
}

class Nginx final : public Terminator {
 public:
  Nginx(Table& table, absl::Duration idle_limit) : Terminator(table, idle_limit) {}

  bool Start() override {
    const std::string server =
        Adapt("deploy/reach/nginx.conf", {{"listen 443", absl::StrCat("listen 127.0.0.1:", port_)},
                                          {"server_name my.host.example", "server_name localhost"},
                                          {"/etc/letsencrypt/live/my.host.example/fullchain.pem", certificates_.chain},
                                          {"/etc/letsencrypt/live/my.host.example/privkey.pem", certificates_.key},
                                          {"127.0.0.1:4242", absl::StrCat("127.0.0.1:", table_.port())},
                                          {"/home/me/potluck", table_.directory() + "/state"}});
    std::string limits;
    if (idle_limit_ != absl::Seconds(60)) {
      for (const char* name :
           {"grpc_read_timeout", "grpc_send_timeout", "client_body_timeout", "send_timeout", "keepalive_timeout"}) {
        absl::StrAppend(&limits, "  ", name, " ", absl::ToInt64Milliseconds(idle_limit_), "ms;\n");
      }
    }
    std::string folders;
    for (const char* name : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"}) {
      absl::StrAppend(&folders, "  ", name, "_temp_path ", table_.directory(), "/nginx-", name, ";\n");
    }
    const std::string conf = table_.directory() + "/nginx.conf";
    // One process: the table ends it, whatever becomes of the test.
    WriteText(conf, absl::StrCat("daemon off;\nmaster_process off;\npid ", table_.directory(),
                                 "/nginx.pid;\nerror_log stderr warn;\nevents {}\nhttp {\n", folders, limits,
                                 "  log_format lines '$status $uri';\n  access_log ", log_file(), " lines;\n", server,
                                 "}\n"));
    const Tool tool = FindTool("nginx");
    process_ = &table_.RunProgram(tool.path, {"-e", "stderr", "-p", table_.directory(), "-c", conf}, tool.environment);
    return WaitUntil("nginx listens", [this] { return process_->has_ended() || IsListening(port_); }) &&
           !process_->has_ended();
  }

  int Count(const std::string& method, int status) const override { return CountLines(log(), method, status); }
  std::string log() const override { return ReadText(log_file()); }

 private:
  std::string log_file() const { return table_.directory() + "/nginx-access.log"; }
};

class Haproxy final : public Terminator {
 public:
  Haproxy(Table& table, absl::Duration idle_limit) : Terminator(table, idle_limit) {}

  bool Start() override {
    const std::string limit = absl::StrCat(absl::ToInt64Milliseconds(idle_limit_), "ms");
    const std::string text =
        Adapt("deploy/reach/haproxy.cfg",
              {{"defaults\n", "defaults\n  log stdout format raw local0\n  log-format \"%ST %HP\"\n"},
               {"client 60s", "client " + limit},
               {"server 60s", "server " + limit},
               {"bind :443", absl::StrCat("bind 127.0.0.1:", port_)},
               {"/etc/haproxy/my.host.example.pem", certificates_.both},
               {"127.0.0.1:4242", absl::StrCat("127.0.0.1:", table_.port())},
               {"/home/me/potluck", table_.directory() + "/state"}});
    const std::string conf = table_.directory() + "/haproxy.cfg";
    WriteText(conf, text);
    const Tool tool = FindTool("haproxy");
    if (process_ != nullptr) earlier_ += process_->output();
    process_ = &table_.RunProgram(tool.path, {"-db", "-f", conf}, tool.environment);
    return WaitUntil("haproxy listens", [this] { return process_->has_ended() || IsListening(port_); }) &&
           !process_->has_ended();
  }

  int Count(const std::string& method, int status) const override { return CountLines(log(), method, status); }
  std::string log() const override { return earlier_ + process_->output(); }

 private:
  std::string earlier_;  // What it wrote before it was started again.
};

}  // namespace

Tool FindTool(const std::string& name) {
  const std::string unpacked = POTLUCK_SOURCE "/build/proxies";
  for (const char* folder : {"/usr/sbin/", "/usr/bin/"}) {
    const std::string path = absl::StrCat(unpacked, folder, name);
    if (!IsProgram(path)) continue;
    Tool tool{path, {}};
    std::string& libraries = tool.environment["LD_LIBRARY_PATH"];
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(unpacked + "/usr/lib", ignored)) {
      if (entry.is_directory()) absl::StrAppend(&libraries, libraries.empty() ? "" : ":", entry.path().string());
    }
    return tool;
  }
  const char* path = std::getenv("PATH");
  for (const absl::string_view folder : absl::StrSplit(absl::StrCat(path == nullptr ? "" : path, ":/usr/sbin"), ':')) {
    const std::string file = absl::StrCat(folder, "/", name);
    if (!folder.empty() && IsProgram(file)) return {file, {}};
  }
  return {};
}

Certificates MakeCertificates(Table& table) {
  const std::string base = table.directory() + "/terminator-";
  const Certificates made{base + "ca.pem", base + "chain.pem", base + "key.pem", base + "both.pem"};
  const std::string authority_key = base + "ca-key.pem";
  const std::vector<std::string> common = {"req",    "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                                           "-nodes", "-days", "2"};
  const auto openssl = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = common;
    arguments.insert(arguments.end(), more.begin(), more.end());
    Process& process = table.RunProgram(FindTool("openssl").path, arguments);
    const bool is_done = process.WaitForExit(kPatience) == Exit{};
    EXPECT_TRUE(is_done) << process.errors();
    return is_done;
  };
  if (!openssl({"-subj", "/CN=authority of a test", "-keyout", authority_key, "-out", made.authority}) ||
      !openssl({"-subj", "/CN=terminator", "-addext", "subjectAltName=DNS:terminator.example,IP:127.0.0.1", "-addext",
                "basicConstraints=critical,CA:FALSE", "-CA", made.authority, "-CAkey", authority_key, "-keyout",
                made.key, "-out", made.chain})) {
    return {};
  }
  WriteText(made.both, ReadText(made.chain) + ReadText(made.key));
  return made;
}

Terminator::Terminator(Table& table, absl::Duration idle_limit)
    : table_(table), idle_limit_(idle_limit), port_(FreePort()), certificates_(MakeCertificates(table)) {}

std::unique_ptr<Terminator> MakeNginx(Table& table, absl::Duration idle_limit) {
  return std::make_unique<Nginx>(table, idle_limit);
}

std::unique_ptr<Terminator> MakeHaproxy(Table& table, absl::Duration idle_limit) {
  return std::make_unique<Haproxy>(table, idle_limit);
}

bool IsListening(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<in_port_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool is_up = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return is_up;
}

}  // namespace potluck::end_to_end
