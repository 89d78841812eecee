// For tests: runs the real binary as a user would, and looks at what it says.
//
// Every program runs with an environment of its own (nothing inherited but PATH and the sanitizers' options), with HOME
// and the cache in the test's own directory. Not thread-safe, but different objects may be used from different threads.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace potluck {

// Made at once, removed with all that is in it at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string ReadWholeFile(const std::string& path);
void WriteWholeFile(const std::string& path, const std::string& bytes);
// Of every plain file in the directory, by name.
std::map<std::string, std::string> ReadDirectory(const std::string& path);

struct ProgramOptions {
  std::string program = "";                             // Another one than the binary that was built; empty: that.
  std::string input = "";                               // What standard input holds.
  std::map<std::string, std::string> environment = {};  // Besides what every program gets.
  std::string output = "";                              // A file to be standard output; empty: it is kept.
  bool full_disk = false;                               // It cannot write into files, as on a disk without space.
};

// What a program that has ended left.
struct Ended {
  int code = -1;  // -1: it did not end by itself within the limit, or a signal ended it.
  std::string out, err;
  absl::Duration took;
};

// A running `potluck`. Killed at the end of its life.
class Program {
 public:
  explicit Program(const std::vector<std::string>& arguments, const ProgramOptions& options = {});
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Where it was built; plug-ins lie beside it.
  static std::string Path();

  // Waits until standard error (or standard output) holds `text`; false if the program ended first or time ran out.
  bool WaitForError(const std::string& text, absl::Duration limit = absl::Seconds(30));
  bool WaitForOutput(const std::string& text, absl::Duration limit = absl::Seconds(30));

  void Signal(int signal);
  // Waits for its end; kills it when `limit` is over.
  Ended Wait(absl::Duration limit = absl::Seconds(30));

  const std::string& out() const { return out_; }
  const std::string& err() const { return err_; }

 private:
  bool WaitFor(const std::string& stream, const std::string& text, absl::Duration limit);
  // Reads what comes until `until`; false when both streams are closed.
  bool Read(absl::Time until);

  absl::Time started_;
  pid_t pid_ = -1;
  int out_pipe_ = -1, err_pipe_ = -1;
  std::string out_, err_;
};

// Starts it and waits for its end.
Ended RunPotluck(const std::vector<std::string>& arguments, const ProgramOptions& options = {},
                 absl::Duration limit = absl::Seconds(30));

// Fails the test unless the program ended with `code`, said nothing on standard output, and said on standard error one
// sentence on one line that holds every one of `parts`.
void ExpectOneSentence(const Ended& ended, int code, const std::vector<std::string>& parts);

// Fails the test unless standard output is one JSON object on one line.
void ExpectOneJsonObject(const Ended& ended);

}  // namespace potluck
