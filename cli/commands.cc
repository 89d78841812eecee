#include "cli/commands.h"

#include <cstdio>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/client.h"
#include "cli/exit_code.h"
#include "cli/output.h"
#include "cli/suggest.h"
#include "kernels/workload/registry.h"

namespace potluck {
namespace {

std::string Prefix(const std::string& group) { return group.empty() ? "potluck" : absl::StrCat("potluck ", group); }

void PrintHelp(const std::string& group, const std::vector<Command>& commands) {
  std::vector<std::vector<std::string>> rows;
  for (const Command& command : commands) rows.push_back({absl::StrCat("  ", command.name), command.summary});
  std::printf("%s COMMAND [ARGUMENT...]\n\n%s\n`%s COMMAND --help` says what a command takes.\n", Prefix(group).c_str(),
              Table(rows).c_str(), Prefix(group).c_str());
  if (!group.empty()) return;
  std::printf(
      "\nExit codes: 0 done; 1 failed; 2 a command, flag or value that is not allowed; 3 the coordinator cannot be\n"
      "reached; 4 no protocol version in common with it; 5 it refuses the token, its role or the key; 6 this\n"
      "platform's rules must be confirmed (`potluck join --confirm-platform-rules`); 130 interrupted.\n");
}

}  // namespace

int RunCommand(const std::string& group, const std::vector<Command>& commands, const Args& args) {
  std::vector<std::string> known;
  for (const Command& command : commands) known.push_back(command.name);
  const auto missing = [&](const std::string& instead) {
    return FailUsage(absl::InvalidArgumentError(absl::StrCat("the command after `", Prefix(group), "` is missing",
                                                             instead, "; allowed is ", absl::StrJoin(known, ", "),
                                                             " (`", Prefix(group), " --help` lists them)")));
  };
  if (args.empty()) return missing("");
  if (args[0] == "--help" || args[0] == "-h" || args[0] == "help") {
    PrintHelp(group, commands);
    return kExitOk;
  }
  for (const Command& command : commands) {
    if (command.name == args[0]) return command.run(Args(args.begin() + 1, args.end()));
  }
  if (absl::StartsWith(args[0], "-")) return missing(absl::StrCat(", where \"", Printable(args[0]), "\" stands"));
  return FailUsage(absl::InvalidArgumentError(absl::StrCat("\"", Printable(args[0]), "\" is not a command of `",
                                                           Prefix(group), "`; the nearest is ", Nearest(args[0], known),
                                                           " (`", Prefix(group), " --help` lists them)")));
}

void CoordinatorFlags::Declare(Arguments& arguments) {
  arguments.Flag("--coordinator", "X", JoinStringText(&coordinator_), "the coordinator",
                 "the environment's POTLUCK_COORDINATOR");
  arguments.Switch("--json", &json, "one JSON object on standard output");
}

std::optional<int> CoordinatorFlags::Read(Arguments& arguments, const Args& args) {
  if (const std::optional<int> code = arguments.Read(args)) return code;
  absl::StatusOr<JoinString> loaded = LoadCoordinator(coordinator_);
  if (!loaded.ok()) return FailUsage(loaded.status());
  join = *std::move(loaded);
  return std::nullopt;
}

ValueReader JoinStringText(std::string* out) {
  return {"a join string, a file that holds one, or - for standard input", Text(out).read};
}

ValueReader DispatchName(std::string* out) {
  std::vector<std::string> names = DispatchNames();
  names.insert(names.begin(), "auto");
  return OneOf(out, std::move(names));
}

void PrintJson(const nlohmann::ordered_json& json) {
  // What is not UTF-8 is replaced: a name must not make the output fail.
  std::printf("%s\n", json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

}  // namespace potluck
