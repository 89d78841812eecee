// `potluck report`: what the coordinator has kept, looked at from afar.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "cli/availability.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/output.h"
#include "cli/output_file.h"

namespace potluck {
namespace {

absl::StatusOr<Presence> ReadPresence(Client& client, absl::Duration days) {
  Presence presence;
  v1::SessionsRequest request;
  // The computers' clocks may differ: the coordinator's own tells what is too old.
  request.set_since_unix_ms(std::max<int64_t>(1, absl::ToUnixMillis(absl::Now() - days - absl::Hours(24))));
  do {
    v1::SessionsReply reply;
    const absl::Status status = client.Call(&v1::Jobs::StubInterface::Sessions, request, &reply);
    if (absl::IsUnimplemented(status)) {
      return absl::UnimplementedError("the coordinator is of an older version, which does not keep sessions");
    }
    if (!status.ok()) return status;
    for (const v1::SessionStatus& session : reply.sessions()) presence.stays.push_back(session);
    for (const v1::TimeSpan& span : reply.ran()) {
      presence.ran.push_back({absl::FromUnixMillis(span.from_unix_ms()), absl::FromUnixMillis(span.to_unix_ms())});
    }
    presence.now = absl::FromUnixMillis(reply.now_unix_ms());
    // A coordinator that does not count up would be asked for ever.
    if (reply.next() != 0 && reply.next() <= request.after()) {
      return absl::DataLossError("the coordinator's pages of sessions do not end");
    }
    request.set_after(reply.next());
  } while (request.after() != 0);
  return presence;
}

LaneOf LaneNamed(const std::string& name) {
  return name == "name"    ? LaneOf::kName
         : name == "token" ? LaneOf::kToken
         : name == "place" ? LaneOf::kPlace
                           : LaneOf::kInstallation;
}

int ReportAvailability(const Args& args) {
  Arguments arguments("report availability",
                      "Shows how long workers stayed, how long they were gone, and who was refused a GPU.");
  CoordinatorFlags flags;
  int days = 30;
  std::string svg_path, by = "installation";
  flags.Declare(arguments);
  arguments.Flag("--since", "DAYS", WholeNumber(&days, 1, 400), "how far back to look, in days", "30");
  arguments.Flag("--by", "WHAT", OneOf(&by, {"installation", "name", "token", "place"}),
                 "what makes one line; a notebook that loses its disk is a new installation each time", "installation");
  arguments.Flag("--svg", "FILE", Text(&svg_path), "draw it over time into this file too", "no picture");
  if (const std::optional<int> code = flags.Read(arguments, args)) return *code;
  std::unique_ptr<OutputFile> svg;
  if (!svg_path.empty()) {
    absl::StatusOr<std::unique_ptr<OutputFile>> file = OutputFile::Create(svg_path);
    if (!file.ok()) return FailLocally(file.status());
    svg = *std::move(file);
  }
  Client client(flags.join);
  const absl::StatusOr<Presence> presence = ReadPresence(client, absl::Hours(24) * days);
  if (!presence.ok()) return Fail(presence.status());
  const Availability availability = FindAvailability(*presence, presence->now - absl::Hours(24) * days, LaneNamed(by));
  std::fputs((flags.json ? AvailabilityJson(availability) : AvailabilityText(availability)).c_str(), stdout);
  if (svg == nullptr) return kExitOk;
  FlushOutput().IgnoreError();  // Before what follows on standard error; main() tells.
  absl::Status written = svg->Write(AvailabilitySvg(availability));
  if (written.ok()) written = svg->Finish();
  return written.ok() ? kExitOk : FailLocally(written);
}

}  // namespace

int RunReport(const Args& args) {
  return RunCommand("report", {{"availability", "how long workers stayed and were gone", ReportAvailability}}, args);
}

}  // namespace potluck
