# mobula_add_program(NAME sources... [LAYERS core train ...])
# Builds a one-file program on Mobula's layers (default: core). Its functions are found by worker processes of the same
# program without being registered anywhere.
function(mobula_add_program name)
  cmake_parse_arguments(PROGRAM "" "" "LAYERS" ${ARGN})
  if(NOT PROGRAM_LAYERS)
    set(PROGRAM_LAYERS core)
  endif()
  add_executable(${name} ${PROGRAM_UNPARSED_ARGUMENTS})
  target_compile_features(${name} PRIVATE cxx_std_20)
  list(TRANSFORM PROGRAM_LAYERS PREPEND mobula::)
  target_link_libraries(${name} PRIVATE ${PROGRAM_LAYERS})
  # Worker processes look functions up by name in the program itself.
  set_target_properties(${name} PROPERTIES ENABLE_EXPORTS ON)
endfunction()
