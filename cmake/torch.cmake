# libtorch out of the PyPI wheel. The wheel's own find_package(Torch) asks for CUDA; an imported target doesn't.
# MOBULA_TORCH_DIR may name another torch (the folder that holds include/ and lib/).
set(MOBULA_TORCH_DIR "" CACHE PATH "Folder of the torch package (default: the one under MOBULA_DEPS)")
if(NOT MOBULA_TORCH_DIR)
  set(MOBULA_TORCH_DIR ${MOBULA_SITE_PACKAGES}/torch)
endif()
if(NOT EXISTS ${MOBULA_TORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "libtorch is missing at ${MOBULA_TORCH_DIR}: run ./dev setup, or pass -DMOBULA_TORCH_DIR=...")
endif()
include(mobula_torch_target)
mobula_torch_target(${MOBULA_TORCH_DIR}/include ${MOBULA_TORCH_DIR}/lib)
list(APPEND CMAKE_BUILD_RPATH ${MOBULA_TORCH_DIR}/lib)
list(APPEND CMAKE_INSTALL_RPATH ${MOBULA_TORCH_DIR}/lib)
