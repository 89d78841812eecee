#include "coordinator/store/backup.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "coordinator/store/database.h"
#include "coordinator/store/files.h"
#include "coordinator/store/schema.h"

namespace potluck {
namespace {

// What the original gives out after the copy was made (epochs, job numbers) must not be given out again by a
// coordinator that goes on from the copy: workers would take the one job for the other.
absl::Status LeaveRoomForIds(const std::string& copy) {
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(copy, Database::Mode::kReadWrite);
  if (!database.ok()) return database.status();
  (*database)->Execute("UPDATE meta SET value = value + 1000000 WHERE key IN ('epoch', 'last_job')");
  return (*database)->status();
}

// Makes `temporary` a complete copy of the database.
absl::Status CopyDatabase(const std::string& file, const std::string& temporary) {
  unlink(temporary.c_str());
  {
    // SQLite writes into an empty file that is there: made here, so that nobody else may ever read it.
    const Descriptor created(open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (created.get() < 0) return FileError("create", temporary, errno);
  }
  absl::StatusOr<std::unique_ptr<Database>> source = Database::Open(file, Database::Mode::kReadWrite);
  if (!source.ok()) return source.status();
  Query copy(**source, "VACUUM INTO ?");
  copy.With(Text{temporary}).Run();
  if (!(*source)->status().ok()) {
    return absl::Status((*source)->status().code(),
                        absl::StrCat("cannot write the backup ", temporary, ": ", (*source)->status().message()));
  }
  if (absl::Status status = LeaveRoomForIds(temporary); !status.ok()) return status;
  return SyncFile(temporary);
}

}  // namespace

absl::Status BackUpDatabase(const std::string& database, const std::string& file) {
  const auto exists = [&file] {
    return absl::AlreadyExistsError(absl::StrCat(file, " is there already; choose another name for the backup"));
  };
  if (FileExists(file)) return exists();
  const std::string temporary = absl::StrCat(file, ".partial");
  absl::Status status = CopyDatabase(database, temporary);
  // Unlike a rename, a link never replaces a file that appeared meanwhile.
  if (status.ok() && link(temporary.c_str(), file.c_str()) != 0) {
    status = errno == EEXIST ? exists() : FileError("create", file, errno);
  }
  unlink(temporary.c_str());
  return status.ok() ? SyncDirectory(DirectoryOf(file)) : status;
}

absl::Status BackUpStateDirectory(const std::string& directory, const std::string& file) {
  const std::string database = DatabaseFile(directory);
  if (!FileExists(database)) {
    return absl::NotFoundError(
        absl::StrCat(directory, " is not a state directory: there is no potluck.db in it (see potluck serve --state)"));
  }
  return BackUpDatabase(database, file);
}

}  // namespace potluck
