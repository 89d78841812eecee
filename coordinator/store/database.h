// A thin layer over one SQLite connection: statements with typed values, and errors as sentences.
//
// The first error of a connection sticks in status() and every later statement does nothing, so that a run of
// statements is written without a check after each; whoever runs a transaction looks at status() before committing. Not
// thread-safe: one connection is used by one thread at a time.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace potluck {

// What to do about a damaged database: one sentence that names the file.
absl::Status DamagedDatabase(const std::string& file, absl::string_view found);

class Database {
 public:
  enum class Mode { kReadWrite, kReadOnly };

  // Opens an existing file.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& file, Mode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Runs one or more statements that give no rows.
  void Execute(const char* sql);
  // The first column of the first row; 0 or empty if there is none.
  int64_t ReadInteger(const char* sql);
  std::string ReadText(const char* sql);

  // A transaction that may write: waits for another program's to end.
  void Begin() { Execute("BEGIN IMMEDIATE"); }
  // Reads only, all of one moment.
  void BeginReading() { Execute("BEGIN"); }
  // Does nothing if there was an error; the caller then rolls back.
  void Commit();
  // Gives up the transaction, and forgets the error.
  void Rollback();

  const absl::Status& status() const { return status_; }
  const std::string& file() const { return file_; }

 private:
  friend class Query;
  Database(std::string file, sqlite3* handle) : file_(std::move(file)), handle_(handle) {}
  // Keeps the error if `code` is one.
  void Check(int code);
  void ResetStatements();

  const std::string file_;
  sqlite3* const handle_;
  absl::Status status_;
};

// A string to be stored as text, readable in the sqlite3 shell. Other strings are stored as bytes.
struct Text {
  const std::string& value;
};

// One statement, prepared when first used. Must not outlive its database.
class Query {
 public:
  Query(Database& database, const char* sql) : database_(database), sql_(sql) {}
  ~Query() { sqlite3_finalize(statement_); }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  // Starts over with these values. They must live until the last row is read.
  template <typename... Values>
  Query& With(const Values&... values) {
    Restart();
    (Bind(values), ...);
    return *this;
  }
  // Goes to the next row: false at the end or after an error.
  bool Next();
  // For a statement that gives no rows. Returns the number of rows it changed.
  int64_t Run();
  // The first row is all that is wanted of a statement: its columns can be read until Next or With.
  bool First() { return Next(); }
  // Ends reading early, so that the transaction's view is let go.
  void Reset();

  int64_t Integer(int column) const { return sqlite3_column_int64(statement_, column); }
  bool IsNull(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
  double Real(int column) const { return sqlite3_column_double(statement_, column); }
  std::string Bytes(int column) const;
  absl::Time Time(int column) const;
  template <typename Number>
  Number As(int column) const {
    return static_cast<Number>(Integer(column));
  }

 private:
  void Restart();
  void Bind(int64_t value);
  void Bind(double value);
  void Bind(Text value);
  void Bind(const std::string& bytes);
  void Bind(absl::Time value);
  // Identifiers and unsigned numbers keep their bits; rules.h bounds those that SQLite must order.
  template <typename Number>
  requires(std::is_enum_v<Number> || std::is_integral_v<Number>) void Bind(Number value) {
    Bind(static_cast<int64_t>(value));
  }

  Database& database_;
  const char* const sql_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

}  // namespace potluck
