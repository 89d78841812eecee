# Sources compiled for an instruction set that not every processor has: one that kernels/cpu/dispatch.h chooses at run
# time. Left out where the target is not x86-64.
#
# Such a file must define no function that another file defines too (inline functions and templates of shared headers,
# the standard library's above all): the linker keeps one of the copies for everybody.

set(POTLUCK_SIMD_FLAGS_AVX2 -mavx2 -mbmi -mbmi2 -mpopcnt)
set(POTLUCK_SIMD_FLAGS_AVX512 ${POTLUCK_SIMD_FLAGS_AVX2} -mavx512f -mavx512bw -mavx512cd -mavx512dq -mavx512vl)
set(POTLUCK_SIMD_FLAGS_AVX2_FMA ${POTLUCK_SIMD_FLAGS_AVX2} -mfma)
set(POTLUCK_SIMD_FLAGS_AVX512_FMA ${POTLUCK_SIMD_FLAGS_AVX512} -mfma)
set(POTLUCK_SIMD_FLAGS_AVX512_BF16 ${POTLUCK_SIMD_FLAGS_AVX512_FMA} -mavx512bf16)
set(POTLUCK_SIMD_FLAGS_AVX512_VPOPCNTDQ ${POTLUCK_SIMD_FLAGS_AVX512} -mavx512vpopcntdq)
set(POTLUCK_SIMD_FLAGS_AVX512_VBMI2 ${POTLUCK_SIMD_FLAGS_AVX512} -mavx512vbmi2)

set(POTLUCK_HAS_SIMD OFF)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
  set(POTLUCK_HAS_SIMD ON)
endif()

# potluck_simd_sources(<target> <AVX2|AVX2_FMA|AVX512|AVX512_BF16|AVX512_FMA|AVX512_VBMI2|AVX512_VPOPCNTDQ> <source>...)
function(potluck_simd_sources target set)
  if(NOT POTLUCK_HAS_SIMD)
    return()
  endif()
  target_sources(${target} PRIVATE ${ARGN})
  # GCC 12 has false positives in its own intrinsics (GCC bug 105593).
  set_source_files_properties(${ARGN} PROPERTIES
    COMPILE_OPTIONS
    "${POTLUCK_SIMD_FLAGS_${set}};$<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized>;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>")
endfunction()
