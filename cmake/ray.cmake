# Ray's C++ API out of the PyPI wheels ray and ray-cpp, which ./dev setup --all (and ./dev test) install. Without them
# everything is built but the plug-in of the Ray engine, and ray:// says what to install.
set(MOBULA_RAY_DIR "" CACHE PATH "Folder of the ray package with ray-cpp (default: the one under MOBULA_DEPS)")
set(ray_directory "${MOBULA_RAY_DIR}")
if(NOT ray_directory AND MOBULA_SITE_PACKAGES)
  set(ray_directory ${MOBULA_SITE_PACKAGES}/ray)
endif()
set(MOBULA_WITH_RAY OFF CACHE INTERNAL "Whether the Ray engine's plug-in is built")
file(GLOB ray_metadata ${ray_directory}/../ray_cpp-*.dist-info)
# Sanitizers can't see into Ray's library.
if(EXISTS ${ray_directory}/cpp/lib/libray_api.so AND ray_metadata AND NOT MOBULA_SANITIZE)
  include(curl)
  set(MOBULA_WITH_RAY ON CACHE INTERNAL "")
  string(REGEX REPLACE ".*/ray_cpp-(.*)\\.dist-info" "\\1" MOBULA_RAY_VERSION "${ray_metadata}")
  add_library(mobula_ray_api INTERFACE IMPORTED)
  target_include_directories(mobula_ray_api SYSTEM INTERFACE ${ray_directory}/cpp/include)
  target_link_directories(mobula_ray_api INTERFACE ${ray_directory}/cpp/lib)
  target_link_options(mobula_ray_api INTERFACE -Wl,-rpath,${ray_directory}/cpp/lib -Wl,--allow-shlib-undefined)
  # The library was built with the standard library's old std::string.
  target_compile_definitions(mobula_ray_api INTERFACE _GLIBCXX_USE_CXX11_ABI=0 MOBULA_RAY_VERSION="${MOBULA_RAY_VERSION}")
  target_link_libraries(mobula_ray_api INTERFACE ray_api CURL::libcurl)
elseif(MOBULA_RAY_DIR)
  message(FATAL_ERROR "ray-cpp is missing at ${MOBULA_RAY_DIR}: pip install ray ray-cpp of one version")
endif()
