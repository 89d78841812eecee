# A text file of the repository as a constant of the program.

# potluck_embed(FILE NAME HEADER): writes HEADER, in which NAME is the text of FILE, a char array in namespace potluck. FILE
# must not hold `)text"`.
function(potluck_embed file name header)
  cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE path)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
  file(READ ${path} text)
  file(CONFIGURE OUTPUT ${header} @ONLY NEWLINE_STYLE UNIX CONTENT
    "// Made by cmake/Embed.cmake.\n#pragma once\n\nnamespace potluck {\n\ninline constexpr char @name@[] = R\"text(@text@)text\";\n\n}  // namespace potluck\n")
endfunction()
