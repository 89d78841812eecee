// What the `potluck data` commands share: digests of data sets, those that are known, and folders written whole.
#pragma once

#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/cnn/data/data_set.h"

namespace potluck {

// Train images, train labels, test images, test labels.
inline constexpr size_t kDataParts = 4;
inline constexpr const char* kDataPartNames[kDataParts] = {"training images", "training labels", "test images",
                                                           "test labels"};
inline constexpr const char* kIdxNames[kDataParts] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                                      "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
using DataDigests = std::array<std::string, kDataParts>;  // SHA-256, hexadecimal.

// Of the parts as uncompressed IDX files, however they came (labels above 255: as .npy files).
DataDigests DigestsOf(const cnn::DataPair& pair);

struct KnownData {
  std::string name;   // As in `potluck data fetch NAME`.
  std::string title;  // "MNIST"
  std::string terms;  // Who made it, and under which licence.
  DataDigests digests;
};
const std::vector<KnownData>& KnownDataSets();
// Null: none of that name.
const KnownData* FindKnownData(absl::string_view name);
// OK if all parts are those of `known`; else a sentence that names the first that is not.
absl::Status CheckKnown(const KnownData& known, const DataDigests& digests);

absl::StatusOr<cnn::DataPair> ReadData(const std::string& folder);

// Files by their names.
using NamedFiles = std::map<std::string, std::string>;
absl::StatusOr<NamedFiles> AsIdx(const cnn::DataPair& pair);
NamedFiles AsNpy(const cnn::DataPair& pair);
// The folder appears with all of the files in it, or not at all. It must not be there yet, or be empty.
absl::Status WriteNewFolder(const std::string& folder, const NamedFiles& files);
// Whether WriteNewFolder would refuse it, asked before work is done for it.
absl::Status CheckNewFolder(const std::string& folder);

}  // namespace potluck
