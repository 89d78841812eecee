// Where a worker runs: hosted notebook services with their limits and rules, or a machine of one's own.
//
// One table of facts (platform.cc), each dated and with its source, gathered from public documents; platforms change. A
// platform is recognised by what it shows openly: environment variables and folders. Nothing here hides a worker from a
// platform, and nothing should.
//
// Plain functions and values; thread-safe where the environment is not changed meanwhile.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace potluck {

struct Platform {
  std::string name;   // As flags and messages have it: "colab"; "machine" for one that is none of the others.
  std::string title;  // For people: "Google Colab".
  // Any one of them is enough.
  std::vector<std::string> variables;  // Environment variables that are set, to whatever.
  std::vector<std::string> folders;    // Absolute paths that exist.
  // The most that a session is known to get, with a GPU and without one; InfiniteDuration: no limit is known.
  absl::Duration gpu_session = absl::InfiniteDuration();
  absl::Duration cpu_session = absl::InfiniteDuration();
  std::string limits;                                    // One sentence about them, for people; empty: none are known.
  bool restricts = false;     // Its rule restricts workers: joining asks for --confirm-platform-rules.
  std::string rule;           // One sentence; empty: none is known.
  std::string source, dated;  // Of the rule and the limits: where and when they were read ("November 2026").
};

// All that are known, the more particular before the more general (Kaggle's image is built from Colab's); "machine" is
// the last.
const std::vector<Platform>& KnownPlatforms();

// The known platform of that name, or null.
const Platform* FindPlatform(absl::string_view name);

// The platform that this process runs on. `root` stands before every path, for tests.
const Platform& ThisPlatform(const std::string& root = "");

// How long ago this session began: the age of the first process of this machine or container. Zero where the system
// does not say. A worker that starts again in a running session so knows what is left of it. `root` stands before
// /proc.
absl::Duration SessionAge(const std::string& root = "");

// A GPU of NVIDIA's is in this machine or container, usable or not: where that shortens sessions, it does so too.
bool HasNvidiaDevice(const std::string& root = "");

// What is left of a session that is `age` old, by the platform's known limit; InfiniteDuration: no limit is known.
absl::Duration SessionLeft(const Platform& platform, bool has_gpu, absl::Duration age);

// When a worker takes its session to end, and one sentence that says so.
struct ExpectedEnd {
  absl::Duration in = absl::InfiniteDuration();  // InfiniteDuration: no end is known.
  std::string sentence;                          // Empty: there is nothing to say.
};
// A session that is older than the known limit has evidently got another one: its end is not known then.
ExpectedEnd KnownEnd(const Platform& platform, bool has_gpu, absl::Duration age);

}  // namespace potluck
