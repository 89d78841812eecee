# The target `portable`: the program and its plug-ins once more, for every x86-64 Linux with glibc 2.35 or later, in the
# build's folder portable/ (deploy/package.sh makes the bundle of them).
#
# Nothing is compiled again: the same objects are linked another way. Libraries become their static twins, all but glibc
# and libgcc_s (link_static.sh). The CPU plug-in keeps a shared libgomp, because it tells oneDNN's OpenMP how many threads
# to take; that one is shipped beside it. deploy/check_bundle.sh looks at what came out. The headers of glibc have to be
# of 2.36 at most (Debian 12): later ones name symbols that older systems lack.
#
# Include it last. It links the objects of the targets potluck, potluck_cuda and potluck_onednn, where there are such.

if(NOT CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64 OR POTLUCK_SANITIZE)
  return()
endif()

add_custom_target(portable)
set(_potluck_link_static "${PROJECT_SOURCE_DIR}/cmake/link_static.sh")

function(potluck_portable target kind)
  if(NOT TARGET ${target})
    return()
  endif()
  set(twin "${target}_portable")
  get_target_property(libraries ${target} LINK_LIBRARIES)
  set(sources "${PROJECT_SOURCE_DIR}/base/arc4random.cc" $<TARGET_OBJECTS:${target}>)
  if(kind STREQUAL EXECUTABLE)
    add_executable(${twin} EXCLUDE_FROM_ALL ${sources})
  else()
    add_library(${twin} MODULE EXCLUDE_FROM_ALL ${sources})
    target_link_options(${twin} PRIVATE -Wl,--exclude-libs,ALL)
  endif()
  target_link_libraries(${twin} PRIVATE ${libraries})
  target_link_options(${twin} PRIVATE -static-libstdc++ -shared-libgcc)
  set_target_properties(${twin} PROPERTIES
    OUTPUT_NAME ${target}
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/portable"
    LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/portable"
    BUILD_WITH_INSTALL_RPATH ON
    INSTALL_RPATH "${ARGN}"
    LINK_DEPENDS "${_potluck_link_static}"
    RULE_LAUNCH_LINK "${_potluck_link_static}")
  add_dependencies(portable ${twin})
endfunction()

potluck_portable(potluck EXECUTABLE)
potluck_portable(potluck_cuda MODULE)
potluck_portable(potluck_onednn MODULE "\$ORIGIN")
if(TARGET potluck_onednn)
  add_dependencies(portable potluck_onednn)  # Puts oneDNN's library into the build's folder.
endif()
