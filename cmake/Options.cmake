# Compiler settings shared by every target: language, warnings, sanitizers, ccache, small binaries.
# Include it after project() and before the first target.

set(POTLUCK_SANITIZE "" CACHE STRING "Sanitizers to build with: empty, 'address,undefined' or 'thread'")
option(POTLUCK_WERROR "Turn compiler warnings into errors" OFF)
# Relative, so that the program works wherever the checkout lies and holds no path of this machine. What is shipped is built
# with an empty one.
file(RELATIVE_PATH POTLUCK_DIST_FROM_BUILD "${CMAKE_BINARY_DIR}" "${CMAKE_SOURCE_DIR}/dist")
set(POTLUCK_BUNDLE_DIRECTORY "${POTLUCK_DIST_FROM_BUILD}" CACHE STRING
    "Where `potluck serve` looks for the worker bundle, seen from the program's folder; empty: nowhere but there")
option(POTLUCK_CCACHE "Compile through ccache where it is installed" ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release or Debug" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)  # Static libraries also end up in the plug-ins.
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# A build in another folder hits the same cache: ccache rewrites paths below the source folder to relative ones.
if(POTLUCK_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(POTLUCK_CCACHE_PROGRAM ccache)
  find_program(POTLUCK_ENV_PROGRAM env)
  mark_as_advanced(POTLUCK_CCACHE_PROGRAM POTLUCK_ENV_PROGRAM)
  if(POTLUCK_CCACHE_PROGRAM AND POTLUCK_ENV_PROGRAM)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${POTLUCK_ENV_PROGRAM}" "CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}" CCACHE_NOHASHDIR=1
        "${POTLUCK_CCACHE_PROGRAM}")
  endif()
endif()

# Messages and debug information say "cli/main.cc", whoever built it where, with ccache (relative paths) or without.
file(RELATIVE_PATH POTLUCK_SOURCE_FROM_BUILD "${CMAKE_BINARY_DIR}" "${CMAKE_SOURCE_DIR}")
foreach(prefix "${CMAKE_SOURCE_DIR}/" "${POTLUCK_SOURCE_FROM_BUILD}")
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-ffile-prefix-map=${prefix}=>")
endforeach()

add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wnon-virtual-dtor;-Woverloaded-virtual>")
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-Wthread-safety;-Werror=thread-safety>")
endif()
if(POTLUCK_WERROR)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-Werror>")
endif()

# The linker drops functions and data that nothing uses, and libraries that nothing needs.
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-ffunction-sections;-fdata-sections>")
add_link_options(-Wl,--gc-sections -Wl,--as-needed)

if(POTLUCK_SANITIZE)
  if(NOT POTLUCK_SANITIZE MATCHES "^(address|undefined|address,undefined|thread)$")
    message(FATAL_ERROR
            "POTLUCK_SANITIZE is '${POTLUCK_SANITIZE}'; allowed: address, undefined, address,undefined, thread.")
  endif()
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${POTLUCK_SANITIZE};-fno-omit-frame-pointer>")
  if(POTLUCK_SANITIZE MATCHES "undefined")
    add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize-recover=all>")  # A finding fails the test.
  endif()
  add_link_options(-fsanitize=${POTLUCK_SANITIZE})
endif()
