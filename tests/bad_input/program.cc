#include "tests/bad_input/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"

namespace potluck {
namespace {

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// One place for the whole test process: programs started one after the other are one installation.
const TemporaryDirectory& Home() {
  static const TemporaryDirectory home;
  return home;
}

std::vector<std::string> Environment(const ProgramOptions& options) {
  std::map<std::string, std::string> variables = options.environment;
  variables.emplace("HOME", Home().path());
  for (const char* name : {"PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LD_LIBRARY_PATH"}) {
    if (const char* value = std::getenv(name); value != nullptr) variables.emplace(name, value);
  }
  std::vector<std::string> entries;
  for (const auto& [name, value] : variables) entries.push_back(absl::StrCat(name, "=", value));
  return entries;
}

// A file that is gone from its directory already, with `bytes` to be read.
int InputFile(const std::string& bytes) {
  std::string name = Home() / "input.XXXXXX";
  const int file = mkostemp(name.data(), O_CLOEXEC);
  unlink(name.c_str());
  EXPECT_EQ(write(file, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  lseek(file, 0, SEEK_SET);
  return file;
}

// Appends what there is; closes the pipe at its end.
void ReadPipe(int& pipe, std::string& text) {
  char buffer[4096];
  const ssize_t size = read(pipe, buffer, sizeof buffer);
  if (size > 0) {
    text.append(buffer, static_cast<size_t>(size));
  } else if (size == 0 || (errno != EINTR && errno != EAGAIN)) {
    close(pipe);
    pipe = -1;
  }
}

// While it lives, whatever this process starts cannot write a byte into a file: writing fails as on a full disk, but
// for the error's name.
class FullDisk {
 public:
  FullDisk() : signal_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &limit_);
    rlimit none = limit_;
    none.rlim_cur = 0;
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &limit_);
    signal(SIGXFSZ, signal_);
  }

 private:
  void (*const signal_)(int);
  rlimit limit_{};
};

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  path_ = testing::TempDir() + "/potluck-test.XXXXXX";
  if (mkdtemp(path_.data()) == nullptr) std::abort();
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string ReadWholeFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void WriteWholeFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
}

std::map<std::string, std::string> ReadDirectory(const std::string& path) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    if (entry.is_regular_file()) files[entry.path().filename()] = ReadWholeFile(entry.path());
  }
  return files;
}

Program::Program(const std::vector<std::string>& arguments, const ProgramOptions& options) : started_(absl::Now()) {
  std::vector<std::string> words = {"potluck"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment = Environment(options);
  int out[2], err[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) std::abort();
  const int input = InputFile(options.input);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  if (!options.output.empty()) {
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, options.output.c_str(), O_WRONLY, 0);
  }
  posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
  const std::string program = options.program.empty() ? POTLUCK_PROGRAM : options.program;
  int error = 0;
  {
    const std::unique_ptr<FullDisk> full_disk = options.full_disk ? std::make_unique<FullDisk>() : nullptr;
    error =
        posix_spawn(&pid_, program.c_str(), &actions, nullptr, Pointers(words).data(), Pointers(environment).data());
  }
  EXPECT_EQ(error, 0) << "cannot start " << program;
  posix_spawn_file_actions_destroy(&actions);
  for (const int file : {input, out[1], err[1]}) close(file);
  out_pipe_ = out[0];
  err_pipe_ = err[0];
}

std::string Program::Path() { return POTLUCK_PROGRAM; }

Program::~Program() {
  if (pid_ >= 0) Wait(absl::ZeroDuration());
  for (const int pipe : {out_pipe_, err_pipe_}) {
    if (pipe >= 0) close(pipe);
  }
}

bool Program::Read(absl::Time until) {
  if (out_pipe_ < 0 && err_pipe_ < 0) return false;
  pollfd files[] = {{out_pipe_, POLLIN, 0}, {err_pipe_, POLLIN, 0}};
  const int64_t wait = std::clamp<int64_t>(absl::ToInt64Milliseconds(until - absl::Now()) + 1, 0, 60'000);
  if (poll(files, 2, static_cast<int>(wait)) <= 0) return true;
  if (files[0].revents != 0) ReadPipe(out_pipe_, out_);
  if (files[1].revents != 0) ReadPipe(err_pipe_, err_);
  return true;
}

bool Program::WaitFor(const std::string& stream, const std::string& text, absl::Duration limit) {
  const absl::Time until = absl::Now() + limit;
  while (stream.find(text) == std::string::npos) {
    if (absl::Now() >= until || !Read(until)) return false;
  }
  return true;
}

bool Program::WaitForError(const std::string& text, absl::Duration limit) { return WaitFor(err_, text, limit); }
bool Program::WaitForOutput(const std::string& text, absl::Duration limit) { return WaitFor(out_, text, limit); }

void Program::Signal(int signal) {
  if (pid_ >= 0) kill(pid_, signal);
}

Ended Program::Wait(absl::Duration limit) {
  const absl::Time until = absl::Now() + limit;
  // It has ended when its streams have: what it starts itself does not outlive it.
  while (absl::Now() < until && Read(until)) {
  }
  if (out_pipe_ >= 0 || err_pipe_ >= 0) Signal(SIGKILL);
  int status = 0;
  if (pid_ >= 0) waitpid(pid_, &status, 0);
  pid_ = -1;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out_, err_, absl::Now() - started_};
}

Ended RunPotluck(const std::vector<std::string>& arguments, const ProgramOptions& options, absl::Duration limit) {
  return Program(arguments, options).Wait(limit);
}

void ExpectOneSentence(const Ended& ended, int code, const std::vector<std::string>& parts) {
  SCOPED_TRACE(ended.err);
  EXPECT_EQ(ended.code, code);
  EXPECT_EQ(ended.out, "");
  EXPECT_EQ(ended.err.substr(0, 9), "potluck: ");
  EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1);
  EXPECT_TRUE(ended.err.empty() || ended.err.back() == '\n');
  // Nor two sentences on that line.
  EXPECT_EQ(ended.err.find(". "), std::string::npos);
  for (const std::string& part : parts) {
    EXPECT_NE(ended.err.find(part), std::string::npos) << "does not say \"" << part << "\"";
  }
}

void ExpectOneJsonObject(const Ended& ended) {
  SCOPED_TRACE(ended.out);
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(std::count(ended.out.begin(), ended.out.end(), '\n'), 1);
  const nlohmann::json json = nlohmann::json::parse(ended.out, nullptr, /*allow_exceptions=*/false);
  EXPECT_TRUE(json.is_object());
}

}  // namespace potluck
