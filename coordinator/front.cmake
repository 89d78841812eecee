# The coordinator's door: who it is (identity, tokens), the port (front door, ClientHello) and the web server behind it.

potluck_embed(cell.py kCellProgram ${PROJECT_BINARY_DIR}/generated/coordinator/cell_program.h)

add_library(potluck_front STATIC
  bundle.cc bundle.h
  client_hello.cc client_hello.h
  front_door.cc front_door.h
  identity.cc identity.h
  listener.cc listener.h
  tokens.cc tokens.h
  web.cc web.h)
target_include_directories(potluck_front PUBLIC ${PROJECT_SOURCE_DIR})
target_include_directories(potluck_front PRIVATE ${PROJECT_BINARY_DIR}/generated)
# potluck_base: locks and SHA-256; potluck_wire: the certificate's pin; potluck_store: the facts about tokens.
target_link_libraries(potluck_front PUBLIC
  potluck_base potluck_wire potluck_store gRPC::grpc++ OpenSSL::SSL OpenSSL::Crypto Boost::headers Threads::Threads
  nlohmann_json::nlohmann_json
  absl::flat_hash_map absl::status absl::statusor absl::strings absl::time)
# Asio has memory fences, of which GCC's thread sanitizer knows nothing; nothing here depends on them.
if(POTLUCK_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(potluck_front PRIVATE -Wno-tsan)
endif()

if(BUILD_TESTING)
  add_executable(front_test bundle_test.cc client_hello_test.cc front_testing.h front_door_test.cc identity_test.cc)
  target_link_libraries(front_test PRIVATE potluck_front absl::synchronization GTest::gtest_main)
  # The packaged gRPC is not instrumented: the thread sanitizer does not see its locks, and what passes through them looks
  # like a race. So these tests stay out of its run.
  set(label unit)
  if(POTLUCK_SANITIZE STREQUAL "thread")
    set(label uninstrumented)
  endif()
  gtest_discover_tests(front_test DISCOVERY_MODE PRE_TEST PROPERTIES LABELS ${label})
endif()
