#include "cli/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <utility>

#include <nlohmann/json.hpp>

#include "cli/output.h"

namespace potluck {
namespace {

class SpdLog final : public Log {
 public:
  SpdLog(std::shared_ptr<spdlog::logger> logger, bool json) : logger_(std::move(logger)), json_(json) {}

  void Info(const std::string& sentence) override { Write(spdlog::level::info, sentence); }
  void Warning(const std::string& sentence) override { Write(spdlog::level::warn, sentence); }

 private:
  void Write(spdlog::level::level_enum level, const std::string& sentence) {
    const std::string text = Printable(sentence);
    // The pattern stands around the message; in JSON the message brings its own quotes.
    logger_->log(level, "{}", json_ ? nlohmann::json(text).dump() : text);
  }

  const std::shared_ptr<spdlog::logger> logger_;
  const bool json_;
};

}  // namespace

std::shared_ptr<Log> Log::Create(const LogOptions& options) {
  const bool json = options.format == "json";
  auto logger = std::make_shared<spdlog::logger>("potluck", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern(
      json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","message":%v})" : "%Y-%m-%dT%H:%M:%S.%eZ %l: %v",
      spdlog::pattern_time_type::utc);
  logger->set_level(spdlog::level::from_str(options.level));
  return std::make_shared<SpdLog>(std::move(logger), json);
}

}  // namespace potluck
