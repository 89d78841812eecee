# potluck_add_proto(<target> <file>...)
#
# Adds the static library <target> with the C++ code that protoc generates for the given .proto files. Paths are
# relative to the top of the source tree, so are imports and includes:
#
#   potluck_add_proto(potluck_proto proto/workers.proto proto/jobs.proto)
#   #include "proto/workers.pb.h"       // messages
#   #include "proto/workers.grpc.pb.h"  // services; only for files that declare one
#
# The library brings its include folder, protobuf and, where a service is declared, gRPC. Generated code is compiled
# without warnings, and its headers count as system headers.

find_program(POTLUCK_PROTOC protoc)
find_program(POTLUCK_GRPC_CPP_PLUGIN grpc_cpp_plugin)
mark_as_advanced(POTLUCK_PROTOC POTLUCK_GRPC_CPP_PLUGIN)
foreach(program POTLUCK_PROTOC POTLUCK_GRPC_CPP_PLUGIN)
  if(NOT ${program})
    message(FATAL_ERROR "protoc or grpc_cpp_plugin is missing (protobuf-compiler, protobuf-compiler-grpc): "
                        "run deploy/setup.sh, which installs all that is needed.")
  endif()
endforeach()

# The top of the source tree: also right when a folder is built on its own.
get_filename_component(POTLUCK_SOURCE_ROOT "${CMAKE_CURRENT_LIST_DIR}" DIRECTORY)

function(potluck_add_proto target)
  set(generated_root "${PROJECT_BINARY_DIR}/generated")
  set(protos "")
  foreach(file IN LISTS ARGN)
    list(APPEND protos "${POTLUCK_SOURCE_ROOT}/${file}")
  endforeach()

  set(sources "")
  set(has_service FALSE)
  foreach(file IN LISTS ARGN)
    set(proto "${POTLUCK_SOURCE_ROOT}/${file}")
    string(REGEX REPLACE "\\.proto$" "" stem "${generated_root}/${file}")
    set(outputs "${stem}.pb.cc" "${stem}.pb.h")
    set(flags "--cpp_out=${generated_root}")

    # Adding a first service to a file has to change the list of outputs: configure again when the file changes.
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${proto}")
    file(STRINGS "${proto}" services REGEX "^service ")
    if(services)
      set(has_service TRUE)
      list(APPEND outputs "${stem}.grpc.pb.cc" "${stem}.grpc.pb.h")
      list(APPEND flags "--grpc_out=${generated_root}" "--plugin=protoc-gen-grpc=${POTLUCK_GRPC_CPP_PLUGIN}")
    endif()

    add_custom_command(
      OUTPUT ${outputs}
      COMMAND "${CMAKE_COMMAND}" -E make_directory "${generated_root}"
      COMMAND "${POTLUCK_PROTOC}" "--proto_path=${POTLUCK_SOURCE_ROOT}" ${flags} "${file}"
      DEPENDS ${protos}  # Any of them may be imported.
      WORKING_DIRECTORY "${POTLUCK_SOURCE_ROOT}"
      COMMENT "protoc ${file}"
      VERBATIM)
    list(APPEND sources ${outputs})
  endforeach()

  add_library(${target} STATIC ${sources})
  target_compile_options(${target} PRIVATE -w)
  target_include_directories(${target} SYSTEM PUBLIC "${generated_root}")
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf)
  if(has_service)
    target_link_libraries(${target} PUBLIC gRPC::grpc++)
  endif()
endfunction()
