# Toolchain file: the newest clang that is installed. Debian 12's plain `clang` is 14, which cannot compile standard
# coroutines nor libstdc++'s ranges; clang-16 is there beside it.
find_program(POTLUCK_CLANGXX NAMES clang++-20 clang++-19 clang++-18 clang++-17 clang++-16 clang++ REQUIRED)
set(CMAKE_CXX_COMPILER "${POTLUCK_CLANGXX}")

# LLVM's OpenMP of any version will do, as only one can be installed: its header comes after clang's own ones.
file(GLOB potluck_omp_headers /usr/lib/llvm-*/lib/clang/*/include/omp.h)
if(potluck_omp_headers)
  list(GET potluck_omp_headers -1 potluck_omp_header)
  get_filename_component(potluck_omp_include "${potluck_omp_header}" DIRECTORY)
  string(REGEX REPLACE "/clang/.*" "" potluck_omp_library "${potluck_omp_header}")
  set(CMAKE_CXX_FLAGS_INIT "-idirafter ${potluck_omp_include}")
  set(CMAKE_EXE_LINKER_FLAGS_INIT "-L${potluck_omp_library}")
  set(CMAKE_SHARED_LINKER_FLAGS_INIT "-L${potluck_omp_library}")
endif()
