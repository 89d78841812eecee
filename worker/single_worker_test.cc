#include "worker/single_worker.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "worker/installation.h"
#include "worker/process_id.h"

namespace potluck {
namespace {

// A child that waits to be ended by a signal.
class Bystander {
 public:
  Bystander() : pid_(fork()) {
    if (pid_ == 0) {
      while (true) pause();
    }
  }
  ~Bystander() {
    if (pid_ > 0) End();
  }
  pid_t pid() const { return pid_; }
  ProcessId id() const { return IdentifyProcess(pid_).value(); }
  void End() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  bool has_ended() {
    const bool ended = waitpid(pid_, nullptr, WNOHANG) == pid_;
    if (ended) pid_ = -1;
    return ended;
  }

 private:
  pid_t pid_;
};

class SingleWorkerFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "potluck_single_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    options_.directory = folder_;
    options_.patience = absl::Milliseconds(200);
    options_.last_words = absl::Milliseconds(100);
    options_.say = [this](const std::string& sentence) { said_.push_back(sentence); };
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string File() const {
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) return entry.path();
    return "";
  }
  std::string Words() const {
    std::ostringstream text;
    text << std::ifstream(File()).rdbuf();
    return text.str();
  }
  // Makes the file say that `holder` has the place, and holds its lock, as that one would.
  int HoldAs(const std::string& holder) {
    EXPECT_TRUE(SingleWorker::Take(options_).ok());
    std::ofstream(File(), std::ios::trunc) << std::string(32, 'a') << "\n" << holder << "\n";
    const int file = open(File().c_str(), O_RDWR | O_CLOEXEC);
    EXPECT_EQ(flock(file, LOCK_EX | LOCK_NB), 0);
    return file;
  }

  std::string folder_;
  SingleWorkerOptions options_;
  std::vector<std::string> said_;
};

TEST_F(SingleWorkerFileTest, TheInstallationStaysTheSame) {
  std::string first;
  {
    const absl::StatusOr<SingleWorker> worker = SingleWorker::Take(options_);
    ASSERT_TRUE(worker.ok()) << worker.status();
    first = worker->installation();
    EXPECT_TRUE(IsInstallationId(first)) << first;
    EXPECT_EQ(Words(), absl::StrCat(first, "\n", FormatProcessId(IdentifyProcess(getpid()).value()), "\n"));
  }
  const absl::StatusOr<SingleWorker> worker = SingleWorker::Take(options_);
  ASSERT_TRUE(worker.ok()) << worker.status();
  EXPECT_EQ(worker->installation(), first);
  EXPECT_TRUE(said_.empty());  // Nobody was there.
}

TEST_F(SingleWorkerFileTest, AProcessThatHasTheNumberOnlyIsNotTouched) {
  Bystander stranger;
  ProcessId holder = stranger.id();
  holder.start -= 1;  // The number was another one's before.
  const int lock = HoldAs(FormatProcessId(holder));
  const absl::Status status = SingleWorker::Take(options_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(status.message(), File())) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "without --single")) << status;
  EXPECT_FALSE(stranger.has_ended());
  close(lock);
}

TEST_F(SingleWorkerFileTest, AWorkerOfAnotherMachineIsNotTouched) {
  Bystander stranger;
  ProcessId holder = stranger.id();
  holder.machine = "another/pid:[1]";
  const int lock = HoldAs(FormatProcessId(holder));
  EXPECT_EQ(SingleWorker::Take(options_).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(stranger.has_ended());
  close(lock);
}

TEST_F(SingleWorkerFileTest, WordsOfSomebodyWhoHasGoneDoNotMatter) {
  ProcessId gone;
  {
    Bystander before;
    gone = before.id();
  }
  close(HoldAs(FormatProcessId(gone)));  // The lock went with its holder.
  const absl::StatusOr<SingleWorker> worker = SingleWorker::Take(options_);
  ASSERT_TRUE(worker.ok()) << worker.status();
  EXPECT_EQ(worker->installation(), std::string(32, 'a'));
  EXPECT_TRUE(said_.empty());
}

TEST_F(SingleWorkerFileTest, NonsenseInTheFileIsReplaced) {
  close(HoldAs("1 2"));
  std::ofstream(File(), std::ios::trunc) << std::string(9000, 'x');
  const absl::StatusOr<SingleWorker> worker = SingleWorker::Take(options_);
  ASSERT_TRUE(worker.ok()) << worker.status();
  EXPECT_TRUE(IsInstallationId(worker->installation()));
}

TEST_F(SingleWorkerFileTest, WhereNothingCanBeKeptTheWorkerGoesOnAndSaysSo) {
  options_.directory = folder_ + "/none";
  const absl::StatusOr<SingleWorker> worker = SingleWorker::Take(options_);
  ASSERT_TRUE(worker.ok()) << worker.status();
  EXPECT_EQ(worker->installation(), "");
  ASSERT_EQ(said_.size(), 1u);
  EXPECT_TRUE(absl::StrContains(said_[0], "is not noticed")) << said_[0];
}

TEST_F(SingleWorkerFileTest, ALinkInItsPlaceIsNotFollowed) {
  { ASSERT_TRUE(SingleWorker::Take(options_).ok()); }
  const std::string file = File();
  std::filesystem::remove(file);
  std::ofstream(folder_ + "/precious") << "precious";
  std::filesystem::create_symlink(folder_ + "/precious", file);
  ASSERT_TRUE(SingleWorker::Take(options_).ok());
  EXPECT_EQ(said_.size(), 1u);
  std::ostringstream text;
  text << std::ifstream(folder_ + "/precious").rdbuf();
  EXPECT_EQ(text.str(), "precious");
}

// ---- ProcessId

TEST(ProcessIdTest, OneIsRecognisedUntilItsEnd) {
  Bystander process;
  const ProcessId id = process.id();
  EXPECT_TRUE(IsRunning(id));
  EXPECT_EQ(ParseProcessId(FormatProcessId(id)), id);
  const ProcessHandle handle(id);
  EXPECT_FALSE(handle.WaitForEnd(absl::ZeroDuration()));
  EXPECT_TRUE(handle.Signal(SIGTERM));
  EXPECT_TRUE(handle.WaitForEnd(absl::Seconds(30)));
  EXPECT_FALSE(IsRunning(id));  // Although nobody has asked yet how it ended.
  process.End();
  EXPECT_FALSE(handle.Signal(SIGTERM));
  EXPECT_EQ(errno, ESRCH);
}

TEST(ProcessIdTest, AnotherStartIsAnotherProcess) {
  Bystander process;
  ProcessId id = process.id();
  ++id.start;
  EXPECT_FALSE(IsRunning(id));
  EXPECT_FALSE(ProcessHandle(id).Signal(SIGKILL));
  EXPECT_FALSE(process.has_ended());
}

TEST(ProcessIdTest, TextThatIsNoneIsNotRead) {
  for (const char* text : {"", "12", "12 34", "x 34 m", "12 x m", "-1 34 m", "0 34 m", "12 34 m n"}) {
    EXPECT_FALSE(ParseProcessId(text).has_value()) << text;
  }
}

TEST(ProcessIdTest, ChildrenAreFoundByWhatTheyRun) {
  const ProcessId self = IdentifyProcess(getpid()).value();
  const pid_t child = fork();
  if (child == 0) {
    execl("/bin/sleep", "sleep", "1000", nullptr);
    _exit(127);
  }
  // Until the program is replaced the arguments are ours.
  std::vector<ProcessId> found;
  for (int i = 0; i < 10000 && found.empty(); ++i) found = ChildrenOf(self, "1000");
  EXPECT_TRUE(ChildrenOf(self, "executor").empty());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].pid, child);
}

}  // namespace
}  // namespace potluck
