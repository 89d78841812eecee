# Compiles kernel files to cubins, one an architecture, and builds the plug-in that embeds them.
#
# POTLUCK_CUDA chooses the compiler:
#   NVRTC  12.8 from the Python wheels unpacked in POTLUCK_NVRTC_ROOT (pip install --no-deps --target DIR ...): code for
#          every architecture since sm_50, and what it makes runs on any driver from 12.8 on.
#   NVCC   the toolkit's: code for the architectures that it still knows (nvcc 13: sm_75 and later).
#   AUTO   NVRTC where it is found, else NVCC where it is found, else OFF.
#   OFF    no plug-in: the program then runs on CPUs only.

set(POTLUCK_CUDA AUTO CACHE STRING "Compiler for GPU code: AUTO, NVRTC, NVCC or OFF")
set_property(CACHE POTLUCK_CUDA PROPERTY STRINGS AUTO NVRTC NVCC OFF)
set(POTLUCK_NVRTC_ROOT "" CACHE PATH "Folder with the unpacked NVRTC wheels (it contains nvidia/)")
set(POTLUCK_CUDA_ARCHS 50 60 70 75 80 86 89 90 100 120)

if(NOT POTLUCK_CUDA MATCHES "^(AUTO|NVRTC|NVCC|OFF)$")
  message(FATAL_ERROR "POTLUCK_CUDA is ${POTLUCK_CUDA}; allowed: AUTO, NVRTC, NVCC, OFF")
endif()

set(_potluck_compiler OFF)
if(POTLUCK_CUDA MATCHES "^(AUTO|NVRTC)$" AND POTLUCK_NVRTC_ROOT)
  # A relative root is relative to the top of the source tree.
  get_filename_component(_root "${POTLUCK_NVRTC_ROOT}" ABSOLUTE BASE_DIR "${CMAKE_SOURCE_DIR}")
  find_file(POTLUCK_NVRTC_LIBRARY NAMES libnvrtc.so.12 PATHS "${_root}/nvidia/cuda_nvrtc/lib" NO_DEFAULT_PATH)
  find_path(POTLUCK_NVRTC_INCLUDE nvrtc.h PATHS "${_root}/nvidia/cuda_nvrtc/include" NO_DEFAULT_PATH)
  find_path(POTLUCK_CUDA_INCLUDE cuda.h PATHS "${_root}/nvidia/cuda_runtime/include" NO_DEFAULT_PATH)
  if(POTLUCK_NVRTC_LIBRARY AND POTLUCK_NVRTC_INCLUDE AND POTLUCK_CUDA_INCLUDE)
    set(_potluck_compiler NVRTC)
    set(_cuda_include "${POTLUCK_CUDA_INCLUDE}")
  endif()
endif()
if(POTLUCK_CUDA MATCHES "^(AUTO|NVCC)$" AND NOT _potluck_compiler)
  find_program(POTLUCK_NVCC nvcc HINTS "$ENV{CUDA_HOME}/bin" /usr/local/cuda/bin)
  if(POTLUCK_NVCC)
    get_filename_component(_nvcc "${POTLUCK_NVCC}" REALPATH)
    get_filename_component(_toolkit "${_nvcc}/../.." ABSOLUTE)
    find_path(POTLUCK_TOOLKIT_INCLUDE cuda.h PATHS "${_toolkit}/include" NO_DEFAULT_PATH)
    execute_process(COMMAND "${POTLUCK_NVCC}" --list-gpu-arch OUTPUT_VARIABLE _known_archs)
    set(_archs)
    foreach(_sm IN LISTS POTLUCK_CUDA_ARCHS)
      if(_known_archs MATCHES "compute_${_sm}\n")
        list(APPEND _archs ${_sm})
      endif()
    endforeach()
    if(POTLUCK_TOOLKIT_INCLUDE AND _archs)
      set(_potluck_compiler NVCC)
      set(_cuda_include "${POTLUCK_TOOLKIT_INCLUDE}")
      set(POTLUCK_CUDA_ARCHS ${_archs})
    endif()
  endif()
endif()
if(NOT _potluck_compiler AND POTLUCK_CUDA MATCHES "^(NVRTC|NVCC)$")
  message(FATAL_ERROR "POTLUCK_CUDA is ${POTLUCK_CUDA}, but that compiler was not found "
                      "(POTLUCK_NVRTC_ROOT is \"${POTLUCK_NVRTC_ROOT}\")")
endif()
if(NOT _potluck_compiler)
  message(STATUS "GPU plug-in: not built (POTLUCK_CUDA=${POTLUCK_CUDA}, no compiler for GPU code found)")
  return()
endif()
message(STATUS "GPU plug-in: ${_potluck_compiler}, architectures ${POTLUCK_CUDA_ARCHS}")

if(_potluck_compiler STREQUAL NVRTC)
  add_executable(potluck_compile_cubin cuda/compile_cubin.cc)
  target_compile_features(potluck_compile_cubin PRIVATE cxx_std_20)
  target_include_directories(potluck_compile_cubin SYSTEM PRIVATE "${POTLUCK_NVRTC_INCLUDE}")
  get_filename_component(_nvrtc_folder "${POTLUCK_NVRTC_LIBRARY}" DIRECTORY)
  target_link_libraries(potluck_compile_cubin PRIVATE "${POTLUCK_NVRTC_LIBRARY}")
  # NVRTC opens its builtins library beside itself. Leaks at exit are NVRTC's, not ours.
  set(_compile ${CMAKE_COMMAND} -E env "LD_LIBRARY_PATH=${_nvrtc_folder}" ASAN_OPTIONS=detect_leaks=0
               $<TARGET_FILE:potluck_compile_cubin>)
endif()

# One cubin an architecture for each "workload:file".
set(_blobs "")
set(_rows "")
set(_cubins)
file(GLOB _device_headers CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/math/*.h"
     "${CMAKE_CURRENT_SOURCE_DIR}/nqueens/backtracking/search.h" "${CMAKE_CURRENT_SOURCE_DIR}/nqueens/backtracking/run_cuda.h")
foreach(_kernel IN ITEMS nqueens:nqueens/backtracking/run_cuda.cu)
  string(REGEX MATCH "^([a-z]+):(.*)$" _ "${_kernel}")
  set(_name ${CMAKE_MATCH_1})
  set(_source "${CMAKE_CURRENT_SOURCE_DIR}/${CMAKE_MATCH_2}")
  foreach(_sm IN LISTS POTLUCK_CUDA_ARCHS)
    set(_cubin "${CMAKE_CURRENT_BINARY_DIR}/${_name}_sm_${_sm}.cubin")
    if(_potluck_compiler STREQUAL NVRTC)
      add_custom_command(OUTPUT "${_cubin}" DEPENDS "${_source}" ${_device_headers} potluck_compile_cubin
        COMMAND ${_compile} "${_source}" "${_cubin}" sm_${_sm} "--include-path=${POTLUCK_ROOT}" VERBATIM)
    else()
      add_custom_command(OUTPUT "${_cubin}" DEPENDS "${_source}" ${_device_headers}
        COMMAND "${POTLUCK_NVCC}" -cubin -arch=sm_${_sm} -std=c++20 "-I${POTLUCK_ROOT}" -o "${_cubin}" "${_source}"
        VERBATIM)
    endif()
    list(APPEND _cubins "${_cubin}")
    set(_symbol "potluck_cubin_${_name}_${_sm}")
    string(APPEND _blobs
      "asm(\".pushsection .rodata,\\\"a\\\"\\n.balign 64\\n.hidden ${_symbol}\\n.globl ${_symbol}\\n${_symbol}:\\n\"\n"
      "    \".incbin \\\"${_cubin}\\\"\\n.popsection\\n\");\nextern \"C\" const unsigned char ${_symbol}[];\n")
    string(APPEND _rows "    potluck::cuda::Cubin{\"${_name}\", ${_sm}, ${_symbol}},\n")
  endforeach()
endforeach()
set(POTLUCK_CUBIN_BLOBS "${_blobs}")
set(POTLUCK_CUBIN_ROWS "${_rows}")
configure_file(cuda/cubins.cc.in "${CMAKE_CURRENT_BINARY_DIR}/cubins.cc" @ONLY)
set_source_files_properties("${CMAKE_CURRENT_BINARY_DIR}/cubins.cc" PROPERTIES OBJECT_DEPENDS "${_cubins}")

add_library(potluck_cuda MODULE
  cuda/driver.cc
  cuda/find_cubin.cc
  cuda/plugin.cc
  nqueens/backtracking/run_cuda.cc
  "${CMAKE_CURRENT_BINARY_DIR}/cubins.cc")
target_link_libraries(potluck_cuda PRIVATE potluck_kernels)
target_include_directories(potluck_cuda SYSTEM PRIVATE "${_cuda_include}")
# The top of the build tree, beside the program that looks for it there.
set_target_properties(potluck_cuda PROPERTIES
  CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
target_compile_options(potluck_cuda PRIVATE ${POTLUCK_WARNINGS})
target_link_options(potluck_cuda PRIVATE -Wl,--exclude-libs,ALL)
