#include "coordinator/store/sqlite_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <set>
#include <string>
#include <vector>

#include "coordinator/store/schema.h"
#include "coordinator/store/store_testing.h"

namespace potluck {
namespace {

using ::testing::HasSubstr;
using Verdicts = std::vector<Verdict>;

std::unique_ptr<SqliteStore> OpenOrDie(const std::string& directory, const SqliteStoreOptions& options = {}) {
  absl::StatusOr<std::unique_ptr<SqliteStore>> store = SqliteStore::Open(directory, options);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

absl::Status OpenError(const std::string& directory) { return SqliteStore::Open(directory).status(); }

// What somebody else does to the file, with SQLite.
void RunSql(const std::string& file, const char* sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &db), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
  sqlite3_close(db);
}

std::string FileBytes(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void WriteBytes(const std::string& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

// A closed state directory with 500 slices of job 1.
void FillDirectory(const std::string& directory) {
  const std::unique_ptr<SqliteStore> store = OpenOrDie(directory);
  std::vector<Fact> facts = {Job(1), Opened(1, 0, 5000)};
  for (uint64_t i = 0; i < 500; ++i) facts.push_back(Slice(1, 0, {10 * i, 10 * i + 10}, absl::StrCat("payload ", i)));
  AppendAndWait(*store, std::move(facts));
}

// The tables of version 1, as its builds made them.
constexpr char kVersion1[] = R"sql(
PRAGMA auto_vacuum = INCREMENTAL;
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', 0), ('last_job', 0);
CREATE TABLE jobs(job INTEGER PRIMARY KEY, request_id BLOB NOT NULL UNIQUE, workload TEXT, name TEXT, spec BLOB,
  submitted_by TEXT, priority INTEGER, weight REAL, at INTEGER);
CREATE TABLE job_settings(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, paused INTEGER, priority INTEGER, weight REAL,
  at INTEGER);
CREATE INDEX job_settings_by_job ON job_settings(job);
CREATE TABLE job_ends(job INTEGER PRIMARY KEY, outcome INTEGER, result BLOB, message TEXT, contributions TEXT, at INTEGER);
CREATE TABLE rounds(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, round INTEGER NOT NULL, size INTEGER NOT NULL,
  durability INTEGER, planner_state BLOB, at INTEGER, UNIQUE(job, round));
CREATE TABLE commits(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, round INTEGER NOT NULL, begin INTEGER NOT NULL,
  "end" INTEGER NOT NULL, digest BLOB NOT NULL, payload BLOB NOT NULL, worker INTEGER, busy REAL, at INTEGER,
  checksum INTEGER);
CREATE TABLE live(job INTEGER NOT NULL, round INTEGER NOT NULL, begin INTEGER NOT NULL, "end" INTEGER NOT NULL,
  seq INTEGER NOT NULL, PRIMARY KEY(job, round, begin)) WITHOUT ROWID;
CREATE TABLE retractions(commit_seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, reason TEXT, at INTEGER);
CREATE INDEX retractions_by_job ON retractions(job);
CREATE TABLE disagreements(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, round INTEGER NOT NULL,
  begin INTEGER NOT NULL, "end" INTEGER NOT NULL, digest BLOB NOT NULL, worker INTEGER NOT NULL, at INTEGER,
  UNIQUE(job, round, begin, "end", digest, worker));
CREATE TABLE workers(seq INTEGER PRIMARY KEY, worker INTEGER NOT NULL UNIQUE, installation TEXT NOT NULL UNIQUE,
  name TEXT, at INTEGER);
CREATE TABLE tokens(seq INTEGER PRIMARY KEY, token INTEGER NOT NULL UNIQUE, hash BLOB NOT NULL UNIQUE, name TEXT,
  role INTEGER, at INTEGER, expires INTEGER);
CREATE TABLE token_revocations(token INTEGER PRIMARY KEY, at INTEGER);
CREATE TABLE blobs(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, digest BLOB NOT NULL, UNIQUE(job, digest));
CREATE TABLE purges(job INTEGER PRIMARY KEY);
PRAGMA application_id = 0x50744c6b;
PRAGMA user_version = 1;
INSERT INTO jobs VALUES (1, CAST('request 1' AS BLOB), 'nqueens', 'job 1', x'01', 'ada', 3, 1.5, 1700000001000000000);
INSERT INTO rounds VALUES (NULL, 1, 0, 100, 0, CAST('0' AS BLOB), 1700000010000000000);
INSERT INTO workers VALUES (NULL, 1, 'installation 1', 'laptop', 1700000060000000000);
UPDATE meta SET value = 1 WHERE key = 'last_job';
)sql";

class SqliteStoreTest : public ::testing::Test {
 protected:
  const std::string& directory() const { return directory_.path(); }
  std::string file() const { return DatabaseFile(directory()); }
  TemporaryDirectory directory_;
};

TEST_F(SqliteStoreTest, ReopeningFindsEverythingAndRaisesTheEpoch) {
  const std::string nested = directory() + "/a/b";
  std::unique_ptr<SqliteStore> store = OpenOrDie(nested);
  AppendAndWait(*store, VariedFacts());
  const std::string before = Describe(*store);
  const Epoch epoch = store->epoch();
  store.reset();
  store = OpenOrDie(nested);
  EXPECT_EQ(Describe(*store), before);
  EXPECT_GT(store->epoch(), epoch);
  EXPECT_EQ(AppendOne(*store, Slice(1, 0, {0, 10}, "a")), Verdict::kRepeat);
  struct stat info;
  ASSERT_EQ(stat(nested.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  ASSERT_EQ(stat(DatabaseFile(nested).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(SqliteStoreTest, ClosingWritesWhatWasAppended) {
  std::unique_ptr<SqliteStore> store = OpenOrDie(directory());
  int done = 0;
  for (uint64_t id = 1; id <= 50; ++id) {
    store->Append(store->epoch(), {Job(id)},
                  [&done](const absl::Status& status, const Verdicts&) { done += status.ok(); });
  }
  store.reset();
  EXPECT_EQ(done, 50);
  EXPECT_EQ(OpenOrDie(directory())->Load()->jobs.size(), 50u);
}

TEST_F(SqliteStoreTest, SecondCoordinatorIsRefused) {
  const std::unique_ptr<SqliteStore> store = OpenOrDie(directory());
  const absl::Status status = OpenError(directory());
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_EQ(status.message(),
            absl::StrCat("state directory ", directory(), " is in use by another coordinator (process ", getpid(),
                         "); stop it or choose another --state"));
}

TEST_F(SqliteStoreTest, CoordinatorWhoseEpochIsOverIsRefused) {
  const std::unique_ptr<SqliteStore> store = OpenOrDie(directory());
  AppendOne(*store, Job(1));
  // As on a file system whose locks do not work.
  absl::StatusOr<std::unique_ptr<Database>> other = OpenDatabase(directory(), true);
  ASSERT_TRUE(other.ok()) << other.status();
  ASSERT_TRUE(RaiseEpoch(**other).ok());
  EXPECT_TRUE(absl::IsAborted(AppendAndWait(*store, store->epoch(), {Job(2)}).status));
  EXPECT_EQ(store->Load()->last_job, JobId{1});
}

// Appends slices one after the other, writing the index of each acknowledged one to `pipe`; killed at any moment.
[[noreturn]] void AppendUntilKilled(const std::string& directory, int pipe) {
  absl::StatusOr<std::unique_ptr<SqliteStore>> store = SqliteStore::Open(directory);
  if (!store.ok()) _exit(1);
  uint64_t next = 0;
  (*store)
      ->ForEachSlice({JobId{1}, 0}, [&next](const SliceCommitted& slice) { next = slice.interval.end; })
      .IgnoreError();
  (*store)->Append((*store)->epoch(), {Job(1), Opened(1, 0, 1 << 30)}, nullptr);
  for (;; ++next) {
    (*store)->Append((*store)->epoch(), {Slice(1, 0, {next, next + 1}, absl::StrCat(next))},
                     [pipe, next](const absl::Status& status, const Verdicts& verdicts) {
                       if (!status.ok() || verdicts[0] != Verdict::kStored) _exit(2);
                       if (write(pipe, &next, sizeof(next)) != sizeof(next)) _exit(3);
                     });
    if (next % 64 == 0) AppendAndWait(**store, (*store)->epoch(), {});
  }
}

TEST_F(SqliteStoreTest, WhatWasAcknowledgedSurvivesKill) {
  std::set<uint64_t> acknowledged;
  for (int round = 0; round < 5; ++round) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) AppendUntilKilled(directory(), ends[1]);
    close(ends[1]);
    uint64_t index = 0;
    int received = 0;
    while (read(ends[0], &index, sizeof(index)) == sizeof(index)) {
      acknowledged.insert(index);
      if (++received == 100 + 37 * round) kill(child, SIGKILL);  // Reading on drains what it still wrote.
    }
    close(ends[0]);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
    const std::unique_ptr<SqliteStore> store = OpenOrDie(directory());
    ASSERT_NE(store, nullptr);
    std::set<uint64_t> found;
    ASSERT_TRUE(store
                    ->ForEachSlice({JobId{1}, 0},
                                   [&found](const SliceCommitted& slice) {
                                     EXPECT_EQ(slice.payload, absl::StrCat(slice.interval.begin));
                                     found.insert(slice.interval.begin);
                                   })
                    .ok());
    EXPECT_TRUE(std::includes(found.begin(), found.end(), acknowledged.begin(), acknowledged.end()));
    EXPECT_GE(acknowledged.size(), 100u);
  }
}

TEST_F(SqliteStoreTest, NewerVersionIsRefusedAndLeftAsItIs) {
  FillDirectory(directory());
  RunSql(file(), "PRAGMA user_version = 99");
  const std::string before = FileBytes(file());
  const absl::Status status = OpenError(directory());
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(
      std::string(status.message()),
      HasSubstr("has format version 99, this build reads up to version 4; use a newer potluck or another --state"));
  EXPECT_EQ(FileBytes(file()), before);
}

TEST_F(SqliteStoreTest, AFileOfVersion1IsMigratedAndLosesNothing) {
  RunSql(file(), kVersion1);
  const SliceCommitted slice = Slice(1, 0, {0, 10}, "a");
  RunSql(file(), absl::StrCat("INSERT INTO commits VALUES (1,1,0,0,10,x'", HexDigest(slice.digest), "',x'61',1,0.25,",
                              absl::ToUnixNanos(slice.at), ",", static_cast<int64_t>(SliceChecksum(slice)),
                              "); INSERT INTO live VALUES (1,0,0,10,1)")
                     .c_str());
  const std::string expected =
      "job 1 request 1 nqueens job 1 1 ada 3 1.5 1700000001000000000 verify 0\n"
      " settings 0 3 1.5 1700000001000000000\n"
      " round 0 of 100 0 0: [0, 10)=a; verified ";
  std::unique_ptr<SqliteStore> store = OpenOrDie(directory());
  EXPECT_EQ(Describe(*store), expected + "\nworker 1 installation 1 laptop 1700000060000000000\nlast job 1\n");
  EXPECT_EQ(AppendAndWait(*store, {Verified(1, 0, {0, 10}, "a"), Job(2), WorkerQuarantined{WorkerId{1}, "w", At(1)},
                                   Saved(1, 4), Came(1, 1, At(1)), CoordinatorRan{At(1), At(2)}}),
            Verdicts(6, Verdict::kStored));
  store.reset();
  store = OpenOrDie(directory());  // Now of this build's version.
  EXPECT_THAT(Describe(*store), HasSubstr(expected + "[0, 10) by 2 (avx2)\n state at 4 "));
  EXPECT_THAT(Describe(*store), HasSubstr("job 2 request 2 nqueens job 2 4 ada 3 1.5 1700000002000000000 verify 0.25"));
  EXPECT_THAT(Describe(*store), HasSubstr("quarantined 1 w "));
}

TEST_F(SqliteStoreTest, AFileOfVersion2IsMigrated) {
  OpenOrDie(directory());
  // All that versions 3 and 4 added.
  RunSql(file(), "DROP TABLE states; DROP TABLE sessions; DROP TABLE runs; PRAGMA user_version = 2");
  std::unique_ptr<SqliteStore> store = OpenOrDie(directory());
  EXPECT_EQ(AppendAndWait(*store, VariedFacts()), Verdicts(VariedFacts().size(), Verdict::kStored));
}

TEST_F(SqliteStoreTest, AFileOfVersion3IsMigrated) {
  OpenOrDie(directory());
  RunSql(file(), "DROP TABLE sessions; DROP TABLE runs; PRAGMA user_version = 3");  // All that version 4 added.
  std::unique_ptr<SqliteStore> store = OpenOrDie(directory());
  EXPECT_EQ(AppendAndWait(*store, VariedFacts()), Verdicts(VariedFacts().size(), Verdict::kStored));
}

TEST_F(SqliteStoreTest, AnotherProgramsDatabaseIsRefused) {
  RunSql(file(), "CREATE TABLE notes(text)");
  const absl::Status status = OpenError(directory());
  EXPECT_THAT(std::string(status.message()), HasSubstr("is another program's database; choose another --state"));
}

TEST_F(SqliteStoreTest, FilesThatAreNoDatabaseAreReportedAndLeftAsTheyAre) {
  FillDirectory(directory());
  const std::string whole = FileBytes(file());
  const std::string page = whole.substr(0, 4096);
  for (const std::string& bytes : {std::string(), std::string(8192, 'x'), whole.substr(0, 100), page,
                                   whole.substr(0, whole.size() / 2), std::string(4096, '\0') + whole.substr(4096)}) {
    WriteBytes(file(), bytes);
    const absl::Status status = OpenError(directory());
    EXPECT_TRUE(absl::IsDataLoss(status)) << status << ", " << bytes.size() << " bytes";
    EXPECT_THAT(std::string(status.message()), HasSubstr(file()));
    EXPECT_THAT(std::string(status.message()), HasSubstr("put a backup in its place"));
    EXPECT_EQ(FileBytes(file()), bytes);
  }
}

TEST_F(SqliteStoreTest, LogWithoutItsDatabaseIsReportedAndKept) {
  WriteBytes(file() + "-wal", "facts");
  EXPECT_TRUE(absl::IsDataLoss(OpenError(directory())));
  EXPECT_EQ(FileBytes(file() + "-wal"), "facts");
  EXPECT_FALSE(std::filesystem::exists(file()));
}

// Damages every page in turn: either opening or reading says so, or what is read is what was written.
TEST_F(SqliteStoreTest, FlippedBytesAreNeverReadAsFacts) {
  FillDirectory(directory());
  const std::string whole = FileBytes(file());
  const std::string before = Describe(*OpenOrDie(directory()));
  int found = 0;
  for (size_t page = 1; page < whole.size() / 4096; ++page) {
    for (const size_t at : {size_t{0}, size_t{3}, size_t{2100}, size_t{4000}}) {
      std::string bytes = whole;
      for (size_t i = 0; i < 8; ++i) bytes[page * 4096 + at + i] ^= 0x5a;
      for (const char* suffix : {"-wal", "-shm"}) std::filesystem::remove(file() + suffix);
      WriteBytes(file(), bytes);
      absl::StatusOr<std::unique_ptr<SqliteStore>> store = SqliteStore::Open(directory());
      absl::Status status = store.status();
      if (store.ok()) {
        status = (*store)->ForEachSlice({JobId{1}, 0}, [](const SliceCommitted& slice) {
          EXPECT_EQ(slice.payload, absl::StrCat("payload ", slice.interval.begin / 10));
        });
      }
      if (status.ok()) continue;
      EXPECT_TRUE(absl::IsDataLoss(status)) << status;
      ++found;
    }
  }
  EXPECT_GT(found, 20);
}

TEST_F(SqliteStoreTest, DamageMetWhileRunningStopsAppends) {
  FillDirectory(directory());
  SqliteStoreOptions unchecked;
  unchecked.check_integrity = false;
  std::string bytes = FileBytes(file());
  for (size_t at = 2 * 4096; at < bytes.size(); ++at) bytes[at] = 'x';
  WriteBytes(file(), bytes);
  absl::StatusOr<std::unique_ptr<SqliteStore>> store = SqliteStore::Open(directory(), unchecked);
  if (store.ok()) {
    for (int i = 0; i < 2; ++i) {
      const absl::Status status = AppendAndWait(**store, (*store)->epoch(), {Job(7)}).status;
      EXPECT_TRUE(absl::IsDataLoss(status)) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(file()));
    }
  } else {
    EXPECT_TRUE(absl::IsDataLoss(store.status())) << store.status();
  }
}

TEST_F(SqliteStoreTest, PlacesThatCannotBeWrittenAreRefused) {
  WriteBytes(directory() + "/file", "x");
  const absl::Status under_file = OpenError(directory() + "/file/state");
  EXPECT_THAT(std::string(under_file.message()), HasSubstr("/file is not a directory; choose another place"));
  EXPECT_THAT(std::string(OpenError(directory() + "/file").message()), HasSubstr("is not a directory"));
  const absl::Status in_proc = OpenError("/proc/potluck-state");
  EXPECT_FALSE(in_proc.ok());
  EXPECT_THAT(std::string(in_proc.message()), HasSubstr("/proc/potluck-state"));
  std::filesystem::create_directory(file());
  EXPECT_THAT(std::string(OpenError(directory()).message()), HasSubstr(file()));
}

TEST_F(SqliteStoreTest, FullStoreRefusesAppendsAndGoesOnWhenThereIsSpace) {
  SqliteStoreOptions options;
  options.max_bytes = 400 << 10;
  std::unique_ptr<SqliteStore> store = OpenOrDie(directory(), options);
  AppendAndWait(*store, {Job(1), Opened(1, 0, 1000), Job(2), Opened(2, 0, 1000)});
  uint64_t stored = 0;
  absl::Status status;
  for (; status.ok() && stored < 1000; ++stored) {
    const uint64_t job = 1 + stored % 2;
    status =
        AppendAndWait(*store, store->epoch(), {Slice(job, 0, {stored, stored + 1}, std::string(5000, 'p'))}).status;
  }
  --stored;
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(file()));
  EXPECT_GT(stored, 20u);
  EXPECT_EQ(AppendOne(*store, Slice(1, 0, {0, 1}, std::string(5000, 'p'))), Verdict::kRepeat);
  // Deleting a job makes space.
  EXPECT_EQ(AppendOne(*store, JobDeleted{JobId{2}}), Verdict::kStored);
  store->WaitUntilIdle();
  EXPECT_EQ(AppendOne(*store, Slice(1, 0, {stored, stored + 1}, std::string(5000, 'p'))), Verdict::kStored);
  // And so does a larger limit.
  store.reset();
  store = OpenOrDie(directory());
  std::vector<Fact> many;
  for (uint64_t i = 500; i < 700; ++i) many.push_back(Slice(1, 0, {i, i + 1}, std::string(5000, 'p')));
  EXPECT_EQ(AppendAndWait(*store, many), Verdicts(200, Verdict::kStored));
  uint64_t found = 0;
  EXPECT_TRUE(store->ForEachSlice({JobId{1}, 0}, [&found](const SliceCommitted&) { ++found; }).ok());
  EXPECT_EQ(found, (stored + 1) / 2 + 1 + 200);
}

TEST_F(SqliteStoreTest, AppendThatDoesNotFitDoesNotFailItsNeighbours) {
  SqliteStoreOptions options;
  options.max_bytes = 400 << 10;
  const std::unique_ptr<SqliteStore> store = OpenOrDie(directory(), options);
  AppendAndWait(*store, {Job(1), Opened(1, 0, 1000)});
  std::promise<void> go;
  std::shared_future<void> gone = go.get_future().share();
  store->Append(store->epoch(), {}, [gone](const absl::Status&, const Verdicts&) { gone.wait(); });
  // These wait until the writer is free, and so share a transaction.
  std::vector<absl::Status> statuses(3);
  for (uint64_t i = 0; i < 3; ++i) {
    store->Append(store->epoch(), {Slice(1, 0, {i, i + 1}, std::string(i == 1 ? 1 << 20 : 10, 'p'))},
                  [&statuses, i](const absl::Status& status, const Verdicts&) { statuses[i] = status; });
  }
  go.set_value();
  store->WaitUntilIdle();
  EXPECT_TRUE(statuses[0].ok() && statuses[2].ok()) << statuses[0] << statuses[2];
  EXPECT_TRUE(absl::IsResourceExhausted(statuses[1])) << statuses[1];
}

TEST_F(SqliteStoreTest, FailingDiskFailsTheAppendAndTheStoreGoesOn) {
  signal(SIGXFSZ, SIG_IGN);
  const std::unique_ptr<SqliteStore> store = OpenOrDie(directory());
  AppendAndWait(*store, {Job(1), Opened(1, 0, 1000), Slice(1, 0, {0, 1})});
  rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small{1 << 16, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Answer failed = AppendAndWait(*store, store->epoch(), {Slice(1, 0, {1, 2}, std::string(1 << 18, 'p'))});
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  EXPECT_TRUE(absl::IsInternal(failed.status) || absl::IsResourceExhausted(failed.status)) << failed.status;
  EXPECT_EQ(Slices(*store, 1, 0), "[0, 1)=sum");
  EXPECT_EQ(AppendOne(*store, Slice(1, 0, {1, 2}, "later")), Verdict::kStored);
}

TEST_F(SqliteStoreTest, DeletedJobGivesItsSpaceBack) {
  std::unique_ptr<SqliteStore> store = OpenOrDie(directory());
  AppendAndWait(*store, {Job(1), Opened(1, 0, 10000)});
  std::vector<Fact> facts;
  for (uint64_t i = 0; i < 5000; ++i) facts.push_back(Slice(1, 0, {i, i + 1}, std::string(1000, 'p')));
  for (uint64_t i = 0; i < 1500; ++i) facts.push_back(SliceRetracted{{JobId{1}, 0}, {i, i + 1}, "", At(1)});
  AppendAndWait(*store, facts);
  AppendOne(*store, JobDeleted{JobId{1}});
  store->WaitUntilIdle();
  store.reset();
  EXPECT_LT(std::filesystem::file_size(file()), 300u << 10);
  EXPECT_EQ(Describe(*OpenOrDie(directory())), "last job 1\n");
}

TEST_F(SqliteStoreTest, BackupOpensAsAStoreAndIsEqual) {
  const std::unique_ptr<SqliteStore> store = OpenOrDie(directory());
  AppendAndWait(*store, VariedFacts());
  TemporaryDirectory other;
  const std::string copy = DatabaseFile(other.path());
  ASSERT_TRUE(store->BackUp(copy).ok());
  struct stat info;
  ASSERT_EQ(stat(copy.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_FALSE(std::filesystem::exists(copy + ".partial"));
  const std::string before = Describe(*store);
  const std::unique_ptr<SqliteStore> restored = OpenOrDie(other.path());
  const auto without_last_job = [](const std::string& text) {
    const size_t begin = text.find("last job");
    return begin == std::string::npos ? text : text.substr(0, begin) + text.substr(text.find('\n', begin));
  };
  EXPECT_EQ(without_last_job(Describe(*restored)), without_last_job(before));
  // What the original gives out from now on is not given out again by whoever goes on from the copy.
  EXPECT_GT(restored->Load()->last_job, JobId{1000});
  EXPECT_GT(restored->epoch(), Epoch{1000});
  EXPECT_EQ(AppendOne(*restored, Slice(1, 0, {0, 10}, "a")), Verdict::kRepeat);
  const absl::Status again = store->BackUp(copy);
  EXPECT_TRUE(absl::IsAlreadyExists(again)) << again;
  EXPECT_THAT(std::string(again.message()), HasSubstr("choose another name for the backup"));
  EXPECT_THAT(std::string(store->BackUp(other.path() + "/none/copy").message()), HasSubstr("/none/copy"));
}

TEST_F(SqliteStoreTest, BackupIsOfOneMomentWhileTheStoreGoesOn) {
  const std::unique_ptr<SqliteStore> store = OpenOrDie(directory());
  AppendAndWait(*store, {Job(1), Opened(1, 0, 100000)});
  for (uint64_t i = 0; i < 200; ++i) {
    std::vector<Fact> facts;
    for (uint64_t j = 0; j < 10; ++j) facts.push_back(Slice(1, 0, {10 * i + j, 10 * i + j + 1}));
    store->Append(store->epoch(), std::move(facts), nullptr);
  }
  TemporaryDirectory other;
  ASSERT_TRUE(store->BackUp(DatabaseFile(other.path())).ok());
  uint64_t found = 0;
  EXPECT_TRUE(OpenOrDie(other.path())->ForEachSlice({JobId{1}, 0}, [&found](const SliceCommitted&) { ++found; }).ok());
  EXPECT_EQ(found % 10, 0u);
  EXPECT_GT(store->SizeBytes(), 4096u);
}

}  // namespace
}  // namespace potluck
