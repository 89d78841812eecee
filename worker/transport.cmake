# The worker's (and every client's) way to a coordinator.

add_library(potluck_transport STATIC system_roots.cc system_roots.h transport.cc transport.h
  unreachable.cc unreachable.h)
target_include_directories(potluck_transport PUBLIC ${PROJECT_SOURCE_DIR})
target_link_libraries(potluck_transport PUBLIC
  potluck_base potluck_wire gRPC::grpc++ absl::status absl::statusor absl::strings)

if(BUILD_TESTING)
  # Against the real front door.
  add_executable(transport_test system_roots_test.cc transport_test.cc)
  target_link_libraries(transport_test PRIVATE potluck_transport potluck_front GTest::gmock GTest::gtest_main)
  # The packaged gRPC is not instrumented: the thread sanitizer does not see its locks, and what passes through them looks
  # like a race. So these tests stay out of its run.
  set(label unit)
  if(POTLUCK_SANITIZE STREQUAL "thread")
    set(label uninstrumented)
  endif()
  gtest_discover_tests(transport_test DISCOVERY_MODE PRE_TEST PROPERTIES LABELS ${label})
endif()
