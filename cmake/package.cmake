# The installed CMake package: find_package(mobula CONFIG) gives mobula::core, mobula::train ... and mobula_add_program.
include(CMakePackageConfigHelpers)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/mobula/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/mobula FILES_MATCHING PATTERN "*.hpp"
        PATTERN "cli" EXCLUDE PATTERN "testing" EXCLUDE)
install(EXPORT mobula NAMESPACE mobula:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mobula FILE mobula-targets.cmake)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/mobula-config.cmake.in ${CMAKE_BINARY_DIR}/mobula-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mobula)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/mobula-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/mobula-config.cmake ${CMAKE_BINARY_DIR}/mobula-config-version.cmake
              ${CMAKE_SOURCE_DIR}/cmake/mobula_add_program.cmake ${CMAKE_SOURCE_DIR}/cmake/launcher.cpp
              ${CMAKE_SOURCE_DIR}/cmake/mobula_torch_target.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mobula)

# Copies what lies in Python wheels beside our own libraries, so that the prefix can be moved to another machine.
if(MOBULA_BUNDLE)
  if(MOBULA_WITH_TORCH)
    file(GLOB bundled ${MOBULA_TORCH_DIR}/lib/libtorch_cpu.so ${MOBULA_TORCH_DIR}/lib/libc10.so ${MOBULA_TORCH_DIR}/lib/libgomp*.so*
         ${MOBULA_TORCH_DIR}/lib/libshm.so ${MOBULA_TORCH_DIR}/../nvidia/cu*/lib/libcudart.so.* ${MOBULA_TORCH_DIR}/../nvidia/cu*/lib/libcupti.so.*)
    install(FILES ${bundled} DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(DIRECTORY ${MOBULA_TORCH_DIR}/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/mobula/third_party/torch)
  endif()
  if(MOBULA_WITH_ARROW)
    file(GLOB arrow_s3 ${MOBULA_ARROW_DIR}/libarrow_s3.so.*)  # loaded where s3:// is read or written
    install(FILES ${arrow_libraries} ${arrow_s3} DESTINATION ${CMAKE_INSTALL_LIBDIR})
  endif()
endif()
