// Compiles one kernel file to machine code for one architecture, ahead of time, with NVRTC:
//
//   compile_cubin kernel.cu kernel.cubin sm_75 [NVRTC options...]
//
// A build tool; the plug-in embeds its output. Prints the compiler's log, and fails with it.
#include <nvrtc.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

int Fail(const std::string& sentence) {
  std::fprintf(stderr, "compile_cubin: %s\n", sentence.c_str());
  return 1;
}

int Compile(nvrtcProgram program, const std::string& output, const std::vector<const char*>& options) {
  const nvrtcResult result = nvrtcCompileProgram(program, static_cast<int>(options.size()), options.data());
  size_t size = 0;
  if (nvrtcGetProgramLogSize(program, &size) == NVRTC_SUCCESS && size > 1) {
    std::string log(size, '\0');
    if (nvrtcGetProgramLog(program, log.data()) == NVRTC_SUCCESS) std::fprintf(stderr, "%s\n", log.c_str());
  }
  if (result != NVRTC_SUCCESS) return Fail(nvrtcGetErrorString(result));
  if (nvrtcGetCUBINSize(program, &size) != NVRTC_SUCCESS || size == 0) return Fail("NVRTC made no machine code.");
  std::string cubin(size, '\0');
  if (nvrtcGetCUBIN(program, cubin.data()) != NVRTC_SUCCESS) return Fail("The machine code cannot be read back.");
  std::ofstream file(output, std::ios::binary);
  file.write(cubin.data(), static_cast<std::streamsize>(cubin.size()));
  file.close();
  return file ? 0 : Fail("Cannot write " + output + ".");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return Fail("usage: compile_cubin kernel.cu kernel.cubin sm_NN [options...]");
  std::ifstream file(argv[1], std::ios::binary);
  if (!file) return Fail(std::string("Cannot read ") + argv[1] + ".");
  const std::string source((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::string architecture = std::string("--gpu-architecture=") + argv[3];
  std::vector<const char*> options{architecture.c_str(), "--std=c++20"};
  for (int i = 4; i < argc; ++i) options.push_back(argv[i]);
  nvrtcProgram program = nullptr;
  const nvrtcResult created = nvrtcCreateProgram(&program, source.c_str(), argv[1], 0, nullptr, nullptr);
  if (created != NVRTC_SUCCESS) return Fail(nvrtcGetErrorString(created));
  const int code = Compile(program, argv[2], options);
  nvrtcDestroyProgram(&program);
  return code;
}
