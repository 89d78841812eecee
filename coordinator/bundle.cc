#include "coordinator/bundle.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/sha256.h"
#include "coordinator/cell_program.h"
#include "proto/versions.h"

namespace potluck {
namespace {

constexpr absl::string_view kPath = "/bundle";
constexpr absl::string_view kCellPath = "/bundle/cell.py";
constexpr absl::string_view kPrefix = "potluck-";
constexpr absl::string_view kSuffix = ".whl";
constexpr absl::string_view kBearer = "Bearer ";
constexpr uintmax_t kMostBytes = 512 << 20;
// What whoever downloads the bundle looks for in it.
constexpr absl::string_view kProgram = "potluck/bin/potluck";

struct Wheel {
  std::filesystem::path path;
  std::string name;
  std::string version;
};

// By name. A folder that cannot be read has none.
std::vector<Wheel> FindWheels(const std::string& directory) {
  std::vector<Wheel> wheels;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    Wheel wheel{it->path(), it->path().filename().string(), ""};
    absl::string_view rest = wheel.name;
    if (!absl::ConsumePrefix(&rest, kPrefix) || !absl::EndsWith(rest, kSuffix)) continue;
    wheel.version = std::string(rest.substr(0, rest.find('-')));
    wheels.push_back(std::move(wheel));
  }
  std::sort(wheels.begin(), wheels.end(), [](const Wheel& a, const Wheel& b) { return a.name < b.name; });
  return wheels;
}

std::string Names(const std::vector<Wheel>& wheels) {
  return absl::StrJoin(wheels, ", ", [](std::string* out, const Wheel& wheel) { out->append(wheel.name); });
}

absl::StatusOr<Bundle> Load(const Wheel& wheel) {
  const auto complain = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(wheel.path.string(), " ", what));
  };
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(wheel.path, error);
  if (error) return complain(absl::StrCat("cannot be read: ", error.message()));
  if (size > kMostBytes) {
    return complain(absl::StrCat("has ", size, " bytes, and a bundle has at most ", kMostBytes, ": make it again"));
  }
  std::string bytes(size, '\0');
  std::ifstream file(wheel.path, std::ios::binary);
  if (!file.read(bytes.data(), static_cast<std::streamsize>(size))) return complain("cannot be read");
  // A look, so that a mistake is told here and not in every notebook; what counts is the digest.
  if (!absl::StartsWith(bytes, "PK") || !absl::StrContains(bytes, kProgram)) {
    return complain(absl::StrCat("is no worker bundle, it lacks ", kProgram, ": make it by deploy/package.sh"));
  }
  Bundle bundle{wheel.version, wheel.name, Sha256(bytes), nullptr};
  bundle.bytes = std::make_shared<const std::string>(std::move(bytes));
  return bundle;
}

// Empty: it may come in. Else what to answer.
std::string Refusal(const WebRequest& request, const Tokens& tokens, absl::Time now) {
  absl::string_view token = request.authorization;
  if (!absl::ConsumePrefix(&token, kBearer)) {
    return "This needs a join string's token: use a notebook's cell that `potluck notebook` wrote, or `potluck join`.";
  }
  const absl::Status status = tokens.Authenticate(token, now).status();
  return status.ok() ? "" : std::string(status.message());
}

WebResponse Answer(const WebRequest& request, const Bundle* bundle, const Tokens& tokens, absl::Time now) {
  if (const std::string refusal = Refusal(request, tokens, now); !refusal.empty()) {
    WebResponse response = PlainResponse(401, refusal);
    response.headers = {{"WWW-Authenticate", "Bearer"}};
    return response;
  }
  if (request.method != "GET") return PlainResponse(405, "Only GET and HEAD are allowed here.");
  if (bundle == nullptr) {
    return PlainResponse(
        404,
        "this coordinator has no worker bundle: whoever runs it makes one by deploy/package.sh, or names "
        "its folder by `serve --bundle DIR`, and starts it again");
  }
  const std::string digest = HexDigest(bundle->digest);
  WebResponse response;
  if (request.path == kPath) {
    response.content_type = "application/json";
    response.body =
        nlohmann::ordered_json{
            {"version", bundle->version}, {"file", bundle->file}, {"sha256", digest}, {"size", bundle->bytes->size()}}
            .dump() +
        "\n";
  } else if (request.path == absl::StrCat(kPath, "/", digest)) {
    response.content_type = "application/zip";
    response.shared = bundle->bytes;
  } else if (request.path == kCellPath) {
    response.content_type = "text/x-python; charset=utf-8";
    response.body = CellProgram();
  } else {
    response = PlainResponse(404, "this coordinator has another bundle than was asked for: ask for /bundle again");
  }
  return response;
}

}  // namespace

absl::StatusOr<Bundle> LoadBundle(const std::string& directory, absl::string_view version) {
  const std::vector<Wheel> wheels = FindWheels(directory);
  if (wheels.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the bundle's folder ", directory, " holds ",
                     wheels.empty() ? "no wheel" : absl::StrCat(wheels.size(), " wheels (", Names(wheels), ")"),
                     "; it must hold one, ", kPrefix, version, "-...", kSuffix, ", as deploy/package.sh makes it"));
  }
  if (wheels[0].version != version) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the bundle's folder ", directory, " holds ", wheels[0].name, ", and this coordinator is of version ", version,
        ": workers must have the same; make the wheel by deploy/package.sh"));
  }
  return Load(wheels[0]);
}

absl::StatusOr<Bundle> FindBundle(const std::vector<std::string>& directories, absl::string_view version) {
  for (const std::string& directory : directories) {
    for (const Wheel& wheel : FindWheels(directory)) {
      if (wheel.version == version) return Load(wheel);
    }
  }
  return absl::NotFoundError(absl::StrCat("no wheel of version ", version, " was found"));
}

const std::string& CellProgram() {
  static const std::string& program = *new std::string(kCellProgram);
  return program;
}

bool IsBundlePath(absl::string_view path) { return path == kPath || absl::StartsWith(path, absl::StrCat(kPath, "/")); }

WebResponse AnswerBundle(const WebRequest& request, const Bundle* bundle, const Tokens& tokens, absl::Time now) {
  WebResponse response = Answer(request, bundle, tokens, now);
  response.headers.emplace_back("Potluck", kVersion);
  return response;
}

}  // namespace potluck
