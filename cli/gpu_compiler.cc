#include "cli/gpu_compiler.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cli/subprocess.h"

namespace potluck {
namespace {

namespace fs = std::filesystem;

bool IsFile(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

std::string NameAndVersion(const char* name, int version) {
  return absl::StrCat(name, " ", version / 1000, ".", version % 1000 / 10);
}

class Nvcc final : public GpuCompiler {
 public:
  // Null if there is none, or one without headers.
  static std::unique_ptr<GpuCompiler> Open(const std::string& program, const std::vector<std::string>& include) {
    if (!IsFile(program)) return nullptr;
    std::error_code error;
    const fs::path toolkit = fs::canonical(program, error).parent_path().parent_path();
    std::unique_ptr<Nvcc> nvcc(new Nvcc);
    nvcc->program_ = program;
    std::vector<std::string> folders = {(toolkit / "include").string()};
    folders.insert(folders.end(), include.begin(), include.end());
    const auto found =
        std::find_if(folders.begin(), folders.end(), [](const auto& at) { return IsFile(at + "/cuda.h"); });
    if (found == folders.end() || !nvcc->AskVersion() || !nvcc->AskArchitectures()) return nullptr;
    nvcc->include_ = *found;
    return nvcc;
  }

  std::string name() const override { return NameAndVersion("nvcc", version_); }
  int cuda_version() const override { return version_; }
  const std::string& cuda_include() const override { return include_; }
  const std::vector<int>& architectures() const override { return architectures_; }

  absl::Status Compile(const std::string& source, const std::string& root, int architecture,
                       const std::string& output) override {
    const absl::StatusOr<ProgramEnd> end = RunProgram({program_, "-cubin", absl::StrCat("-arch=sm_", architecture),
                                                       "-std=c++20", absl::StrCat("-I", root), "-o", output, source});
    if (!end.ok()) return end.status();
    if (end->code == 0) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(name(), " does not compile ", source, ": ", LastLine(end->output)));
  }

 private:
  Nvcc() = default;

  bool AskVersion() {
    const absl::StatusOr<ProgramEnd> end = RunProgram({program_, "--version"});
    if (!end.ok() || end->code != 0) return false;
    // "Cuda compilation tools, release 12.8, V12.8.93"
    const size_t at = end->output.find("release ");
    if (at == std::string::npos) return false;
    const std::vector<std::string> parts = absl::StrSplit(end->output.substr(at + 8, 8), absl::ByAnyChar(".,"));
    int major = 0, minor = 0;
    if (parts.size() < 2 || !absl::SimpleAtoi(parts[0], &major) || !absl::SimpleAtoi(parts[1], &minor)) return false;
    version_ = 1000 * major + 10 * minor;
    return true;
  }

  bool AskArchitectures() {
    const absl::StatusOr<ProgramEnd> end = RunProgram({program_, "--list-gpu-arch"});
    if (!end.ok() || end->code != 0) return false;
    for (absl::string_view line : absl::StrSplit(end->output, '\n')) {
      int architecture = 0;
      if (absl::ConsumePrefix(&line, "compute_") && absl::SimpleAtoi(line, &architecture)) {
        architectures_.push_back(architecture);
      }
    }
    std::sort(architectures_.begin(), architectures_.end());
    return !architectures_.empty();
  }

  std::string program_, include_;
  int version_ = 0;
  std::vector<int> architectures_;
};

// NVRTC's functions, as <nvrtc.h> has them; 0 is success.
class Nvrtc final : public GpuCompiler {
 public:
  // Null if it cannot be opened.
  static std::unique_ptr<GpuCompiler> Open(const std::string& library, std::string include) {
    std::unique_ptr<Nvrtc> nvrtc(new Nvrtc);
    nvrtc->include_ = std::move(include);
    // It asks for its built-in headers by name only: they must be in this process already.
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(fs::path(library).parent_path(), error)) {
      const std::string name = entry.path().filename().string();
      if (absl::StartsWith(name, "libnvrtc-builtins") && !absl::StrContains(name, ".alt.")) {
        dlopen(entry.path().c_str(), RTLD_NOW | RTLD_GLOBAL);
      }
    }
    nvrtc->library_ = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (nvrtc->library_ == nullptr) return nullptr;
    int major = 0, minor = 0, count = 0;
    if (nvrtc->Call("nvrtcVersion", &major, &minor) != 0) return nullptr;
    nvrtc->version_ = 1000 * major + 10 * minor;
    if (nvrtc->Call("nvrtcGetNumSupportedArchs", &count) != 0 || count <= 0) return nullptr;
    nvrtc->architectures_.resize(static_cast<size_t>(count));
    if (nvrtc->Call("nvrtcGetSupportedArchs", nvrtc->architectures_.data()) != 0) return nullptr;
    std::sort(nvrtc->architectures_.begin(), nvrtc->architectures_.end());
    return nvrtc;
  }

  std::string name() const override { return NameAndVersion("NVRTC", version_); }
  int cuda_version() const override { return version_; }
  const std::string& cuda_include() const override { return include_; }
  const std::vector<int>& architectures() const override { return architectures_; }

  absl::Status Compile(const std::string& source, const std::string& root, int architecture,
                       const std::string& output) override {
    std::ifstream file(source, std::ios::binary);
    if (!file) return absl::NotFoundError(absl::StrCat("the kernel file ", source, " cannot be read"));
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    void* program = nullptr;
    if (Call("nvrtcCreateProgram", &program, text.c_str(), source.c_str(), 0, static_cast<const char* const*>(nullptr),
             static_cast<const char* const*>(nullptr)) != 0) {
      return absl::InternalError(absl::StrCat(name(), " takes no program"));
    }
    const absl::Status status = CompileProgram(program, source, root, architecture, output);
    Call("nvrtcDestroyProgram", &program);
    return status;
  }

 private:
  Nvrtc() = default;

  template <typename... Parameters>
  int Call(const char* name, Parameters... parameters) const {
    using Function = int (*)(Parameters...);
    const auto function = reinterpret_cast<Function>(dlsym(library_, name));
    return function == nullptr ? -1 : function(parameters...);
  }

  absl::Status CompileProgram(void* program, const std::string& source, const std::string& root, int architecture,
                              const std::string& output) const {
    const std::string target = absl::StrCat("--gpu-architecture=sm_", architecture);
    const std::string include = absl::StrCat("--include-path=", root);
    const char* const options[] = {target.c_str(), "--std=c++20", include.c_str()};
    size_t size = 0;
    if (Call("nvrtcCompileProgram", program, 3, static_cast<const char* const*>(options)) != 0) {
      std::string log;
      if (Call("nvrtcGetProgramLogSize", program, &size) == 0 && size > 1) {
        log.resize(size);
        Call("nvrtcGetProgramLog", program, log.data());
      }
      return absl::InternalError(absl::StrCat(name(), " does not compile ", source, ": ", LastLine(log.c_str())));
    }
    if (Call("nvrtcGetCUBINSize", program, &size) != 0 || size == 0) {
      return absl::InternalError(absl::StrCat(name(), " made no machine code of ", source));
    }
    std::string code(size, '\0');
    Call("nvrtcGetCUBIN", program, code.data());
    std::ofstream file(output, std::ios::binary);
    file.write(code.data(), static_cast<std::streamsize>(code.size()));
    file.close();
    return file ? absl::OkStatus() : absl::ResourceExhaustedError(absl::StrCat(output, " cannot be written"));
  }

  void* library_ = nullptr;  // Never closed: it keeps threads.
  std::string include_;
  int version_ = 0;
  std::vector<int> architectures_;
};

// All libnvrtc.so.* of a folder, not its variants and built-in headers.
std::vector<std::string> NvrtcIn(const std::string& folder) {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (absl::StartsWith(name, "libnvrtc") && absl::StrContains(name, ".so") && !absl::StrContains(name, "builtins") &&
        !absl::StrContains(name, ".alt.")) {
      found.push_back(entry.path().string());
    }
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

std::vector<std::unique_ptr<GpuCompiler>> FindNvrtc(const GpuCompilerPlaces& places, bool& lacks_header) {
  std::vector<std::unique_ptr<GpuCompiler>> found;
  std::vector<std::string> include, libraries;
  for (const std::string& python : places.python) {
    for (const char* folder : {"/nvidia/cuda_runtime/include", "/nvidia/cu13/include", "/include"}) {
      include.push_back(python + folder);
    }
    for (const char* folder : {"/nvidia/cuda_nvrtc/lib", "/nvidia/cu13/lib", "/torch/lib", "/lib64"}) {
      for (std::string& library : NvrtcIn(python + folder)) libraries.push_back(std::move(library));
    }
  }
  include.insert(include.end(), places.include.begin(), places.include.end());
  const auto header =
      std::find_if(include.begin(), include.end(), [](const auto& at) { return IsFile(at + "/cuda.h"); });
  lacks_header = !libraries.empty() && header == include.end();
  if (lacks_header) return found;
  for (const std::string& library : libraries) {
    if (std::unique_ptr<GpuCompiler> nvrtc = Nvrtc::Open(library, *header)) {
      found.push_back(std::move(nvrtc));
      break;
    }
  }
  return found;
}

}  // namespace

GpuCompilerPlaces UsualPlaces(const std::string& checkout) {
  GpuCompilerPlaces places;
  if (const char* home = std::getenv("CUDA_HOME"); home != nullptr && *home != '\0') {
    places.nvcc = {absl::StrCat(home, "/bin/nvcc")};
    places.include = {absl::StrCat(home, "/include")};
  } else {
    const char* path = std::getenv("PATH");
    for (const absl::string_view folder : absl::StrSplit(path == nullptr ? "" : path, ':', absl::SkipEmpty())) {
      places.nvcc.push_back(absl::StrCat(folder, "/nvcc"));
    }
    places.nvcc.push_back("/usr/local/cuda/bin/nvcc");
    places.include = {"/usr/local/cuda/include", "/usr/include"};
  }
  if (const char* root = std::getenv("POTLUCK_NVRTC_ROOT"); root != nullptr && *root != '\0') {
    places.python = {root};
    return places;
  }
  places.python = {checkout + "/build/python"};
  const absl::StatusOr<ProgramEnd> packages = RunProgram({"python3", "-c", "import sys; print('\\n'.join(sys.path))"});
  if (packages.ok() && packages->code == 0) {
    for (const absl::string_view folder : absl::StrSplit(packages->output, '\n', absl::SkipEmpty())) {
      places.python.emplace_back(folder);
    }
  }
  places.python.push_back("/usr/local/cuda");
  return places;
}

absl::StatusOr<std::unique_ptr<GpuCompiler>> FindGpuCompiler(const GpuCompilerPlaces& places, const std::string& wanted,
                                                             int driver_version) {
  std::vector<std::unique_ptr<GpuCompiler>> found;
  if (wanted != "nvrtc") {
    for (const std::string& program : places.nvcc) {
      if (std::unique_ptr<GpuCompiler> nvcc = Nvcc::Open(program, places.include)) {
        found.push_back(std::move(nvcc));
        break;
      }
    }
  }
  bool lacks_header = false;
  if (wanted != "nvcc") {
    for (std::unique_ptr<GpuCompiler>& nvrtc : FindNvrtc(places, lacks_header)) found.push_back(std::move(nvrtc));
  }
  const auto major = [](const std::unique_ptr<GpuCompiler>& compiler) { return compiler->cuda_version() / 1000; };
  const auto best = std::min_element(found.begin(), found.end(), [&](const auto& a, const auto& b) {
    if (driver_version == 0) return major(a) < major(b);
    return (major(a) > driver_version / 1000) < (major(b) > driver_version / 1000);
  });
  if (best != found.end()) return std::move(*best);
  if (lacks_header) {
    return absl::NotFoundError(
        "NVRTC is here, but CUDA's header cuda.h is not: install it by `pip install nvidia-cuda-runtime-cu12`");
  }
  const std::string missing = wanted == "nvcc" ? "no nvcc" : wanted == "nvrtc" ? "no NVRTC" : "neither nvcc nor NVRTC";
  return absl::NotFoundError(
      absl::StrCat("there is ", missing,
                   " here to compile GPU code with: install NVRTC by `pip install nvidia-cuda-nvrtc-cu12 "
                   "nvidia-cuda-runtime-cu12`, or the CUDA toolkit"));
}

}  // namespace potluck
