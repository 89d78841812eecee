// For tests: a folder for files, removed at the end, and small data sets.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "kernels/cnn/data/data_set.h"
#include "kernels/cnn/random.h"

namespace potluck::cnn {

class TestFolder {
 public:
  TestFolder() {
    std::string pattern = ::testing::TempDir() + "/potluck-data-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << bytes;
    return path_ + "/" + name;
  }
  std::string Read(const std::string& name) const {
    std::ifstream in(path_ + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::string path_;
};

// Pixels and labels drawn by counter; every class occurs if there are samples enough.
inline DataSet SomeData(const Shape& shape, uint32_t samples, uint32_t classes, uint64_t seed = 1) {
  DataSet data{.name = "some", .shape = shape, .classes = classes, .pixels = {}, .labels = {}};
  for (uint32_t i = 0; i < samples * shape.size(); ++i) {
    data.pixels.push_back(static_cast<uint8_t>(Philox(seed, i, 0, 0, 0).word[0]));
  }
  for (uint32_t i = 0; i < samples; ++i) data.labels.push_back(static_cast<uint16_t>((i * 7 + 3) % classes));
  return data;
}

}  // namespace potluck::cnn
