# Toolchain file: the newest clang that is installed. Debian 12's plain `clang` is 14, which cannot compile standard
# coroutines nor libstdc++'s ranges; clang-16 is there beside it.
find_program(POTLUCK_CLANGXX NAMES clang++-20 clang++-19 clang++-18 clang++-17 clang++-16 clang++ REQUIRED)
set(CMAKE_CXX_COMPILER "${POTLUCK_CLANGXX}")
