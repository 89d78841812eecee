#include "cli/subprocess.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace potluck {

absl::StatusOr<ProgramEnd> RunProgram(const std::vector<std::string>& arguments, const std::string& folder) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "no pipe for a program");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  if (!folder.empty()) posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, pointers[0], &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    if (error == ENOENT) return absl::NotFoundError(absl::StrCat("there is no program ", arguments[0], " here"));
    return absl::ErrnoToStatus(error, absl::StrCat("cannot start ", arguments[0]));
  }
  ProgramEnd end;
  char buffer[4096];
  for (ssize_t size = 0; (size = read(ends[0], buffer, sizeof(buffer))) > 0 || (size < 0 && errno == EINTR);) {
    if (size > 0) end.output.append(buffer, static_cast<size_t>(size));
  }
  close(ends[0]);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) end.code = WEXITSTATUS(status);
  return end;
}

std::string LastLine(const std::string& output) {
  std::string last;
  for (const absl::string_view line : absl::StrSplit(output, '\n')) {
    if (const absl::string_view text = absl::StripAsciiWhitespace(line); !text.empty()) last = std::string(text);
  }
  return last;
}

}  // namespace potluck
