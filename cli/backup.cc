// `potluck backup`: a copy of a coordinator's state, which may be in use.
#include <cstdio>
#include <optional>
#include <string>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "coordinator/store/backup.h"

namespace potluck {

int RunBackup(const Args& args) {
  Arguments arguments("backup", "Writes a consistent copy of a coordinator's database; it may be running meanwhile.");
  std::string directory, file;
  arguments.Positional("DIR", {"the directory of a `potluck serve --state`", Text(&directory).read}, "what to copy");
  arguments.Positional("FILE", {"a file that does not exist yet", Text(&file).read}, "where to");
  arguments.Epilogue(
      "To restore: stop the coordinator, remove DIR/potluck.db-wal and DIR/potluck.db-shm, then put the copy in place\n"
      "of DIR/potluck.db. The keys in DIR (key.pem, certificate.pem) are not in the copy: keep those apart, and "
      "secret.\n");
  if (const std::optional<int> code = arguments.Read(args)) return *code;
  if (absl::Status status = BackUpStateDirectory(directory, file); !status.ok()) return FailLocally(status);
  std::fprintf(stderr, "potluck: %s is a copy of %s\n", file.c_str(), directory.c_str());
  return kExitOk;
}

}  // namespace potluck
