# Builds the CPU plug-in, libpotluck_onednn.so, where oneDNN is found in POTLUCK_ONEDNN_ROOT (deploy/setup.sh puts it
# there): include/, and lib/libdnnl.so.3. Without it there is none, and the portable kernels serve.

set(POTLUCK_ONEDNN_ROOT "" CACHE PATH "Folder with oneDNN's include/ and lib/; empty: no CPU plug-in")

if(NOT POTLUCK_HAS_SIMD OR NOT POTLUCK_ONEDNN_ROOT)
  message(STATUS "CPU plug-in: not built (POTLUCK_ONEDNN_ROOT is \"${POTLUCK_ONEDNN_ROOT}\")")
  return()
endif()
# A relative root is relative to the top of the source tree.
get_filename_component(_onednn_root "${POTLUCK_ONEDNN_ROOT}" ABSOLUTE BASE_DIR "${CMAKE_SOURCE_DIR}")
set(_onednn_library "${_onednn_root}/lib/libdnnl.so.3")
set(_onednn_include "${_onednn_root}/include")
if(NOT EXISTS "${_onednn_library}" OR NOT EXISTS "${_onednn_include}/oneapi/dnnl/dnnl.hpp")
  message(STATUS "CPU plug-in: not built (no oneDNN in ${_onednn_root})")
  return()
endif()
message(STATUS "CPU plug-in: oneDNN in ${_onednn_root}")

add_library(potluck_onednn MODULE
  cnn/onednn/convolution.cc
  cnn/onednn/onednn_backend.cc
  cnn/onednn/plugin.cc
  cnn/onednn/stages.cc
  cnn/onednn/vector_choice.cc)
potluck_simd_sources(potluck_onednn AVX2_FMA cnn/onednn/vector_avx2.cc)
potluck_simd_sources(potluck_onednn AVX512_FMA cnn/onednn/vector_avx512.cc)
potluck_simd_sources(potluck_onednn AVX512_BF16 cnn/onednn/vector_avx512_bf16.cc)
target_link_libraries(potluck_onednn PRIVATE potluck_kernels "${_onednn_library}")
target_include_directories(potluck_onednn SYSTEM PRIVATE "${_onednn_include}")
# The top of the build tree, beside the program that looks for it there; oneDNN beside it.
set_target_properties(potluck_onednn PROPERTIES
  CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}"
  BUILD_RPATH "$ORIGIN" BUILD_RPATH_USE_ORIGIN ON INSTALL_RPATH "$ORIGIN" BUILD_WITH_INSTALL_RPATH ON)
target_compile_options(potluck_onednn PRIVATE
  ${POTLUCK_WARNINGS} ${POTLUCK_EXACT_FLOATS} $<$<CONFIG:Release,RelWithDebInfo>:-O3>)
target_link_options(potluck_onednn PRIVATE -Wl,--exclude-libs,ALL)
add_custom_command(TARGET potluck_onednn POST_BUILD
  COMMAND ${CMAKE_COMMAND} -E copy_if_different "${_onednn_library}" "${CMAKE_BINARY_DIR}/libdnnl.so.3" VERBATIM)
