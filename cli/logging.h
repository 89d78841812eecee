// A coordinator's log on standard error, for people or for programs. Thread-safe.
#pragma once

#include <memory>
#include <string>

namespace potluck {

struct LogOptions {
  std::string format = "text";  // text or json (one object a line)
  std::string level = "info";   // info, warning or error
};

class Log {
 public:
  static std::shared_ptr<Log> Create(const LogOptions& options);
  virtual ~Log() = default;

  // One sentence. Control characters, which may come from outside, are replaced.
  virtual void Info(const std::string& sentence) = 0;
  virtual void Warning(const std::string& sentence) = 0;
};

}  // namespace potluck
