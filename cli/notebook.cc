// `potluck notebook`: the cell, or the notebook, by which a hosted notebook joins.
#include <sys/stat.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/notebook_text.h"
#include "cli/output.h"
#include "cli/output_file.h"

namespace potluck {
namespace {

struct NotebookFlags {
  std::string coordinator;
  bool any_coordinator = false;
  std::string platform;
  bool embed_token = false;
  std::optional<int> exit_when_idle;
  std::string output;
};

std::optional<int> ReadFlags(const Args& args, NotebookFlags& flags) {
  Arguments arguments("notebook",
                      "Writes a cell of Python that joins a coordinator from a notebook (Colab, Kaggle, Jupyter), with "
                      "the coordinator's own\nversion of this program, which it downloads from there.");
  arguments.Flag("--coordinator", "X", JoinStringText(&flags.coordinator),
                 "the coordinator, best by its worker.join: addresses and key go into the cell, the token does not",
                 "the environment's POTLUCK_COORDINATOR");
  arguments.Switch("--any-coordinator", &flags.any_coordinator,
                   "put neither addresses nor a key in: the cell takes both from the join string that it is given");
  arguments.Flag("--platform", "P", OneOf(&flags.platform, {"colab", "kaggle", "jupyter"}), "whose rule and secrets", "any");
  arguments.Switch("--embed-token", &flags.embed_token,
                   "put a worker's token in, which makes it a secret: with an admin's X a new one, named "
                   "notebook-DATE, that `potluck token revoke` ends; else X's own");
  arguments.Flag("--exit-when-idle", "SECONDS", WholeNumber(&flags.exit_when_idle, 1, 31536000),
                 "the worker leaves after so many seconds without work", "never");
  arguments.Flag("-o", "FILE.ipynb",
                 {"a file that ends in .ipynb",
                  [&flags](const std::string& text) {
                    flags.output = text;
                    return absl::EndsWith(text, ".ipynb") && text.size() > 6;
                  }},
                 "write a notebook with an explanation and the cell", "prints the cell");
  arguments.Epilogue(
      "The cell takes the join string from the secret POTLUCK_JOIN of Colab or Kaggle, else from the environment's "
      "POTLUCK_JOIN,\nelse asks for it. The coordinator must have a worker bundle (`potluck serve --bundle`).\n");
  return arguments.Read(args);
}

absl::Status CheckTogether(const NotebookFlags& flags) {
  const char* other = !flags.coordinator.empty() ? "--coordinator" : flags.embed_token ? "--embed-token" : nullptr;
  if (!flags.any_coordinator || other == nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--any-coordinator is given together with ", other, ", which is about one; allowed is either"));
}

// For an admin, the join string of a new token; else the one given, which must be a worker's.
absl::StatusOr<JoinString> JoinStringToEmbed(const JoinString& given) {
  v1::CreateTokenRequest request;
  request.set_name(absl::StrCat("notebook-", absl::FormatTime("%Y-%m-%d-%H%M%S", absl::Now(), absl::UTCTimeZone())));
  request.set_role(v1::TOKEN_ROLE_WORKER);
  v1::CreateTokenReply reply;
  Client client(given);
  const absl::Status made = client.Call(&v1::Jobs::StubInterface::CreateToken, request, &reply);
  if (made.ok()) {
    std::fprintf(stderr, "potluck: the cell holds a new token, %s; `potluck token revoke %s` ends it\n",
                 request.name().c_str(), request.name().c_str());
    return ParseJoinString(reply.join_string());
  }
  if (!absl::IsPermissionDenied(made)) return made;
  // Viewers may look, workers may not.
  v1::AboutReply about;
  if (client.Call(&v1::Jobs::StubInterface::About, v1::Empty(), &about).ok()) {
    return absl::PermissionDeniedError(
        "--embed-token was given with a viewer's join string, which lets nobody join; give worker.join or admin.join");
  }
  return given;
}

absl::Status WriteNotebook(const NotebookFlags& flags, const std::string& text) {
  if (flags.embed_token) umask(077);  // It holds a secret.
  absl::StatusOr<std::unique_ptr<OutputFile>> file = OutputFile::Create(flags.output);
  if (!file.ok()) return file.status();
  if (absl::Status status = (*file)->Write(text); !status.ok()) return status;
  return (*file)->Finish();
}

}  // namespace

int RunNotebook(const Args& args) {
  NotebookFlags flags;
  if (const std::optional<int> code = ReadFlags(args, flags)) return *code;
  if (absl::Status status = CheckTogether(flags); !status.ok()) return FailUsage(status);
  absl::StatusOr<JoinString> join = flags.any_coordinator ? JoinString() : LoadCoordinator(flags.coordinator);
  if (!join.ok()) return FailUsage(join.status());
  if (flags.embed_token) {
    join = JoinStringToEmbed(*join);
    if (!join.ok()) return Fail(join.status());
  }
  NotebookOptions options;
  options.join = *join;
  options.platform = flags.platform.empty() ? nullptr : FindPlatform(flags.platform);
  options.embed_token = flags.embed_token;
  options.exit_when_idle = flags.exit_when_idle;
  const absl::StatusOr<std::string> text = flags.output.empty() ? NotebookCell(options) : Notebook(options);
  if (!text.ok()) return FailUsage(text.status());
  if (flags.output.empty()) {
    std::fputs(text->c_str(), stdout);
    return kExitOk;
  }
  if (absl::Status status = WriteNotebook(flags, *text); !status.ok()) return FailLocally(status);
  std::fprintf(stderr, "potluck: %s is ready%s\n", Printable(flags.output).c_str(),
               flags.embed_token ? "; it holds a token: whoever has the file can join" : "");
  return kExitOk;
}

}  // namespace potluck
