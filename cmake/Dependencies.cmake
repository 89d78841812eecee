# Finds the libraries that Potluck uses, all of them packages of Debian 12 and Ubuntu 24.04 (deploy/setup.sh).
#
# Targets afterwards: Threads::Threads, OpenSSL::SSL, OpenSSL::Crypto, SQLite::SQLite3, ZLIB::ZLIB,
# absl::*, protobuf::libprotobuf, gRPC::grpc++, Boost::headers, nlohmann_json::nlohmann_json, CLI11::CLI11 and
# potluck::spdlog (header-only, with a header-only fmt: neither has a static library in these distributions).
# With BUILD_TESTING also GTest::gtest, GTest::gmock, GTest::gtest_main, GTest::gmock_main.

macro(_potluck_find package hint)
  find_package(${package} ${ARGN} QUIET)
  if(NOT ${package}_FOUND)
    message(FATAL_ERROR "${package} is missing (${hint}): run deploy/setup.sh, which installs all that is needed.")
  endif()
endmacro()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
_potluck_find(OpenSSL "libssl-dev" 3.0)
_potluck_find(SQLite3 "libsqlite3-dev")
_potluck_find(ZLIB "zlib1g-dev")
_potluck_find(absl "libabsl-dev" CONFIG)
_potluck_find(Protobuf "libprotobuf-dev and protobuf-compiler" MODULE)
_potluck_find(gRPC "libgrpc++-dev" CONFIG)
_potluck_find(Boost "1.81 or later; 1.74 cannot compile Asio as C++20" 1.81)
_potluck_find(nlohmann_json "nlohmann-json3-dev" CONFIG)
_potluck_find(CLI11 "libcli11-dev" CONFIG)
_potluck_find(fmt "libfmt-dev" CONFIG)
_potluck_find(spdlog "libspdlog-dev" CONFIG)

add_library(potluck_spdlog INTERFACE)
add_library(potluck::spdlog ALIAS potluck_spdlog)
target_compile_definitions(potluck_spdlog INTERFACE SPDLOG_FMT_EXTERNAL)
target_link_libraries(potluck_spdlog INTERFACE fmt::fmt-header-only Threads::Threads)
get_target_property(_potluck_spdlog_include spdlog::spdlog_header_only INTERFACE_INCLUDE_DIRECTORIES)
target_include_directories(potluck_spdlog SYSTEM INTERFACE ${_potluck_spdlog_include})

if(BUILD_TESTING)
  _potluck_find(GTest "libgtest-dev and libgmock-dev")
endif()
