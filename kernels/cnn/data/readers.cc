#include "kernels/cnn/data/readers.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "kernels/cnn/data/csv.h"
#include "kernels/cnn/data/files.h"
#include "kernels/cnn/data/idx.h"
#include "kernels/cnn/data/npy.h"

namespace potluck::cnn {
namespace {

constexpr Shape kCifarShape = {3, 32, 32};
constexpr uint32_t kCifarClasses = 10;
constexpr const char* kNpyNames[] = {"x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy"};
constexpr const char* kCsvNames[] = {"mnist_train.csv", "mnist_test.csv"};
// Counters of samples have 32 bits.
constexpr uint64_t kMostSamples = 0xffffffff;

// The names in a folder, without .gz; a file that is there both ways is read without it.
struct Folder {
  std::string path;
  std::map<std::string, std::string> paths;  // By name without .gz.

  const std::string* Find(const std::string& name) const {
    const auto it = paths.find(name);
    return it == paths.end() ? nullptr : &it->second;
  }
};

Result<Folder> List(const std::string& path) {
  std::error_code error;
  std::filesystem::directory_iterator it(path, error);
  if (error) return Status::Error("cannot read the folder " + path + ": " + error.message());
  Folder folder{path, {}};
  for (; it != std::filesystem::directory_iterator(); it.increment(error)) {
    std::string name = it->path().filename().string();
    const bool is_compressed = name.ends_with(".gz");
    if (is_compressed) name.resize(name.size() - 3);
    std::string& known = folder.paths[name];
    if (known.empty() || !is_compressed) known = it->path().string();
  }
  if (error) return Status::Error("cannot read the folder " + path + ": " + error.message());
  return folder;
}

// What CheckSpec allows as a name, whatever the folder is called.
std::string FolderName(const std::string& path) {
  const std::filesystem::path whole = std::filesystem::path(path).lexically_normal();
  std::string name = whole.has_filename() ? whole.filename().string() : whole.parent_path().filename().string();
  for (char& c : name) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  name.resize(std::min<size_t>(name.size(), 64));
  return name.empty() || name == "." || name == ".." ? "data" : name;
}

// One of a data set's four files: "train-images-idx3-ubyte" with what stands before it.
struct IdxName {
  std::string prefix;  // "", "emnist-letters-"
  bool is_train = false;
  bool is_images = false;
};

std::optional<IdxName> ParseIdxName(std::string_view name) {
  static constexpr std::pair<std::string_view, bool> kParts[] = {{"train", true}, {"t10k", false}, {"test", false}};
  for (const auto& [part, is_train] : kParts) {
    for (const bool is_images : {true, false}) {
      for (const std::string_view dot : {"-", "."}) {
        for (const std::string_view rank : {"idx3", "idx4", "idx1"}) {
          if (is_images == (rank == "idx1")) continue;
          std::string tail(part);
          tail += is_images ? "-images" : "-labels";
          tail.append(dot).append(rank).append("-ubyte");
          if (!name.ends_with(tail)) continue;
          const std::string_view prefix = name.substr(0, name.size() - tail.size());
          if (!prefix.empty() && !prefix.ends_with('-')) continue;
          return IdxName{std::string(prefix), is_train, is_images};
        }
      }
    }
  }
  return std::nullopt;
}

using IdxFiles = std::map<std::pair<bool, bool>, std::string>;  // (is_train, is_images): path.

Status Missing(const std::string& folder, const std::string& found, const std::string& missing) {
  return Status::Error("the folder " + folder + " has " + found + " but not " + missing);
}

// Where the labels of a set lie.
struct LabelPlace {
  std::string path;
  uint64_t begin = 0, width = 0;  // 0: not at offsets that could be told.
};

Status CheckLabels(const LabelPlace& place, const std::vector<uint16_t>& labels, uint32_t classes,
                   const std::string& why) {
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < classes) continue;
    const std::string what = "the label of sample " + std::to_string(i) + " is " + std::to_string(labels[i]) +
                             ", expected 0 to " + std::to_string(classes - 1) + why;
    return place.width == 0 ? Status::Error(place.path + ": " + what)
                            : WrongAt(place.path, place.begin + i * place.width, what);
  }
  return {};
}

Status CheckCounts(const std::string& images_path, uint64_t images, const std::string& labels_path, uint64_t labels) {
  if (images != labels) {
    return Status::Error(images_path + " has " + std::to_string(images) + " images, but " + labels_path + " has " +
                         std::to_string(labels) + " labels: expected as many");
  }
  if (images > kMostSamples) {
    return Status::Error(images_path + " has " + std::to_string(images) + " images; allowed are at most " +
                         std::to_string(kMostSamples));
  }
  return {};
}

uint32_t ClassesOf(const std::vector<uint16_t>& labels) {
  return labels.empty() ? 0 : uint32_t{*std::max_element(labels.begin(), labels.end())} + 1;
}

// Where one set comes from, for what is checked when both are read.
struct Source {
  std::string images;
  LabelPlace labels;
};

// Shapes that match, labels in range; fills in names and classes.
Status Complete(const Source& train, const Source& test, const std::string& name, const ReadOptions& options,
                DataPair& pair) {
  if (pair.train.shape != pair.test.shape) {
    const auto text = [](const Shape& shape) {
      return std::to_string(shape.channels) + " x " + std::to_string(shape.height) + " x " +
             std::to_string(shape.width);
    };
    return Status::Error(test.images + " has images of " + text(pair.test.shape) + ", but those of " + train.images +
                         " are " + text(pair.train.shape) + ": expected the same");
  }
  const uint32_t allowed = options.classes != 0 ? options.classes : ClassesOf(pair.train.labels);
  const std::string why =
      options.classes != 0 ? " (the model has " + std::to_string(allowed) + " classes)" : std::string();
  Status status = CheckLabels(train.labels, pair.train.labels, allowed, why);
  if (!status.ok()) return status;
  status =
      CheckLabels(test.labels, pair.test.labels, allowed, options.classes != 0 ? why : ", as in " + train.labels.path);
  if (!status.ok()) return status;
  pair.train.classes = pair.test.classes = std::max(ClassesOf(pair.train.labels), 2u);
  pair.train.name = pair.test.name = name;
  return {};
}

using ImagesReader = Result<uint64_t> (*)(const std::string& path, std::string_view bytes, DataSet& data);
using LabelsReader = Result<LabelArray> (*)(const std::string& path, std::string_view bytes);

// A file of images and one of labels.
Result<Source> ReadPart(const std::string& images_path, ImagesReader read_images, const std::string& labels_path,
                        LabelsReader read_labels, DataSet& data) {
  Result<std::string> bytes = ReadDataFile(images_path);
  if (!bytes.ok()) return bytes.status();
  const Result<uint64_t> images = read_images(images_path, *bytes, data);
  if (!images.ok()) return images.status();
  bytes = ReadDataFile(labels_path);
  if (!bytes.ok()) return bytes.status();
  Result<LabelArray> labels = read_labels(labels_path, *bytes);
  if (!labels.ok()) return labels.status();
  data.labels = std::move(labels->labels);
  if (Status status = CheckCounts(images_path, *images, labels_path, data.samples()); !status.ok()) return status;
  return Source{images_path, {labels_path, labels->begin, labels->width}};
}

// `pair.files` holds images and labels of training and test.
Status ReadParts(ImagesReader read_images, LabelsReader read_labels, const std::string& name,
                 const ReadOptions& options, DataPair& pair) {
  const Result<Source> train = ReadPart(pair.files[0], read_images, pair.files[1], read_labels, pair.train);
  if (!train.ok()) return train.status();
  const Result<Source> test = ReadPart(pair.files[2], read_images, pair.files[3], read_labels, pair.test);
  if (!test.ok()) return test.status();
  return Complete(*train, *test, name, options, pair);
}

Result<DataPair> ReadIdxFolder(const Folder& folder, const std::string& prefix, const IdxFiles& files,
                               const ReadOptions& options) {
  static constexpr std::pair<std::pair<bool, bool>, const char*> kAll[] = {{{true, true}, "train-images-idx3-ubyte"},
                                                                           {{true, false}, "train-labels-idx1-ubyte"},
                                                                           {{false, true}, "t10k-images-idx3-ubyte"},
                                                                           {{false, false}, "t10k-labels-idx1-ubyte"}};
  DataPair pair;
  pair.format = "idx";
  for (const auto& [key, name] : kAll) {
    const auto it = files.find(key);
    if (it == files.end()) {
      return Missing(folder.path, std::filesystem::path(files.begin()->second).filename().string(),
                     prefix + name + " (or .gz)");
    }
    pair.files.push_back(it->second);
  }
  const std::string name = FolderName(prefix.empty() ? folder.path : prefix.substr(0, prefix.size() - 1));
  if (Status status = ReadParts(ReadIdxImages, ReadIdxLabels, name, options, pair); !status.ok()) return status;
  return pair;
}

// Appends one file of records of a label and its pixels.
Status ReadCifarFile(const std::string& path, const ReadOptions& options, DataSet& data) {
  const Result<std::string> bytes = ReadDataFile(path);
  if (!bytes.ok()) return bytes.status();
  const uint64_t record = 1 + kCifarShape.size();
  if (bytes->empty() || bytes->size() % record != 0) {
    return Status::Error(path + ": it has " + std::to_string(bytes->size()) + " bytes, expected a multiple of " +
                         std::to_string(record) + " (a label and 32 x 32 pixels of three colours): record " +
                         std::to_string(bytes->size() / record) + " at offset " +
                         std::to_string(bytes->size() / record * record) + " is cut short");
  }
  const uint32_t classes = options.classes != 0 ? std::min(options.classes, kCifarClasses) : kCifarClasses;
  for (size_t at = 0; at < bytes->size(); at += record) {
    const auto label = static_cast<uint8_t>((*bytes)[at]);
    if (label >= classes) {
      return WrongAt(path, at,
                     "the label of record " + std::to_string(at / record) + " is " + std::to_string(label) +
                         ", expected 0 to " + std::to_string(classes - 1));
    }
    data.labels.push_back(label);
    const auto pixels = bytes->begin() + static_cast<std::ptrdiff_t>(at + 1);
    data.pixels.insert(data.pixels.end(), pixels, pixels + static_cast<std::ptrdiff_t>(kCifarShape.size()));
  }
  return {};
}

Result<DataPair> ReadCifarFolder(const Folder& folder, const ReadOptions& options) {
  DataPair pair;
  pair.format = "cifar-10";
  const auto read = [&](const std::string& name, DataSet& data) {
    const std::string* path = folder.Find(name);
    if (path == nullptr) return Missing(folder.path, "files of CIFAR-10", name);
    pair.files.push_back(*path);
    return ReadCifarFile(*path, options, data);
  };
  for (int batch = 1; batch <= 5; ++batch) {
    const Status status = read("data_batch_" + std::to_string(batch) + ".bin", pair.train);
    if (!status.ok()) return status;
  }
  if (Status status = read("test_batch.bin", pair.test); !status.ok()) return status;
  for (DataSet* data : {&pair.train, &pair.test}) {
    data->name = "cifar-10";
    data->shape = kCifarShape;
    data->classes = kCifarClasses;
  }
  return pair;
}

Result<DataPair> ReadNpyFolder(const Folder& folder, const ReadOptions& options) {
  DataPair pair;
  pair.format = "npy";
  for (const char* name : kNpyNames) {
    const std::string* path = folder.Find(name);
    if (path == nullptr) return Missing(folder.path, ".npy files", name);
    pair.files.push_back(*path);
  }
  const Status status = ReadParts(ReadNpyImages, ReadNpyLabels, FolderName(folder.path), options, pair);
  if (!status.ok()) return status;
  return pair;
}

Result<DataPair> ReadCsvFolder(const Folder& folder, const ReadOptions& options) {
  DataPair pair;
  pair.format = "csv";
  for (const auto& [name, data] : {std::pair(kCsvNames[0], &pair.train), std::pair(kCsvNames[1], &pair.test)}) {
    const std::string* path = folder.Find(name);
    if (path == nullptr) return Missing(folder.path, ".csv files", name);
    pair.files.push_back(*path);
    const Result<std::string> bytes = ReadDataFile(*path);
    if (!bytes.ok()) return bytes.status();
    if (Status status = ReadCsv(*path, *bytes, *data); !status.ok()) return status;
  }
  const Source train{pair.files[0], {pair.files[0]}}, test{pair.files[1], {pair.files[1]}};
  if (Status status = Complete(train, test, FolderName(folder.path), options, pair); !status.ok()) return status;
  return pair;
}

}  // namespace

Result<DataPair> ReadDataFolder(const std::string& path, const ReadOptions& options) {
  const Result<Folder> folder = List(path);
  if (!folder.ok()) return folder.status();
  std::map<std::string, IdxFiles> sets;
  for (const auto& [name, file] : folder->paths) {
    if (const std::optional<IdxName> parsed = ParseIdxName(name)) {
      sets[parsed->prefix].emplace(std::pair(parsed->is_train, parsed->is_images), file);
    }
  }
  if (sets.size() > 1) {
    std::string names;
    for (const auto& [prefix, files] : sets) names += (names.empty() ? "" : ", ") + prefix + "train-images-idx3-ubyte";
    return Status::Error("the folder " + path + " has several data sets (" + names + "), expected one");
  }
  if (!sets.empty()) return ReadIdxFolder(*folder, sets.begin()->first, sets.begin()->second, options);
  if (folder->Find("data_batch_1.bin") != nullptr || folder->Find("test_batch.bin") != nullptr) {
    return ReadCifarFolder(*folder, options);
  }
  for (const char* name : kNpyNames) {
    if (folder->Find(name) != nullptr) return ReadNpyFolder(*folder, options);
  }
  for (const char* name : kCsvNames) {
    if (folder->Find(name) != nullptr) return ReadCsvFolder(*folder, options);
  }
  return Status::Error("the folder " + path +
                       " has no data set; looked for train-images-idx3-ubyte (MNIST and its kin), data_batch_1.bin "
                       "(CIFAR-10), x_train.npy and mnist_train.csv, each also with .gz");
}

}  // namespace potluck::cnn
