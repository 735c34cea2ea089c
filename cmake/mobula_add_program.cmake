# mobula_add_program(NAME sources... [LAYERS core train ...])
# Builds a one-file program on Mobula's layers (default: core). Its functions are found by worker processes of the same
# program without being registered anywhere. The program is a library, libNAME_program.so, which Ray's workers load, and a
# launcher NAME that holds nothing: what starts it finds main() in the library.
set(MOBULA_LAUNCHER_SOURCE ${CMAKE_CURRENT_LIST_DIR}/launcher.cpp CACHE INTERNAL "The launcher of programs")
function(mobula_add_program name)
  cmake_parse_arguments(PROGRAM "" "" "LAYERS" ${ARGN})
  if(NOT PROGRAM_LAYERS)
    set(PROGRAM_LAYERS core)
  endif()
  add_library(${name}_program SHARED ${PROGRAM_UNPARSED_ARGUMENTS})
  target_compile_features(${name}_program PRIVATE cxx_std_20)
  list(TRANSFORM PROGRAM_LAYERS PREPEND mobula::)
  target_link_libraries(${name}_program PUBLIC ${PROGRAM_LAYERS})
  add_executable(${name} ${MOBULA_LAUNCHER_SOURCE})
  target_link_libraries(${name} PRIVATE -Wl,--no-as-needed ${name}_program -Wl,--as-needed)
  # Looked for beside the launcher first, so that both can be copied, or sent along with a job.
  set_target_properties(${name} PROPERTIES BUILD_RPATH "$ORIGIN")
endfunction()
