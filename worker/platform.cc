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
       .variables = {"KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_URL_BASE", "KAGGLE_CONTAINER_NAME"},
       .folders = {"/kaggle/working"},
       .gpu_session = absl::Hours(12),
       .cpu_session = absl::Hours(12),
       .limits = "A session ends after 12 h, a week has 30 h with a GPU, and internet access must be switched on.",
       .restricts = true,
       .rule =
           "Kaggle has ended sessions for tunnels, so a worker here only opens one outbound connection, and one worker "
           "an account is all that is meant; whether that suits Kaggle's terms is for you to read and confirm.",
       .source = "https://www.kaggle.com/terms",
       .dated = "November 2026"},
      {.name = "colab",
       .title = "Google Colab",
       .variables = {"COLAB_RELEASE_TAG", "COLAB_BACKEND_VERSION", "COLAB_GPU", "COLAB_JUPYTER_IP"},
       .folders = {"/var/colab"},
       .gpu_session = absl::Hours(12),
       .cpu_session = absl::Hours(12),
       .limits =
           "A session ends after about 12 h (24 h with Pro+), or after about 90 min without anyone at the page; a "
           "GPU may be refused.",
       .restricts = true,
       .rule = "Colab does not allow \"running distributed computing workers\" on runtimes free of charge without a "
               "positive balance of compute units, nor several accounts to work around its limits, on any runtime.",
       .source = "https://research.google.com/colaboratory/faq.html",
       .dated = "November 2026"},
      {.name = "paperspace",
       .title = "Paperspace Gradient",
       // Not PAPERSPACE_API_KEY and PAPERSPACE_NOTEBOOK_ID: whoever steers notebooks from elsewhere sets these.
       .variables = {"PAPERSPACE_NOTEBOOK_REPO_ID", "PAPERSPACE_CLUSTER_ID", "PAPERSPACE_FQDN",
                     "PAPERSPACE_METRIC_WORKLOAD_ID"},
       .gpu_session = absl::Hours(6),
       .cpu_session = absl::Hours(6),
       .limits = "A session on a free machine ends after 6 h, others of the free plan after 12 h.",
       .restricts = true,
       .rule =
           "Paperspace prohibits tunnelling, SSH and ngrok in notebooks; a worker opens one outbound connection, and "
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
       .rule =
           "Studio Lab is for learning and experiments, and AWS shuts out accounts whose activity seems to violate its "
           "service terms; whether a worker suits them is for you to read and confirm.",
       .source = "https://studiolab.sagemaker.aws/faq",
       .dated = "November 2026"},
      {.name = "binder",
       .title = "Binder",
       .variables = {"BINDER_LAUNCH_HOST", "BINDER_REPO_URL"},
       .gpu_session = absl::Hours(6),
       .cpu_session = absl::Hours(6),
       .limits = "A session ends after 6 h, or after 10 min without anyone at the page.",
       .restricts = true,
       .rule =
           "mybinder.org is meant for short interactive sessions and gives one that computes about one CPU hour; at "
           "another Binder its host decides.",
       .source = "https://mybinder.readthedocs.io/en/latest/about/user-guidelines.html",
       .dated = "November 2026"},
      {.name = "jupyter",
       .title = "Jupyter",
       .variables = {"JPY_PARENT_PID", "JPY_SESSION_NAME", "JUPYTERHUB_USER", "JUPYTERHUB_SERVICE_PREFIX"},
       .rule = "This notebook server belongs to somebody: ask whoever runs it whether a worker is welcome."},
      {.name = "machine", .title = "a machine of your own"},
  };
}

std::string ReadText(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// "11 h 40 min"
std::string InWords(absl::Duration time) {
  const int64_t minutes = absl::ToInt64Minutes(time);
  if (minutes < 60) return absl::StrCat(minutes, " min");
  return absl::StrCat(minutes / 60, " h", minutes % 60 == 0 ? "" : absl::StrCat(" ", minutes % 60, " min"));
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

bool HasNvidiaDevice(const std::string& root) {
  return Exists(root + "/dev/nvidiactl") || Exists(root + "/proc/driver/nvidia/version");
}

absl::Duration SessionLeft(const Platform& platform, bool has_gpu, absl::Duration age) {
  const absl::Duration limit = has_gpu ? platform.gpu_session : platform.cpu_session;
  return limit == kNone ? kNone : std::max(absl::ZeroDuration(), limit - age);
}

ExpectedEnd KnownEnd(const Platform& platform, bool has_gpu, absl::Duration age) {
  const absl::Duration limit = has_gpu ? platform.gpu_session : platform.cpu_session;
  if (limit == kNone) return {};
  if (age >= limit) {
    return {kNone, absl::StrCat("this session has outlived the ", InWords(limit), " that ", platform.title,
                                " is known to give, so its end is not known; --ends-in says when it comes")};
  }
  return {limit - age, absl::StrCat("this session is expected to end in ", InWords(limit - age), ": ", platform.title,
                                    " gives ", InWords(limit), has_gpu ? " with a GPU" : "", " and it is ",
                                    InWords(age), " old; --ends-in says otherwise")};
}

}  // namespace potluck
