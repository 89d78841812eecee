// `potluck token`: who may join, look and command.
#include <cstdio>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/job_output.h"
#include "cli/output.h"

namespace potluck {
namespace {

using Stub = v1::Jobs::StubInterface;

v1::TokenRole RoleOf(const std::string& name) {
  return name == "admin"    ? v1::TOKEN_ROLE_ADMIN
         : name == "viewer" ? v1::TOKEN_ROLE_VIEWER
         : name == "worker" ? v1::TOKEN_ROLE_WORKER
                            : v1::TOKEN_ROLE_UNSPECIFIED;
}

int Create(const Args& args) {
  Arguments arguments("token create", "Makes a token and prints its join string, once: only a hash of it is kept.");
  CoordinatorFlags flags;
  std::string role, name;
  std::optional<absl::Duration> lifetime;
  arguments.RequiredFlag("--role", "ROLE", OneOf(&role, {"worker", "viewer", "admin"}),
                         "what its holder may: join; look; everything");
  arguments.RequiredFlag("--name", "N", {"1 to 64 characters", Text(&name).read}, "the token's name, for people");
  arguments.Flag("--lifetime", "TIME", TimeSpan(&lifetime), "how long it lets in", "for ever");
  flags.Declare(arguments);
  if (const std::optional<int> code = flags.Read(arguments, args)) return *code;

  v1::CreateTokenRequest request;
  request.set_name(name);
  request.set_role(RoleOf(role));
  if (lifetime) request.set_lifetime_seconds(static_cast<uint64_t>(absl::ToInt64Seconds(*lifetime)));
  v1::CreateTokenReply reply;
  if (absl::Status status = Client(flags.join).Call(&Stub::CreateToken, request, &reply); !status.ok()) {
    return Fail(status);
  }
  if (flags.json) {
    PrintJson({{"token", reply.token()}, {"name", name}, {"role", role}, {"join_string", reply.join_string()}});
  } else {
    std::printf("%s\n", reply.join_string().c_str());
  }
  return kExitOk;
}

int List(const Args& args) {
  Arguments arguments("token list", "Lists the tokens, without their secrets.");
  CoordinatorFlags flags;
  flags.Declare(arguments);
  if (const std::optional<int> code = flags.Read(arguments, args)) return *code;
  v1::ListTokensReply reply;
  if (absl::Status status = Client(flags.join).Call(&Stub::ListTokens, v1::Empty(), &reply); !status.ok()) {
    return Fail(status);
  }
  const int64_t now = absl::ToUnixMillis(absl::Now());
  if (flags.json) {
    PrintJson(TokensJson(reply, now));
  } else {
    std::fputs(TokensText(reply, now).c_str(), stdout);
  }
  return kExitOk;
}

int Revoke(const Args& args) {
  Arguments arguments("token revoke", "Ends a token and the sessions of the workers that hold it.");
  CoordinatorFlags flags;
  v1::RevokeTokenRequest request;
  arguments.Positional("TOKEN",
                       {"a name or a number that `potluck token list` shows", Text(request.mutable_name_or_id()).read},
                       "the token");
  flags.Declare(arguments);
  if (const std::optional<int> code = flags.Read(arguments, args)) return *code;
  Client client(flags.join);
  v1::Empty reply;
  if (absl::Status status = client.Call(&Stub::RevokeToken, request, &reply); !status.ok()) return Fail(status);
  if (flags.json) {
    PrintJson({{"token", request.name_or_id()}, {"done", "revoked"}});
  } else {
    std::printf("%s is revoked\n", Printable(request.name_or_id()).c_str());
  }
  v1::AboutReply about;
  if (absl::IsPermissionDenied(client.Call(&Stub::About, v1::Empty(), &about))) {
    std::fprintf(stderr,
                 "potluck: that was the token which this command itself used; if it was that of admin.join, a restart "
                 "of the coordinator makes a new admin.join\n");
  }
  return kExitOk;
}

}  // namespace

int RunToken(const Args& args) {
  return RunCommand("token",
                    {{"create", "make a token and print its join string", Create},
                     {"list", "list the tokens", List},
                     {"revoke", "end a token", Revoke}},
                    args);
}

}  // namespace potluck
