# libtorch out of the PyPI wheel. The wheel's own find_package(Torch) asks for CUDA; an imported target doesn't.
# MOBULA_TORCH_DIR may name another torch (the folder that holds include/ and lib/).
set(MOBULA_TORCH_DIR "" CACHE PATH "Folder of the torch package (default: the one under MOBULA_DEPS)")
if(NOT MOBULA_TORCH_DIR)
  set(MOBULA_TORCH_DIR ${MOBULA_SITE_PACKAGES}/torch)
endif()
if(NOT EXISTS ${MOBULA_TORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "libtorch is missing at ${MOBULA_TORCH_DIR}: run ./dev setup, or pass -DMOBULA_TORCH_DIR=...")
endif()
# The wheel's include folder carries headers of another fmt than the one we link: ours are named before it.
find_path(fmt_include fmt/format.h REQUIRED)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/fmt-before-torch)
file(CREATE_LINK ${fmt_include}/fmt ${CMAKE_BINARY_DIR}/fmt-before-torch/fmt SYMBOLIC)
add_library(mobula_torch INTERFACE IMPORTED)
target_include_directories(mobula_torch SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/fmt-before-torch
                                                         ${MOBULA_TORCH_DIR}/include
                                                         ${MOBULA_TORCH_DIR}/include/torch/csrc/api/include)
target_link_directories(mobula_torch INTERFACE ${MOBULA_TORCH_DIR}/lib)
# libtorch_cpu names CUDA's runtime and CUPTI; they lie in wheels of their own, found by its run path.
target_link_options(mobula_torch INTERFACE -Wl,--allow-shlib-undefined)
# libtorch's loops run on its own OpenMP; with -fopenmp, at::parallel_for in our code shares that thread pool.
target_compile_options(mobula_torch INTERFACE -fopenmp)
file(GLOB torch_openmp ${MOBULA_TORCH_DIR}/lib/libgomp*.so*)
target_link_libraries(mobula_torch INTERFACE torch_cpu c10 ${torch_openmp})
list(APPEND CMAKE_BUILD_RPATH ${MOBULA_TORCH_DIR}/lib)
list(APPEND CMAKE_INSTALL_RPATH ${MOBULA_TORCH_DIR}/lib)
