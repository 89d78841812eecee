# The devices of a worker: finding them, and a child process for each.

add_library(potluck_executor STATIC
  cache_directory.cc cache_directory.h child_blobs.cc child_blobs.h child_process.cc child_process.h device_check.cc device_check.h
  devices.cc devices.h driver_probe.cc driver_probe.h executor.cc executor.h executor_main.cc executor_main.h
  frames.cc frames.h result_file.cc result_file.h)
target_include_directories(potluck_executor PUBLIC ${PROJECT_SOURCE_DIR})
target_link_libraries(potluck_executor
  PUBLIC potluck_base potluck_kernels absl::status absl::statusor absl::strings absl::time Threads::Threads
  PRIVATE nlohmann_json::nlohmann_json)

if(BUILD_TESTING)
  # The program that the tests start as an executor.
  add_executable(executor_test_child executor_test_child.cc)
  target_link_libraries(executor_test_child PRIVATE potluck_executor)
  add_executable(executor_test
    device_check_test.cc devices_test.cc executor_failure_test.cc executor_test.cc executor_testing.h frames_test.cc)
  target_link_libraries(executor_test PRIVATE potluck_executor GTest::gmock GTest::gtest_main)
  # Under the driver's own name, in a folder that only tests look into.
  add_library(potluck_fake_driver SHARED fake_driver.cc)
  set_target_properties(potluck_fake_driver PROPERTIES OUTPUT_NAME cuda SUFFIX .so.1
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/fake_driver)
  target_link_libraries(executor_test PRIVATE nlohmann_json::nlohmann_json)
  target_compile_definitions(executor_test PRIVATE
    POTLUCK_EXECUTOR_TEST_CHILD="$<TARGET_FILE:executor_test_child>"
    POTLUCK_FAKE_DRIVER="$<TARGET_FILE:potluck_fake_driver>")
  add_dependencies(executor_test executor_test_child potluck_fake_driver)
  gtest_discover_tests(executor_test DISCOVERY_MODE PRE_TEST PROPERTIES LABELS unit TIMEOUT 300)
endif()
