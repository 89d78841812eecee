# deploy/notebooks/: as committed, and each executed; a lesson takes a minute or so.
foreach(test CommittedTest WrittenTest WorkerTest LessonTest.test_lesson_1 LessonTest.test_lesson_2
             LessonTest.test_lesson_3)
  string(REGEX REPLACE "^LessonTest.test_|Test$" "" name ${test})
  string(TOLOWER ${name} name)
  add_test(NAME notebooks_${name} COMMAND ${CMAKE_COMMAND} -E env "POTLUCK_BINARY=$<TARGET_FILE:potluck>"
    python3 "${CMAKE_CURRENT_SOURCE_DIR}/lessons_test.py" ${test})
  set_tests_properties(notebooks_${name} PROPERTIES LABELS process TIMEOUT 900 SKIP_RETURN_CODE 77 RUN_SERIAL TRUE)
endforeach()
