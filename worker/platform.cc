#include "worker/platform.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace potluck {
namespace {

constexpr absl::Duration kNone = absl::InfiniteDuration();

std::vector<Platform> MakePlatforms() {
  return {
      {.name = "kaggle",
       .title = "Kaggle",
       .variables = {"KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_URL_BASE"},
       .folders = {"/kaggle/working"},
       .gpu_session = absl::Hours(12),
       .cpu_session = absl::Hours(12),
       .limits = "A session ends after 12 h, a week has 30 h with a GPU, and internet access must be switched on.",
       .restricts = true,
       .rule = "Kaggle has ended sessions for tunnels, so a worker here only opens one outbound connection, and one worker "
               "an account is all that is meant; whether that suits Kaggle's terms is for you to read and confirm.",
       .source = "https://www.kaggle.com/terms",
       .dated = "November 2026"},
      {.name = "colab",
       .title = "Google Colab",
       .variables = {"COLAB_RELEASE_TAG", "COLAB_BACKEND_VERSION", "COLAB_GPU"},
       .folders = {"/var/colab", "/opt/google/colab"},
       .gpu_session = absl::Hours(12),
       .cpu_session = absl::Hours(12),
       .idle_limit = absl::Minutes(90),
       .limits = "A session ends after about 12 h, or after about 90 min without anyone at the page; a GPU may be refused.",
       .restricts = true,
       .rule = "Colab does not allow \"running distributed computing workers\" on runtimes free of charge without a "
               "positive balance of compute units, nor several accounts to work around its limits, on any runtime.",
       .source = "https://research.google.com/colaboratory/faq.html",
       .dated = "November 2026"},
      {.name = "paperspace",
       .title = "Paperspace Gradient",
       .variables = {"PAPERSPACE_NOTEBOOK_REPO_ID", "PAPERSPACE_CLUSTER_ID", "PAPERSPACE_FQDN"},
       .gpu_session = absl::Hours(6),
       .cpu_session = absl::Hours(6),
       .limits = "A free session ends after 6 h.",
       .restricts = true,
       .rule = "Paperspace prohibits tunnelling, SSH and ngrok in notebooks; a worker opens one outbound connection, and "
               "whether that suits its terms is for you to read and confirm.",
       .source = "https://www.paperspace.com/terms-of-service",
       .dated = "November 2026"},
      {.name = "studiolab",
       .title = "SageMaker Studio Lab",
       .folders = {"/home/studio-lab-user"},
       .gpu_session = absl::Hours(4),
       .cpu_session = absl::Hours(12),
       .limits = "A session ends after 4 h with a GPU (8 h a day) and after 12 h without one.",
       .restricts = true,
       .rule = "Studio Lab is meant for learning and experiments, one account a person; whether a worker suits its terms is "
               "for you to read and confirm.",
       .source = "https://studiolab.sagemaker.aws/faq",
       .dated = "November 2026"},
      {.name = "jupyter",
       .title = "Jupyter",
       .variables = {"JPY_PARENT_PID", "JPY_SESSION_NAME", "JUPYTERHUB_USER"},
       .rule = "This notebook server belongs to somebody: ask whoever runs it whether a worker is welcome."},
      {.name = "machine", .title = "a machine of your own"},
  };
}

std::string ReadText(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

bool Exists(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0;
}

}  // namespace

const std::vector<Platform>& KnownPlatforms() {
  static const std::vector<Platform>& platforms = *new std::vector<Platform>(MakePlatforms());
  return platforms;
}

const Platform* FindPlatform(absl::string_view name) {
  for (const Platform& platform : KnownPlatforms()) {
    if (platform.name == name) return &platform;
  }
  return nullptr;
}

const Platform& ThisPlatform(const std::string& root) {
  for (const Platform& platform : KnownPlatforms()) {
    const auto is_set = [](const std::string& variable) { return std::getenv(variable.c_str()) != nullptr; };
    const auto is_there = [&root](const std::string& folder) { return Exists(root + folder); };
    if (std::any_of(platform.variables.begin(), platform.variables.end(), is_set) ||
        std::any_of(platform.folders.begin(), platform.folders.end(), is_there)) {
      return platform;
    }
  }
  return KnownPlatforms().back();
}

absl::Duration SessionAge(const std::string& root) {
  // proc(5): the 22nd field of stat is the start after boot, in clock ticks; the second one, in parentheses, may hold
  // spaces. Linux gives user space 100 ticks a second on every architecture.
  const std::string stat = ReadText(root + "/proc/1/stat");
  const size_t parenthesis = stat.rfind(')');
  if (parenthesis == std::string::npos) return absl::ZeroDuration();
  const std::vector<std::string> fields = absl::StrSplit(stat.substr(parenthesis + 1), ' ', absl::SkipEmpty());
  const std::vector<std::string> uptime = absl::StrSplit(ReadText(root + "/proc/uptime"), ' ', absl::SkipEmpty());
  double ticks = 0, seconds = 0;
  if (fields.size() < 20 || uptime.empty() || !absl::SimpleAtod(fields[19], &ticks) ||
      !absl::SimpleAtod(uptime[0], &seconds)) {
    return absl::ZeroDuration();
  }
  return std::max(absl::ZeroDuration(), absl::Seconds(seconds - ticks / 100));
}

absl::Duration SessionLeft(const Platform& platform, bool has_gpu, absl::Duration age) {
  const absl::Duration limit = has_gpu ? platform.gpu_session : platform.cpu_session;
  return limit == kNone ? kNone : std::max(absl::ZeroDuration(), limit - age);
}

}  // namespace potluck
