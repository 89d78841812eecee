// What stands between a worker and its coordinator, as people use it: forwarders, terminators of TLS, HTTP proxies.
// Real programs (setup.sh --ci fetches them), on loopback, with their files in the table's directory.
//
// They are processes of the table and end with it. Not thread-safe.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/end_to_end/process.h"
#include "tests/end_to_end/table.h"

namespace potluck::end_to_end {

// A program and the environment that it needs; `path` is empty if it is not installed.
struct Tool {
  std::string path;
  std::map<std::string, std::string> environment;
};
// Where setup.sh --ci puts it, else where it is installed.
Tool FindTool(const std::string& name);

// Skips the test, saying why, where `name` is not installed.
#define POTLUCK_NEEDS_TOOL(name) \
  if (potluck::end_to_end::FindTool(name).path.empty()) GTEST_SKIP() << name << " is not here: deploy/setup.sh --ci"

// Files in PEM.
struct Certificates {
  std::string authority;   // To be trusted.
  std::string chain, key;  // For 127.0.0.1, signed by it.
  std::string both;        // The two in one file.
};
// Made by openssl; empty names if that failed, and the test has failed then.
Certificates MakeCertificates(Table& table);

// What ends TLS before a coordinator.
class Terminator {
 public:
  virtual ~Terminator() = default;
  // Listens on the same port each time. True once it does.
  virtual bool Start() = 0;
  // How many calls of `method` ended with this HTTP status, as its log has it.
  virtual int Count(const std::string& method, int status) const = 0;
  // All calls.
  virtual std::string log() const = 0;

  int port() const { return port_; }
  const std::string& authority() const { return certificates_.authority; }
  Process& process() { return *process_; }

 protected:
  Terminator(Table& table, absl::Duration idle_limit);

  Table& table_;
  const absl::Duration idle_limit_;  // What is silent for longer is cut off.
  const int port_;
  const Certificates certificates_;
  Process* process_ = nullptr;
};

// nginx by deploy/reach/nginx.conf, haproxy by deploy/reach/haproxy.cfg, with other limits and names put in. 60 s are
// what they have by themselves.
std::unique_ptr<Terminator> MakeNginx(Table& table, absl::Duration idle_limit = absl::Seconds(60));
std::unique_ptr<Terminator> MakeHaproxy(Table& table, absl::Duration idle_limit = absl::Seconds(60));

// Whether somebody listens there.
bool IsListening(int port);

}  // namespace potluck::end_to_end
