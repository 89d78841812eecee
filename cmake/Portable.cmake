# POTLUCK_PORTABLE: one program for every x86-64 Linux with glibc 2.35 or later. Include it after Dependencies.cmake.
#
# Only linking differs from an ordinary build, so that ccache has every object already: libraries become their static
# twins, all but glibc and libgcc_s. The CPU plug-in keeps a shared libgomp, because it tells oneDNN's OpenMP how many
# threads to take: deploy/package.sh ships that one beside it.
#
# deploy/check_bundle.sh looks at what came out. It has to be built where glibc is 2.36 at most (Debian 12): headers of
# later ones name symbols that older systems lack.

add_link_options(-static-libstdc++ -shared-libgcc)

get_property(_potluck_imported DIRECTORY PROPERTY IMPORTED_TARGETS)
foreach(target IN LISTS _potluck_imported)
  get_target_property(_configurations ${target} IMPORTED_CONFIGURATIONS)
  set(_properties IMPORTED_LOCATION)
  foreach(configuration IN LISTS _configurations)
    list(APPEND _properties IMPORTED_LOCATION_${configuration})
  endforeach()
  foreach(property IN LISTS _properties)
    get_target_property(_location ${target} ${property})
    # Without a twin it stays shared; none of those is linked, as check_bundle.sh sees.
    if(_location MATCHES "^(.*)\\.so[.0-9]*$" AND EXISTS "${CMAKE_MATCH_1}.a")
      set_target_properties(${target} PROPERTIES ${property} "${CMAKE_MATCH_1}.a")
    endif()
  endforeach()
endforeach()

# Instead of OpenMP::OpenMP_CXX, which kernels/CMakeLists.txt finds.
function(potluck_portable_openmp)
  execute_process(COMMAND "${CMAKE_CXX_COMPILER}" -print-file-name=libgomp.a OUTPUT_VARIABLE gomp
                  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  get_target_property(shared OpenMP::OpenMP_CXX INTERFACE_LINK_LIBRARIES)
  set_target_properties(OpenMP::OpenMP_CXX PROPERTIES INTERFACE_LINK_LIBRARIES
    "$<IF:$<BOOL:$<TARGET_PROPERTY:POTLUCK_SHARED_OPENMP>>,${shared},${gomp}>;Threads::Threads")
endfunction()

# Once every target is known.
function(potluck_portable_programs)
  foreach(target IN ITEMS potluck potluck_cuda potluck_onednn)
    if(TARGET ${target})
      target_sources(${target} PRIVATE "${PROJECT_SOURCE_DIR}/base/arc4random.cc")
    endif()
  endforeach()
  if(TARGET potluck_onednn)
    set_target_properties(potluck_onednn PROPERTIES POTLUCK_SHARED_OPENMP ON)
  endif()
endfunction()
