#include "cli/plugin_build.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "cli/gpu_compiler.h"
#include "cli/output.h"
#include "cli/output_file.h"
#include "cli/subprocess.h"
#include "kernels/cuda/loader.h"
#include "worker/cache_directory.h"
#include "worker/devices.h"

namespace potluck {
namespace {

namespace fs = std::filesystem;

constexpr char kName[] = "libpotluck_cuda.so";
constexpr char kKernel[] = "nqueens";  // The only workload with GPU code.
constexpr char kKernelFile[] = "/kernels/nqueens/backtracking/run_cuda.cu";
constexpr int kLevelsUp = 4;

// Removed with all that is in it.
class WorkFolder {
 public:
  WorkFolder() {
    std::error_code error;
    path_ = (fs::temp_directory_path(error) / "potluck-plugin.XXXXXX").string();
    if (error || mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ~WorkFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  const std::string& path() const { return path_; }  // Empty: none could be made.

 private:
  std::string path_;
};

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<int> ArchitecturesOf(const DriverProbe& driver) {
  std::vector<int> found;
  for (const DriverGpu& gpu : driver.gpus) {
    const std::vector<std::string> parts = absl::StrSplit(gpu.compute, '.');
    int major = 0, minor = 0;
    if (parts.size() == 2 && absl::SimpleAtoi(parts[0], &major) && absl::SimpleAtoi(parts[1], &minor)) {
      found.push_back(10 * major + minor);
    }
  }
  return found;
}

absl::StatusOr<std::string> FindCxx() {
  const char* given = std::getenv("CXX");
  for (const std::string& program :
       {std::string(given == nullptr ? "" : given), std::string("g++"), std::string("c++"), std::string("clang++")}) {
    if (program.empty()) continue;
    const absl::StatusOr<ProgramEnd> end = RunProgram({program, "--version"});
    if (end.ok() && end->code == 0) return program;
  }
  return absl::NotFoundError("there is no C++ compiler here, which building the GPU plug-in needs: install g++");
}

// One job of the build.
struct Build {
  std::string root;  // Holds kernels/.
  std::string folder;
  std::string cxx;
  GpuCompiler& gpu;
  std::vector<int> architectures;

  std::string Cubin(int architecture) const { return absl::StrCat(folder, "/", kKernel, "_", architecture, ".cubin"); }
};

// The embedded machine code: kernels/cuda/cubins.cc.in, filled in as PotluckCubins.cmake does.
absl::StatusOr<std::string> WriteCubins(const Build& build) {
  const std::string text = ReadText(build.root + "/kernels/cuda/cubins.cc.in");
  std::string blobs, rows;
  for (const int architecture : build.architectures) {
    const std::string symbol = absl::StrCat("potluck_cubin_", kKernel, "_", architecture);
    absl::StrAppend(&blobs, "asm(\".pushsection .rodata,\\\"a\\\"\\n.balign 64\\n.hidden ", symbol, "\\n.globl ",
                    symbol, "\\n", symbol, ":\\n\"\n    \".incbin \\\"", build.Cubin(architecture),
                    "\\\"\\n.popsection\\n\");\nextern \"C\" const unsigned char ", symbol, "[];\n");
    absl::StrAppend(&rows, "    potluck::cuda::Cubin{\"", kKernel, "\", ", architecture, ", ", symbol, "},\n");
  }
  const std::pair<std::string, std::string> fields[] = {{"@POTLUCK_CUBIN_BLOBS@", blobs},
                                                        {"@POTLUCK_CUBIN_ROWS@", rows}};
  std::string filled = text;
  for (const auto& [field, value] : fields) {
    const size_t at = filled.find(field);
    if (at == std::string::npos) {
      return absl::FailedPreconditionError(absl::StrCat(build.root, "/kernels/cuda/cubins.cc.in lacks ", field));
    }
    filled.replace(at, field.size(), value);
  }
  const std::string path = build.folder + "/cubins.cc";
  std::ofstream file(path, std::ios::binary);
  file << filled;
  file.close();
  if (!file) return absl::ResourceExhaustedError(absl::StrCat("no disk space: ", path, " cannot be written"));
  return path;
}

absl::StatusOr<std::vector<std::string>> Sources(const Build& build) {
  std::vector<std::string> sources;
  const std::string list = build.root + "/kernels/cuda/plugin_sources.txt";
  const std::string text = ReadText(list);
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (line[0] != '#') sources.push_back(absl::StrCat(build.root, "/kernels/", line));
  }
  if (sources.empty()) return absl::NotFoundError(absl::StrCat("the list ", list, " cannot be read"));
  absl::StatusOr<std::string> cubins = WriteCubins(build);
  if (!cubins.ok()) return cubins.status();
  sources.push_back(*cubins);
  return sources;
}

// Compiles the sources to objects, as many at a time as there are threads.
absl::Status CompileAll(const Build& build, const std::vector<std::string>& sources) {
  Mutex mutex;
  size_t next = 0;
  absl::Status status;
  const auto work = [&] {
    while (true) {
      size_t mine = 0;
      {
        MutexLock lock(&mutex);
        if (next == sources.size() || !status.ok()) return;
        mine = next++;
      }
      const absl::StatusOr<ProgramEnd> end =
          RunProgram({build.cxx, "-std=c++20", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-c",
                      absl::StrCat("-I", build.root), "-isystem", build.gpu.cuda_include(), sources[mine], "-o",
                      absl::StrCat(build.folder, "/", mine, ".o")});
      MutexLock lock(&mutex);
      if (!end.ok()) {
        status = end.status();
      } else if (end->code != 0) {
        status = absl::InternalError(absl::StrCat(build.cxx, " does not compile ", sources[mine], ": ",
                                                  LastLine(end->output),
                                                  "; a compiler of C++20 is needed, g++ 11 or newer"));
      }
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < UsableThreads(); ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  return status;
}

// The path of the plug-in, in the work folder.
absl::StatusOr<std::string> Make(const Build& build) {
  for (const int architecture : build.architectures) {
    absl::Status compiled =
        build.gpu.Compile(build.root + kKernelFile, build.root, architecture, build.Cubin(architecture));
    if (!compiled.ok()) return compiled;
  }
  const absl::StatusOr<std::vector<std::string>> sources = Sources(build);
  if (!sources.ok()) return sources.status();
  if (absl::Status compiled = CompileAll(build, *sources); !compiled.ok()) return compiled;
  const std::string plugin = absl::StrCat(build.folder, "/", kName);
  std::vector<std::string> link = {build.cxx, "-shared", "-Wl,--no-undefined", "-o", plugin};
  for (size_t i = 0; i < sources->size(); ++i) link.push_back(absl::StrCat(build.folder, "/", i, ".o"));
  link.insert(link.end(), {"-ldl", "-pthread", "-s"});
  const absl::StatusOr<ProgramEnd> end = RunProgram(link);
  if (!end.ok()) return end.status();
  if (end->code != 0)
    return absl::InternalError(absl::StrCat(build.cxx, " does not link the plug-in: ", LastLine(end->output)));
  if (const auto loaded = cuda::Plugin::Load(plugin); !loaded.ok())
    return absl::InternalError(loaded.status().message());
  return plugin;
}

absl::Status Put(const std::string& bytes, const std::string& path) {
  absl::StatusOr<std::unique_ptr<OutputFile>> file = OutputFile::Create(path);
  if (!file.ok()) return file.status();
  if (absl::Status written = (*file)->Write(bytes); !written.ok()) return written;
  return (*file)->Finish();
}

// A GPU's executor looks for the CPU's plug-in beside its own.
void LinkCpuPlugin(const std::string& folder) {
  for (const char* name : {"libpotluck_onednn.so", "libdnnl.so.3"}) {
    std::error_code ignored;
    const std::string target = PathBeside("", name);
    fs::remove(fs::path(folder) / name, ignored);
    if (fs::exists(target, ignored)) fs::create_symlink(target, fs::path(folder) / name, ignored);
  }
}

// Where it went.
absl::StatusOr<std::string> Install(const std::string& plugin) {
  const std::string bytes = ReadText(plugin);
  const std::string beside = PathBeside("", kName);
  const absl::Status put = Put(bytes, beside);
  if (put.ok()) return beside;
  const std::string folder = BuiltPluginDirectory();
  if (folder.empty()) return put;
  std::error_code ignored;
  fs::create_directories(folder, ignored);
  const std::string path = absl::StrCat(folder, "/", kName);
  if (absl::Status kept = Put(bytes, path); !kept.ok()) return kept;
  LinkCpuPlugin(folder);
  return path;
}

absl::StatusOr<std::vector<int>> Wanted(const PluginBuildOptions& options, const DriverProbe& driver) {
  if (!options.architectures.empty()) return ParseArchitectures(options.architectures);
  std::vector<int> found = ArchitecturesOf(driver);
  if (!found.empty()) return found;
  return absl::NotFoundError(absl::StrCat("no GPU was found here to build the plug-in for (",
                                          absl::StripSuffix(driver.note, "."),
                                          "): name its architecture, as in --architectures 75"));
}

}  // namespace

std::string BuiltPlugin::Text() const {
  return absl::StrFormat("%s: %d KiB, for sm_%s, by %s in %s", path, size >> 10, absl::StrJoin(architectures, ", sm_"),
                         compiler, TimeText(absl::Seconds(seconds)));
}

absl::StatusOr<std::vector<int>> ParseArchitectures(const std::string& list) {
  std::vector<int> found;
  for (const absl::string_view part : absl::StrSplit(list, ',')) {
    int architecture = 0;
    if (!absl::SimpleAtoi(part, &architecture) || architecture < 30 || architecture > 999) {
      return absl::InvalidArgumentError(absl::StrCat("--architectures has \"", Printable(part),
                                                     "\"; allowed are numbers as of sm_75, between commas: 75,80"));
    }
    found.push_back(architecture);
  }
  return found;
}

absl::StatusOr<std::vector<int>> FittingArchitectures(const std::vector<int>& wanted, const std::vector<int>& known,
                                                      const std::string& compiler) {
  std::vector<int> fitting;
  for (const int architecture : wanted) {
    int best = 0;
    for (const int other : known) {
      if (other / 10 == architecture / 10 && other <= architecture) best = std::max(best, other);
    }
    if (best == 0) {
      return absl::FailedPreconditionError(absl::StrCat(compiler, " makes no code for sm_", architecture,
                                                        "; it knows sm_", absl::StrJoin(known, ", sm_")));
    }
    if (std::find(fitting.begin(), fitting.end(), best) == fitting.end()) fitting.push_back(best);
  }
  std::sort(fitting.begin(), fitting.end());
  return fitting;
}

absl::StatusOr<std::string> FindKernelSources(const std::string& program_folder) {
  fs::path folder = program_folder;
  for (int i = 0; i <= kLevelsUp; ++i, folder = folder.parent_path()) {
    std::error_code error;
    if (fs::exists(folder / "kernels/cuda/plugin_sources.txt", error)) return folder.string();
  }
  return absl::NotFoundError(absl::StrCat("the kernels' sources are not beside the program (", program_folder,
                                          "/kernels): take them, too, from the release, or build in a checkout"));
}

absl::StatusOr<BuiltPlugin> BuildGpuPlugin(const PluginBuildOptions& options) {
  const absl::Time start = AwakeNow();
  const DriverProbe driver = ProbeDriver({});
  const absl::StatusOr<std::vector<int>> wanted = Wanted(options, driver);
  if (!wanted.ok()) return wanted.status();
  const absl::StatusOr<std::string> root = FindKernelSources(fs::path(PathBeside("", kName)).parent_path().string());
  if (!root.ok()) return root.status();
  absl::StatusOr<std::unique_ptr<GpuCompiler>> gpu =
      FindGpuCompiler(UsualPlaces(*root), options.compiler, driver.cuda_version);
  if (!gpu.ok()) return gpu.status();
  const absl::StatusOr<std::vector<int>> architectures =
      FittingArchitectures(*wanted, (*gpu)->architectures(), (*gpu)->name());
  if (!architectures.ok()) return architectures.status();
  const absl::StatusOr<std::string> cxx = FindCxx();
  if (!cxx.ok()) return cxx.status();
  if (options.say) {
    options.say(absl::StrCat("building the GPU plug-in by ", (*gpu)->name(), " for sm_",
                             absl::StrJoin(*architectures, ", sm_")));
  }
  const WorkFolder folder;
  if (folder.path().empty()) return absl::ResourceExhaustedError("no folder can be made for the build: set TMPDIR");
  const absl::StatusOr<std::string> made = Make({*root, folder.path(), *cxx, **gpu, *architectures});
  if (!made.ok()) return made.status();
  const absl::StatusOr<std::string> installed = Install(*made);
  if (!installed.ok()) return installed.status();
  std::error_code error;
  return BuiltPlugin{*installed, (*gpu)->name(), *architectures, absl::ToDoubleSeconds(AwakeNow() - start),
                     fs::file_size(*installed, error)};
}

}  // namespace potluck
