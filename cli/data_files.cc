#include "cli/data_files.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "cli/output_file.h"
#include "kernels/cnn/data/idx.h"
#include "kernels/cnn/data/npy.h"
#include "kernels/cnn/data/readers.h"

namespace potluck {
namespace {

namespace fs = std::filesystem;

bool FitIdx(const cnn::DataSet& data) {
  return std::all_of(data.labels.begin(), data.labels.end(), [](uint16_t label) { return label < 256; });
}

std::string LabelBytes(const cnn::DataSet& data) { return FitIdx(data) ? WriteIdxLabels(data) : WriteNpyLabels(data); }

// Four dimensions have another name.
std::string IdxName(size_t part, const cnn::DataPair& pair) {
  std::string name = kIdxNames[part];
  if (part % 2 == 0 && pair.train.shape.channels != 1) name.replace(name.find("idx3"), 4, "idx4");
  return name;
}

absl::Status CannotWrite(const std::string& folder, const std::error_code& error) {
  return absl::InvalidArgumentError(absl::StrCat("cannot write the folder ", folder, ": ", error.message()));
}

absl::Status WriteFiles(const fs::path& folder, const NamedFiles& files) {
  for (const auto& [name, bytes] : files) {
    absl::StatusOr<std::unique_ptr<OutputFile>> file = OutputFile::Create((folder / name).string());
    if (!file.ok()) return file.status();
    constexpr size_t kPiece = 16 << 20;
    for (size_t at = 0; at < bytes.size(); at += kPiece) {
      if (absl::Status status = (*file)->Write(absl::string_view(bytes).substr(at, kPiece)); !status.ok()) {
        return status;
      }
    }
    if (absl::Status status = (*file)->Finish(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

DataDigests DigestsOf(const cnn::DataPair& pair) {
  return {HexDigest(Sha256(WriteIdxImages(pair.train))), HexDigest(Sha256(LabelBytes(pair.train))),
          HexDigest(Sha256(WriteIdxImages(pair.test))), HexDigest(Sha256(LabelBytes(pair.test)))};
}

const std::vector<KnownData>& KnownDataSets() {
  static const auto* sets = new std::vector<KnownData>{
      {"mnist",
       "MNIST",
       "Yann LeCun, Corinna Cortes, Christopher J.C. Burges; CC BY-SA 3.0",
       {"ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}},
      {"fashion-mnist",
       "Fashion-MNIST",
       "Zalando SE; MIT",
       {"c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}},
  };
  return *sets;
}

const KnownData* FindKnownData(absl::string_view name) {
  for (const KnownData& known : KnownDataSets()) {
    if (known.name == name) return &known;
  }
  return nullptr;
}

absl::Status CheckKnown(const KnownData& known, const DataDigests& digests) {
  for (size_t part = 0; part < kDataParts; ++part) {
    if (digests[part] == known.digests[part]) continue;
    return absl::InvalidArgumentError(absl::StrCat("the ", kDataPartNames[part], " have the SHA-256 ", digests[part],
                                                   ", those of ", known.title, " have ", known.digests[part]));
  }
  return absl::OkStatus();
}

absl::StatusOr<cnn::DataPair> ReadData(const std::string& folder) {
  Result<cnn::DataPair> pair = cnn::ReadDataFolder(folder);
  if (!pair.ok()) return absl::InvalidArgumentError(pair.status().message());
  return std::move(pair).value();
}

absl::StatusOr<NamedFiles> AsIdx(const cnn::DataPair& pair) {
  if (!FitIdx(pair.train) || !FitIdx(pair.test)) {
    return absl::InvalidArgumentError(
        "a label is above 255, which IDX files of bytes cannot hold; allowed is --to npy");
  }
  return NamedFiles{{IdxName(0, pair), WriteIdxImages(pair.train)},
                    {IdxName(1, pair), WriteIdxLabels(pair.train)},
                    {IdxName(2, pair), WriteIdxImages(pair.test)},
                    {IdxName(3, pair), WriteIdxLabels(pair.test)}};
}

NamedFiles AsNpy(const cnn::DataPair& pair) {
  return {{"x_train.npy", WriteNpyImages(pair.train)},
          {"y_train.npy", WriteNpyLabels(pair.train)},
          {"x_test.npy", WriteNpyImages(pair.test)},
          {"y_test.npy", WriteNpyLabels(pair.test)}};
}

absl::Status CheckNewFolder(const std::string& folder) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (status.type() == fs::file_type::not_found) return absl::OkStatus();
  if (status.type() == fs::file_type::directory && fs::is_empty(folder, error) && !error) return absl::OkStatus();
  if (error) return CannotWrite(folder, error);
  return absl::InvalidArgumentError(
      absl::StrCat("the folder ", folder, status.type() == fs::file_type::directory ? " is not empty" : " is a file",
                   "; allowed is one that does not exist yet, or is empty"));
}

absl::Status WriteNewFolder(const std::string& folder, const NamedFiles& files) {
  if (absl::Status status = CheckNewFolder(folder); !status.ok()) return status;
  std::string target = folder;
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  const std::string partial = absl::StrCat(target, ".", getpid(), ".part");
  std::error_code error;
  fs::create_directories(partial, error);
  if (error) return CannotWrite(folder, error);
  absl::Status status = WriteFiles(partial, files);
  if (status.ok()) {
    fs::rename(partial, target, error);  // Takes the place of an empty folder.
    if (error) status = CannotWrite(folder, error);
  }
  if (!status.ok()) fs::remove_all(partial, error);
  return status;
}

}  // namespace potluck
