# A layer is one folder of mobula/, one shared library libmobula_NAME.so, one target mobula::NAME and one test program.

# Adds mobula/NAME unless the build leaves it out (MOBULA_LAYERS, MOBULA_WITH_TORCH).
function(mobula_add_layer_directory name)
  if(MOBULA_LAYERS AND NOT name IN_LIST MOBULA_LAYERS)
    return()
  endif()
  if(EXISTS ${CMAKE_SOURCE_DIR}/mobula/${name}/CMakeLists.txt)
    add_subdirectory(mobula/${name})
  endif()
endfunction()

# mobula_add_layer(NAME [DEPENDS layers...] [PUBLIC libraries...] [PRIVATE libraries...] [EXCLUDE regexes...])
# Builds every *.cpp below the layer's folder that is no *.test.cpp and no *.bench.cpp into the layer's library,
# and every *.test.cpp into test_NAME, whose tests carry the label NAME.
function(mobula_add_layer name)
  cmake_parse_arguments(LAYER "" "" "DEPENDS;PUBLIC;PRIVATE;EXCLUDE;TEST_LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  foreach(regex ${LAYER_EXCLUDE})
    list(FILTER sources EXCLUDE REGEX ${regex})
  endforeach()
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "\\.(test|bench|fuzz)\\.cpp$")
  list(FILTER tests INCLUDE REGEX "\\.test\\.cpp$")

  add_library(mobula_${name} SHARED ${sources})
  add_library(mobula::${name} ALIAS mobula_${name})
  set_target_properties(mobula_${name} PROPERTIES EXPORT_NAME ${name} VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
  target_include_directories(mobula_${name} PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}> $<INSTALL_INTERFACE:include>)
  target_compile_features(mobula_${name} PUBLIC cxx_std_20)
  foreach(dependency ${LAYER_DEPENDS})
    target_link_libraries(mobula_${name} PUBLIC mobula_${dependency})
  endforeach()
  target_link_libraries(mobula_${name} PUBLIC ${LAYER_PUBLIC} PRIVATE ${LAYER_PRIVATE} Threads::Threads)
  install(TARGETS mobula_${name} EXPORT mobula LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})

  if(MOBULA_WITH_TESTS AND tests)
    add_executable(test_${name} ${tests})
    target_link_libraries(test_${name} PRIVATE mobula_${name} ${LAYER_PRIVATE} ${LAYER_TEST_LIBRARIES} GTest::gtest GTest::gtest_main)
    gtest_discover_tests(test_${name} DISCOVERY_MODE PRE_TEST PROPERTIES LABELS ${name} TIMEOUT 300)
  endif()
endfunction()

# mobula_add_plugin(NAME sources... LIBRARIES targets...)
# A shared library that is loaded when it is needed, so that a program starts without what it links (libtorch, Arrow).
function(mobula_add_plugin name)
  cmake_parse_arguments(PLUGIN "" "" "LIBRARIES" ${ARGN})
  add_library(${name} MODULE ${PLUGIN_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${PLUGIN_LIBRARIES})
  set_target_properties(${name} PROPERTIES PREFIX "lib")
  install(TARGETS ${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endfunction()
