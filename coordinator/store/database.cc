#include "coordinator/store/database.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

#include "absl/strings/str_cat.h"
#include "coordinator/store/files.h"

namespace potluck {
namespace {

constexpr int kBusyMilliseconds = 10'000;

absl::Status DatabaseError(int code, const std::string& file, const std::string& found) {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(
          absl::StrCat("no space left for ", file, "; free some space on its disk or delete finished jobs"));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return DamagedDatabase(file, found);
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_AUTH:
      return absl::PermissionDeniedError(absl::StrCat("cannot write to ", file, " (", found,
                                                      "); give this user write access or choose another --state"));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(
          absl::StrCat(file, " is locked by another program (", found, "); close it and try again"));
    case SQLITE_IOERR:
      return absl::InternalError(
          absl::StrCat("reading or writing ", file, " failed (", found, ", SQLite code ", code, "); check its disk"));
    default:
      return absl::InternalError(absl::StrCat("the database ", file, " failed: ", found, " (SQLite code ", code, ")"));
  }
}

}  // namespace

absl::Status DamagedDatabase(const std::string& file, absl::string_view found) {
  return absl::DataLossError(absl::StrCat(file, " is damaged or not a Potluck database (", found,
                                          "); it was left as it is: remove potluck.db-wal and potluck.db-shm and put a "
                                          "backup in its place, or copy what is intact with"
                                          " `sqlite3 ",
                                          file, " .recover | sqlite3 recovered.db`"));
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& file, Mode mode) {
  // SQLite would silently open a file that cannot be written as a read-only database. Asked without opening it: closing
  // any descriptor of a file drops all locks that this process has on it (fcntl(2)), SQLite's own among them, and
  // another process would then take the log away from under a running coordinator.
  if (faccessat(AT_FDCWD, file.c_str(), R_OK | W_OK, AT_EACCESS) != 0) return FileError("open", file, errno);
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(file.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<Database> database(new Database(file, handle));
  database->Check(code);
  if (database->status().ok()) {
    sqlite3_extended_result_codes(handle, 1);
    sqlite3_busy_timeout(handle, kBusyMilliseconds);
    database->Execute("PRAGMA temp_store = MEMORY");
    if (mode == Mode::kReadOnly) database->Execute("PRAGMA query_only = ON");
  }
  if (!database->status().ok()) return database->status();
  return database;
}

Database::~Database() { sqlite3_close_v2(handle_); }

void Database::Check(int code) {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE || !status_.ok()) return;
  status_ = DatabaseError(code, file_, handle_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle_));
}

void Database::Execute(const char* sql) {
  if (status_.ok()) Check(sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr));
}

int64_t Database::ReadInteger(const char* sql) {
  Query query(*this, sql);
  return query.With().First() ? query.Integer(0) : 0;
}

std::string Database::ReadText(const char* sql) {
  Query query(*this, sql);
  return query.With().First() ? query.Bytes(0) : "";
}

void Database::ResetStatements() {
  for (sqlite3_stmt* s = sqlite3_next_stmt(handle_, nullptr); s != nullptr; s = sqlite3_next_stmt(handle_, s)) {
    if (sqlite3_stmt_busy(s)) sqlite3_reset(s);
  }
}

void Database::Commit() {
  ResetStatements();
  Execute("COMMIT");
}

void Database::Rollback() {
  ResetStatements();
  status_ = absl::OkStatus();
  // After some errors SQLite has rolled back by itself.
  if (sqlite3_get_autocommit(handle_) == 0) Execute("ROLLBACK");
}

bool Query::Next() {
  if (!database_.status_.ok() || statement_ == nullptr) return false;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  database_.Check(code);
  Reset();
  return false;
}

int64_t Query::Run() {
  while (Next()) {
  }
  return database_.status_.ok() ? sqlite3_changes64(database_.handle_) : 0;
}

void Query::Reset() { sqlite3_reset(statement_); }

void Query::Restart() {
  bound_ = 0;
  if (!database_.status_.ok()) return;
  if (statement_ == nullptr) {
    database_.Check(sqlite3_prepare_v3(database_.handle_, sql_, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr));
  } else {
    sqlite3_reset(statement_);
  }
}

void Query::Bind(int64_t value) { database_.Check(sqlite3_bind_int64(statement_, ++bound_, value)); }

void Query::Bind(double value) { database_.Check(sqlite3_bind_double(statement_, ++bound_, value)); }

void Query::Bind(Text value) {
  database_.Check(
      sqlite3_bind_text64(statement_, ++bound_, value.value.data(), value.value.size(), SQLITE_STATIC, SQLITE_UTF8));
}

void Query::Bind(const std::string& bytes) {
  database_.Check(sqlite3_bind_blob64(statement_, ++bound_, bytes.data(), bytes.size(), SQLITE_STATIC));
}

// Nanoseconds since 1970; the ends of the range stand for the infinite times.
void Query::Bind(absl::Time value) { Bind(absl::ToUnixNanos(value)); }

std::string Query::Bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  return data == nullptr ? "" : std::string(static_cast<const char*>(data), sqlite3_column_bytes(statement_, column));
}

absl::Time Query::Time(int column) const {
  const int64_t nanoseconds = Integer(column);
  if (nanoseconds == std::numeric_limits<int64_t>::max()) return absl::InfiniteFuture();
  if (nanoseconds == std::numeric_limits<int64_t>::min()) return absl::InfinitePast();
  return absl::FromUnixNanos(nanoseconds);
}

}  // namespace potluck
