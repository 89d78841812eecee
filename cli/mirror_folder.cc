#include "cli/mirror_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "base/blob.h"
#include "base/sha256.h"
#include "cli/output.h"
#include "cli/train_flags.h"
#include "proto/versions.h"

namespace potluck {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;
constexpr size_t kKeptStates = 2;
constexpr uintmax_t kMostDescriptionBytes = 1 << 20;

std::string NameOf(uint64_t number, absl::string_view suffix) {
  return absl::StrFormat("state-%06d%s", number, suffix);
}

// Of a description's name.
std::optional<uint64_t> NumberIn(absl::string_view name) {
  uint64_t number = 0;
  if (!absl::ConsumePrefix(&name, "state-") || !absl::ConsumeSuffix(&name, ".json")) return std::nullopt;
  return absl::SimpleAtoi(name, &number) ? std::optional(number) : std::nullopt;
}

absl::Status FileError(const std::string& path, int error) {
  const std::string sentence = absl::StrCat("cannot write ", path, ": ", std::strerror(error));
  return error == ENOSPC || error == EDQUOT || error == EFBIG ? absl::ResourceExhaustedError(sentence)
                                                              : absl::UnknownError(sentence);
}

// A file system that syncs nothing says so in various ways.
bool CannotSync(int error) { return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP || error == EROFS; }

// 0 or an errno. Errors may come as late as at closing: there a remote file system sends the bytes off.
int WriteFile(const std::string& path, absl::string_view bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return errno;
  int error = 0;
  while (error == 0 && !bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (error == 0 && fsync(fd) != 0 && !CannotSync(errno)) error = errno;
  if (close(fd) != 0 && error == 0) error = errno;
  return error;
}

std::string Describe(const MirroredState& state) {
  const std::string spec = cnn::Encode(state.spec);
  Json json;
  json["mirror"] = kFormat;
  json["potluck"] = kVersion;
  json["job_name"] = Printable(state.job_name);
  json["model"] = ModelSpecText(state.spec.model);
  json["data"] = Printable(state.spec.train.name);
  json["round"] = state.round;
  json["state"] = NameOf(state.number, ".bin");
  json["state_bytes"] = state.size;
  json["state_digest"] = HexDigest(state.digest);
  json["spec"] = absl::Base64Escape(spec);
  json["spec_sha256"] = HexDigest(Sha256(spec));
  return json.dump(2) + "\n";
}

// nullopt: half of one, or somebody else's.
std::optional<MirroredState> ReadDescription(const std::string& path, uint64_t number) {
  std::error_code error;
  if (fs::file_size(path, error) > kMostDescriptionBytes || error) return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  const Json json = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  const auto text = [&json](const char* name) {
    return json.contains(name) && json[name].is_string() ? json[name].get<std::string>() : std::string();
  };
  const auto count = [&json](const char* name) -> uint64_t {
    return json.contains(name) && json[name].is_number_unsigned() ? json[name].get<uint64_t>() : 0;
  };
  if (!json.is_object() || count("mirror") != kFormat) return std::nullopt;
  MirroredState state;
  state.number = number;
  state.round = static_cast<uint32_t>(count("round"));
  state.size = count("state_bytes");
  state.job_name = text("job_name");
  std::string encoded;
  if (!ParseHexDigest(text("state_digest"), state.digest) || !absl::Base64Unescape(text("spec"), &encoded) ||
      HexDigest(Sha256(encoded)) != text("spec_sha256")) {
    return std::nullopt;
  }
  Result<cnn::Spec> spec = cnn::DecodeSpec(encoded);
  if (!spec.ok()) return std::nullopt;
  state.spec = *std::move(spec);
  return state;
}

}  // namespace

bool IsSameTraining(const cnn::Spec& a, const cnn::Spec& b) {
  cnn::Spec like_b = a;
  like_b.epochs = b.epochs;
  like_b.max_steps = b.max_steps;
  like_b.target_accuracy = b.target_accuracy;
  like_b.time_limit_seconds = b.time_limit_seconds;
  like_b.initial_parameters = b.initial_parameters;
  like_b.initial_state = b.initial_state;
  like_b.train.name = b.train.name;  // That of a folder.
  like_b.test.name = b.test.name;
  return like_b == b;
}

absl::StatusOr<MirrorFolder> MirrorFolder::Create(const std::string& path) {
  const auto refuse = [&path](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat("--mirror is \"", path, "\", ", why,
                                                   "; allowed is a folder that can be written, or one that does ",
                                                   "not exist yet (is the Drive or bucket mounted?)"));
  };
  std::error_code error;
  fs::create_directories(path, error);
  struct stat info {};
  if (stat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return refuse(absl::StrCat("where no folder can be made", error ? absl::StrCat(": ", error.message()) : ""));
  }
  MirrorFolder folder(path);
  folder.device_ = info.st_dev;
  const std::string probe = folder.Path(absl::StrCat(".potluck-", getpid()));
  const int failed = WriteFile(probe, "whether files can be written here\n");
  unlink(probe.c_str());
  if (failed != 0) return refuse(absl::StrCat("where no file can be written: ", std::strerror(failed)));
  return folder;
}

std::vector<MirroredState> MirrorFolder::States() const {
  std::vector<MirroredState> states;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path_, error)) {
    const std::optional<uint64_t> number = NumberIn(entry.path().filename().string());
    if (!number) continue;
    if (std::optional<MirroredState> state = ReadDescription(entry.path().string(), *number)) {
      states.push_back(*std::move(state));
    }
  }
  std::sort(states.begin(), states.end(),
            [](const MirroredState& a, const MirroredState& b) { return a.number > b.number; });
  return states;
}

bool MirrorFolder::HasResult() const {
  std::error_code error;
  return fs::exists(Path("model.safetensors"), error);
}

absl::StatusOr<std::string> MirrorFolder::Read(const MirroredState& state) const {
  const std::string path = Path(NameOf(state.number, ".bin"));
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::DataLossError(absl::StrCat(path, " cannot be read"));
  std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (bytes.size() != state.size) {
    return absl::DataLossError(absl::StrCat(path, " has ", bytes.size(), " bytes and was written with ", state.size));
  }
  if (BlobDigest(DescribeBlob(bytes)) != state.digest) {
    return absl::DataLossError(absl::StrCat(path, " is damaged: its digest is not the one noted beside it"));
  }
  return bytes;
}

absl::Status MirrorFolder::CheckThere() const {
  struct stat info {};
  if (stat(path_.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return absl::NotFoundError(absl::StrCat(path_, " is not there any more"));
  }
  // What was mounted again has another number, but our files.
  if (info.st_dev == device_ || (!last_.empty() && stat(Path(last_).c_str(), &info) == 0)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("what was mounted at ", path_, " is not there any more"));
}

absl::Status MirrorFolder::Write(const std::string& name, absl::string_view bytes) const {
  const std::string path = Path(name), temporary = absl::StrCat(path, ".", getpid(), ".part");
  int error = WriteFile(temporary, bytes);
  if (error == 0 && std::rename(temporary.c_str(), path.c_str()) == 0) return absl::OkStatus();
  unlink(temporary.c_str());
  // Some cannot rename: then under its own name, where a digest or the next reader tells half of it.
  if (error == 0) error = WriteFile(path, bytes);
  return error == 0 ? absl::OkStatus() : FileError(path, error);
}

void MirrorFolder::Remove(uint64_t number) const {
  // The description first: without its state it would be a promise.
  for (const char* suffix : {".json", ".bin"}) unlink(Path(NameOf(number, suffix)).c_str());
}

void MirrorFolder::KeepOnly(size_t count, const cnn::Spec& spec) const {
  size_t kept = 0;
  for (const MirroredState& state : States()) {
    // One that was cut short is no state to go on from, and must not push out one that is.
    std::error_code error;
    const bool is_whole = fs::file_size(Path(NameOf(state.number, ".bin")), error) == state.size && !error;
    if (is_whole && IsSameTraining(state.spec, spec) && kept++ < count) continue;
    Remove(state.number);
  }
}

absl::Status MirrorFolder::Add(MirroredState state, absl::string_view bytes) {
  if (absl::Status there = CheckThere(); !there.ok()) return there;
  uint64_t newest = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path_, error)) {
    newest = std::max(newest, NumberIn(entry.path().filename().string()).value_or(0));
  }
  state.number = newest + 1;
  absl::Status written = Write(NameOf(state.number, ".bin"), bytes);
  if (absl::IsResourceExhausted(written)) {
    KeepOnly(1, state.spec);  // The newest is what somebody would go on from.
    written = Write(NameOf(state.number, ".bin"), bytes);
  }
  const std::string description = NameOf(state.number, ".json");
  if (written.ok()) written = Write(description, Describe(state));
  if (!written.ok()) {
    Remove(state.number);
    return written;
  }
  last_ = description;
  KeepOnly(kKeptStates, state.spec);
  return absl::OkStatus();
}

absl::Status MirrorFolder::Copy(const std::string& file) {
  if (absl::Status there = CheckThere(); !there.ok()) return there;
  std::ifstream in(file, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", file));
  const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  return Write(fs::path(file).filename().string(), bytes);
}

}  // namespace potluck
