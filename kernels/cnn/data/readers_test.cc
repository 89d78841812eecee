// Data sets as people have them, whole and with all that can be wrong in them.
#include "kernels/cnn/data/readers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#ifdef POTLUCK_HAS_ZLIB
#include <zlib.h>
#endif

#include <functional>
#include <map>

#include "kernels/cnn/data/files.h"
#include "kernels/cnn/data/idx.h"
#include "kernels/cnn/data/npy.h"
#include "kernels/cnn/data/testing.h"

namespace potluck::cnn {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const DataSet kTrain = SomeData({1, 3, 4}, 20, 5, 1);
const DataSet kTest = SomeData({1, 3, 4}, 7, 5, 2);

std::map<std::string, std::string> IdxFiles() {
  return {{"train-images-idx3-ubyte", WriteIdxImages(kTrain)},
          {"train-labels-idx1-ubyte", WriteIdxLabels(kTrain)},
          {"t10k-images-idx3-ubyte", WriteIdxImages(kTest)},
          {"t10k-labels-idx1-ubyte", WriteIdxLabels(kTest)}};
}

std::map<std::string, std::string> NpyFiles() {
  return {{"x_train.npy", WriteNpyImages(kTrain)},
          {"y_train.npy", WriteNpyLabels(kTrain)},
          {"x_test.npy", WriteNpyImages(kTest)},
          {"y_test.npy", WriteNpyLabels(kTest)}};
}

Result<DataPair> ReadFiles(const std::map<std::string, std::string>& files, const ReadOptions& options = {}) {
  const TestFolder folder;
  for (const auto& [name, bytes] : files) folder.Write(name, bytes);
  return ReadDataFolder(folder.path(), options);
}

void ExpectPair(const Result<DataPair>& pair, const std::string& format) {
  ASSERT_TRUE(pair.ok()) << pair.status().message();
  EXPECT_EQ(pair->format, format);
  for (const auto& [read, written] : {std::pair(&pair->train, &kTrain), std::pair(&pair->test, &kTest)}) {
    EXPECT_EQ(read->shape, written->shape);
    EXPECT_EQ(read->classes, 5u);
    EXPECT_EQ(read->pixels, written->pixels);
    EXPECT_EQ(read->labels, written->labels);
  }
}

// The sentence that reading ends with once `change` was made to one of the files.
std::string Sentence(std::map<std::string, std::string> files, const std::string& name,
                     const std::function<void(std::string&)>& change, const ReadOptions& options = {}) {
  change(files.at(name));
  const Result<DataPair> pair = ReadFiles(files, options);
  return pair.ok() ? "no error" : pair.status().message();
}

TEST(ReadersTest, IdxFilesAreReadUnderEveryNameTheyHave) {
  ExpectPair(ReadFiles(IdxFiles()), "idx");
  std::map<std::string, std::string> dotted, named;
  for (const auto& [name, bytes] : IdxFiles()) {
    std::string with_dot = name;
    with_dot.replace(with_dot.find("-idx"), 1, ".");
    dotted[with_dot] = bytes;
    std::string with_name = "emnist-letters-" + name;
    if (const size_t at = with_name.find("t10k"); at != std::string::npos) with_name.replace(at, 4, "test");
    named[with_name] = bytes;
  }
  ExpectPair(ReadFiles(dotted), "idx");
  ExpectPair(ReadFiles(named), "idx");
  EXPECT_EQ(ReadFiles(named)->train.name, "emnist-letters");
}

TEST(ReadersTest, NpyPairsAreRead) { ExpectPair(ReadFiles(NpyFiles()), "npy"); }

TEST(ReadersTest, AnUncompressedFileIsPreferred) {
  std::map<std::string, std::string> files = IdxFiles();
  files["t10k-labels-idx1-ubyte.gz"] = "not compressed";
  ExpectPair(ReadFiles(files), "idx");
}

TEST(ReadersTest, CifarRecordsAreALabelAndItsPixels) {
  const DataSet data = SomeData({3, 32, 32}, 12, 10);
  std::map<std::string, std::string> files;
  for (uint32_t i = 0; i < 12; ++i) {
    const std::string name = i < 10 ? "data_batch_" + std::to_string(i / 2 + 1) + ".bin" : "test_batch.bin";
    files[name].push_back(static_cast<char>(data.labels[i]));
    files[name].append(reinterpret_cast<const char*>(data.image(i)), data.shape.size());
  }
  const Result<DataPair> pair = ReadFiles(files);
  ASSERT_TRUE(pair.ok()) << pair.status().message();
  EXPECT_EQ(pair->train.samples(), 10u);
  EXPECT_EQ(pair->test.samples(), 2u);
  EXPECT_EQ(pair->train.classes, 10u);
  EXPECT_EQ(pair->train.labels[9], data.labels[9]);
  EXPECT_TRUE(std::equal(pair->test.image(1), pair->test.image(1) + data.shape.size(), data.image(11)));

  EXPECT_THAT(Sentence(files, "data_batch_3.bin", [](std::string& bytes) { bytes[3073] = 10; }),
              AllOf(HasSubstr("data_batch_3.bin, offset 3073"), HasSubstr("label of record 1 is 10"),
                    HasSubstr("expected 0 to 9")));
  EXPECT_THAT(Sentence(files, "test_batch.bin", [](std::string& bytes) { bytes.pop_back(); }),
              AllOf(HasSubstr("test_batch.bin"), HasSubstr("has 6145 bytes"), HasSubstr("a multiple of 3073"),
                    HasSubstr("offset 3073")));
  files.erase("data_batch_4.bin");
  EXPECT_THAT(ReadFiles(files).status().message(), HasSubstr("but not data_batch_4.bin"));
}

TEST(ReadersTest, WhatIsWrongInAnIdxFileIsToldByItsOffset) {
  const auto idx = [](const std::string& name, const std::function<void(std::string&)>& change) {
    return Sentence(IdxFiles(), name, change);
  };
  EXPECT_THAT(idx("train-images-idx3-ubyte", [](std::string& bytes) { bytes[2] = 13; }),
              AllOf(HasSubstr("train-images-idx3-ubyte, offset 0"), HasSubstr("magic number is 0x00000d03"),
                    HasSubstr("expected 0x00000803")));
  EXPECT_THAT(idx("t10k-labels-idx1-ubyte", [](std::string& bytes) { bytes[3] = 3; }),
              HasSubstr("expected 0x00000801"));
  EXPECT_THAT(idx("t10k-images-idx3-ubyte", [](std::string& bytes) { bytes.pop_back(); }),
              AllOf(HasSubstr("has 99 bytes"), HasSubstr("7 x 3 x 4"), HasSubstr("make 100"), HasSubstr("short")));
  EXPECT_THAT(idx("t10k-images-idx3-ubyte", [](std::string& bytes) { bytes += '\0'; }),
              AllOf(HasSubstr("has 101 bytes"), HasSubstr("behind its end")));
  EXPECT_THAT(idx("t10k-images-idx3-ubyte", [](std::string& bytes) { bytes.resize(9); }),
              AllOf(HasSubstr("offset 9"), HasSubstr("ends in its header")));
  EXPECT_THAT(idx("t10k-images-idx3-ubyte", [](std::string& bytes) { bytes.clear(); }), HasSubstr("offset 0"));
  EXPECT_THAT(idx("t10k-images-idx3-ubyte", [](std::string& bytes) { bytes[7] = 0; }),
              AllOf(HasSubstr("offset 4"), HasSubstr("is 0, expected at least 1")));
  EXPECT_THAT(idx("t10k-images-idx3-ubyte",
                  [](std::string& bytes) { std::fill(bytes.begin() + 4, bytes.begin() + 16, '\xff'); }),
              AllOf(HasSubstr("offset 8"), HasSubstr("more than any file holds")));
  EXPECT_THAT(idx("train-labels-idx1-ubyte", [](std::string& bytes) { bytes = WriteIdxLabels(kTest); }),
              AllOf(HasSubstr("has 20 images"), HasSubstr("train-labels-idx1-ubyte has 7 labels")));
  EXPECT_THAT(idx("t10k-labels-idx1-ubyte", [](std::string& bytes) { bytes[10] = 5; }),
              AllOf(HasSubstr("t10k-labels-idx1-ubyte, offset 10"), HasSubstr("label of sample 2 is 5"),
                    HasSubstr("expected 0 to 4"), HasSubstr("as in")));
  DataSet wide = SomeData({1, 4, 4}, 7, 5);
  EXPECT_THAT(idx("t10k-images-idx3-ubyte", [&](std::string& bytes) { bytes = WriteIdxImages(wide); }),
              AllOf(HasSubstr("1 x 4 x 4"), HasSubstr("1 x 3 x 4"), HasSubstr("expected the same")));
  EXPECT_THAT(Sentence(IdxFiles(), "train-labels-idx1-ubyte", [](std::string&) {}, {.classes = 4}),
              AllOf(HasSubstr("train-labels-idx1-ubyte, offset 11"), HasSubstr("is 4, expected 0 to 3"),
                    HasSubstr("the model has 4 classes")));
}

TEST(ReadersTest, WhatIsWrongInAnNpyFileIsToldByItsOffset) {
  const auto npy = [](const std::string& name, const std::function<void(std::string&)>& change) {
    return Sentence(NpyFiles(), name, change);
  };
  const auto replace = [](const std::string& what, const std::string& with) {
    return [=](std::string& bytes) { bytes.replace(bytes.find(what), what.size(), with); };
  };
  EXPECT_THAT(npy("x_train.npy", [](std::string& bytes) { bytes[0] = 'x'; }),
              AllOf(HasSubstr("x_train.npy, offset 0"), HasSubstr("NUMPY")));
  EXPECT_THAT(npy("x_train.npy", [](std::string& bytes) { bytes[6] = 4; }), HasSubstr("version is 4"));
  EXPECT_THAT(npy("x_train.npy", replace("|u1", "<f4")), AllOf(HasSubstr("'<f4'"), HasSubstr("expected '|u1'")));
  EXPECT_THAT(npy("x_train.npy", replace("False", "True ")), HasSubstr("fortran_order is True"));
  EXPECT_THAT(npy("x_train.npy", replace("shape", "shame")), HasSubstr("the header is not of the form"));
  EXPECT_THAT(npy("x_train.npy", [](std::string& bytes) { bytes.pop_back(); }), HasSubstr("short"));
  EXPECT_THAT(npy("x_train.npy", [](std::string& bytes) { bytes.resize(40); }), HasSubstr("ends in its header"));
  EXPECT_THAT(npy("x_test.npy", replace("(7, 3, 4)", "(84,)    ")), HasSubstr("expected 3 or 4 dimensions"));
  EXPECT_THAT(npy("y_test.npy", replace("(7,)", "(1,7)")), HasSubstr("header"));
  EXPECT_THAT(npy("y_test.npy", replace("|u1", "|i1")), "no error");
  EXPECT_THAT(npy("y_test.npy",
                  [&](std::string& bytes) {
                    replace("|u1", "|i1")(bytes);
                    bytes[bytes.size() - 3] = '\xff';
                  }),
              AllOf(HasSubstr("y_test.npy, offset 132"), HasSubstr("sample 4 is -1"), HasSubstr("expected 0 or more")));
  EXPECT_THAT(npy("y_test.npy", [](std::string& bytes) { bytes.back() = 9; }),
              AllOf(HasSubstr("offset 134"), HasSubstr("sample 6 is 9"), HasSubstr("expected 0 to 4")));
}

TEST(ReadersTest, NpyImagesWithChannelsLastAreTurned) {
  const DataSet data = SomeData({3, 5, 6}, 4, 2);
  DataSet read;
  const std::string first = WriteNpyImages(data);
  ASSERT_TRUE(ReadNpyImages("x", first, read).ok());
  EXPECT_EQ(read.shape, data.shape);
  EXPECT_EQ(read.pixels, data.pixels);
  // The same image by image with the channels last.
  std::string last = first;
  const size_t begin = first.size() - data.pixels.size();
  last.replace(last.find("(4, 3, 5, 6)"), 12, "(4, 5, 6, 3)");
  for (size_t i = 0; i < data.pixels.size(); ++i) {
    const size_t sample = i / 90, channel = i % 90 / 30, place = i % 30;
    last[begin + sample * 90 + place * 3 + channel] = static_cast<char>(data.pixels[i]);
  }
  DataSet turned;
  ASSERT_TRUE(ReadNpyImages("x", last, turned).ok());
  EXPECT_EQ(turned.shape, data.shape);
  EXPECT_EQ(turned.pixels, data.pixels);
}

TEST(ReadersTest, WideLabelsAndImagesWithChannelsGoThereAndBack) {
  DataSet data = SomeData({3, 5, 6}, 300, 300);
  const std::string labels = WriteNpyLabels(data);
  const Result<LabelArray> read = ReadNpyLabels("y", labels);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->labels, data.labels);
  EXPECT_EQ(read->begin % 64, 0u);
  EXPECT_EQ(read->width, 2u);
  DataSet images;
  ASSERT_TRUE(ReadIdxImages("x", WriteIdxImages(data), images).ok());
  EXPECT_EQ(images.shape, data.shape);
  EXPECT_EQ(images.pixels, data.pixels);
}

TEST(ReadersTest, LinesOfNumbersAreRead) {
  const std::map<std::string, std::string> files = {
      {"mnist_train.csv", "label,1x1,1x2,2x1,2x2\n3,0,1,254,255\r\n1,9,8,7,6\n0,0,0,0,0"},
      {"mnist_test.csv", "2,1,2,3,4\n"}};
  const Result<DataPair> pair = ReadFiles(files);
  ASSERT_TRUE(pair.ok()) << pair.status().message();
  EXPECT_EQ(pair->train.shape, (Shape{1, 2, 2}));
  EXPECT_EQ(pair->train.labels, (std::vector<uint16_t>{3, 1, 0}));
  EXPECT_EQ(pair->train.pixels, (std::vector<uint8_t>{0, 1, 254, 255, 9, 8, 7, 6, 0, 0, 0, 0}));
  EXPECT_EQ(pair->test.labels, (std::vector<uint16_t>{2}));
  EXPECT_EQ(pair->test.classes, 4u);
  const auto csv = [&](const std::string& text) {
    return Sentence(files, "mnist_train.csv", [&](std::string& bytes) { bytes = text; });
  };
  EXPECT_THAT(csv("3,0,1,254,256\n"),
              AllOf(HasSubstr("mnist_train.csv, line 1"), HasSubstr("number 5 is \"256\""), HasSubstr("0 to 255")));
  EXPECT_THAT(csv("3,0,1,,255\n"), HasSubstr("number 4 is \"\""));
  EXPECT_THAT(csv("3,0,1,2,3\n1,2,3\n"),
              AllOf(HasSubstr("line 2"), HasSubstr("has 2 pixels"), HasSubstr("expected 4")));
  EXPECT_THAT(csv("3,0,1,2\n"), HasSubstr("a square image"));
  EXPECT_THAT(csv("label\n"), HasSubstr("no line with an image"));
  EXPECT_THAT(csv("1,0,1,2,3\n"),
              AllOf(HasSubstr("mnist_test.csv: the label of sample 0 is 2"), HasSubstr("expected 0 to 1")));
}

TEST(ReadersTest, AFolderWithoutADataSetSaysWhatIsLookedFor) {
  EXPECT_THAT(ReadFiles({{"readme", ""}}).status().message(),
              AllOf(HasSubstr("has no data set"), HasSubstr("train-images-idx3-ubyte"), HasSubstr("data_batch_1.bin"),
                    HasSubstr("x_train.npy")));
  EXPECT_THAT(ReadDataFolder("/no/such/folder").status().message(),
              AllOf(HasSubstr("/no/such/folder"), HasSubstr("No such file")));
  auto files = IdxFiles();
  files.erase("t10k-labels-idx1-ubyte");
  EXPECT_THAT(ReadFiles(files).status().message(), HasSubstr("but not t10k-labels-idx1-ubyte"));
  files = IdxFiles();
  files["kmnist-train-images-idx3-ubyte"] = "";
  EXPECT_THAT(ReadFiles(files).status().message(), AllOf(HasSubstr("several data sets"), HasSubstr("kmnist-train")));
  files = NpyFiles();
  files.erase("y_train.npy");
  EXPECT_THAT(ReadFiles(files).status().message(), HasSubstr("but not y_train.npy"));
}

#ifdef POTLUCK_HAS_ZLIB
std::string Gzip(const std::string& bytes) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(compressBound(bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

TEST(ReadersTest, CompressedFilesAreReadAndTheirDamageIsTold) {
  std::map<std::string, std::string> files;
  for (const auto& [name, bytes] : IdxFiles()) files[name + ".gz"] = Gzip(bytes);
  ExpectPair(ReadFiles(files), "idx");
  const std::string name = "train-images-idx3-ubyte.gz";
  // Two members, as from concatenated files.
  const std::string whole = WriteIdxImages(kTrain);
  EXPECT_EQ(
      Sentence(files, name, [&](std::string& bytes) { bytes = Gzip(whole.substr(0, 100)) + Gzip(whole.substr(100)); }),
      "no error");
  EXPECT_THAT(Sentence(files, name, [](std::string& bytes) { bytes.resize(bytes.size() - 9); }),
              AllOf(HasSubstr(name + ", offset"), HasSubstr("cut short")));
  EXPECT_THAT(Sentence(files, name, [](std::string& bytes) { bytes.resize(3); }), HasSubstr("cut short"));
  EXPECT_THAT(Sentence(files, name, [](std::string& bytes) { bytes[bytes.size() - 6] ^= 1; }),
              AllOf(HasSubstr(name + ", offset"), HasSubstr("damaged")));
  EXPECT_THAT(Sentence(files, name, [](std::string& bytes) { bytes += "more"; }), HasSubstr("4 bytes more"));
  EXPECT_THAT(Sentence(files, name, [](std::string& bytes) { bytes = "plain"; }), HasSubstr("1f 8b"));
}
#endif

}  // namespace
}  // namespace potluck::cnn
