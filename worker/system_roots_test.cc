#include "worker/system_roots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace potluck {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const char kCertificate[] = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

std::string FileWith(const std::string& name, const std::string& bytes) {
  const std::string path = testing::TempDir() + "/" + name;
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

TEST(SystemRootsTest, TheFirstFileWithCertificatesCounts) {
  RootsPlaces places;
  places.files = {"/nowhere/at/all.pem", FileWith("no-certificate.pem", "nothing\n"),
                  FileWith("roots.pem", kCertificate), FileWith("others.pem", "-----BEGIN CERTIFICATE-----")};
  EXPECT_EQ(LoadRoots(places).value_or(""), kCertificate);
}

TEST(SystemRootsTest, NoneAnywhereSaysWhatToDo) {
  const absl::Status status = LoadRoots({.files = {"/nowhere/at/all.pem", "/nowhere/else.pem"}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("/nowhere/at/all.pem, /nowhere/else.pem"),
                                                   HasSubstr("ca-certificates"), HasSubstr("SSL_CERT_FILE")));
}

TEST(SystemRootsTest, AFileThatTheUserChoseIsNotPassedOver) {
  RootsPlaces places;
  places.files = {FileWith("roots.pem", kCertificate)};
  places.chosen_with = "SSL_CERT_FILE";
  for (const auto& [file, says] : {std::pair<std::string, std::string>{"/nowhere/at/all.pem", "No such file"},
                                   {FileWith("empty.pem", ""), "is empty"},
                                   {FileWith("text.pem", "text"), "holds no certificate"}}) {
    places.chosen = file;
    EXPECT_THAT(std::string(LoadRoots(places).status().message()),
                AllOf(HasSubstr("SSL_CERT_FILE is " + file), HasSubstr(says)));
  }
}

TEST(SystemRootsTest, TheEnvironmentChooses) {
  const std::vector<std::string> names = {"SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"};
  std::vector<std::string> kept;
  for (const std::string& name : names) {
    const char* value = getenv(name.c_str());
    kept.push_back(value == nullptr ? "" : value);
    unsetenv(name.c_str());
  }
  const std::string file = FileWith("roots.pem", kCertificate);
  setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "/grpc.pem", 1);
  EXPECT_EQ(SystemRootsPlaces().chosen, "/grpc.pem");
  setenv("SSL_CERT_FILE", file.c_str(), 1);
  EXPECT_EQ(SystemRootsPlaces().chosen, file);
  EXPECT_EQ(SystemRootsPlaces().chosen_with, "SSL_CERT_FILE");
  EXPECT_TRUE(LoadRoots(SystemRootsPlaces()).ok());
  unsetenv("SSL_CERT_FILE");
  unsetenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH");
  EXPECT_EQ(SystemRootsPlaces().chosen, "");
  EXPECT_FALSE(SystemRootsPlaces().files.empty());
  for (size_t i = 0; i < names.size(); ++i) setenv(names[i].c_str(), kept[i].c_str(), 1);  // Empty counts as none.
}

}  // namespace
}  // namespace potluck
