# mobula_torch_target(INCLUDE_DIRECTORY LIBRARY_DIRECTORY)
# Makes the target mobula_torch out of a libtorch's headers and libraries. Used by the build and by the installed package.
function(mobula_torch_target include_directory library_directory)
  # The wheel's include folder carries headers of another fmt than the one we link: ours are named before it.
  find_path(fmt_include fmt/format.h REQUIRED)
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/fmt-before-torch)
  file(CREATE_LINK ${fmt_include}/fmt ${CMAKE_BINARY_DIR}/fmt-before-torch/fmt SYMBOLIC)
  # libtorch's loops run on its own OpenMP; with -fopenmp, at::parallel_for in our code shares that thread pool.
  file(GLOB openmp ${library_directory}/libgomp*.so*)
  # Headers alone are for what names libtorch's types of numbers and links none of it.
  add_library(mobula_torch_headers INTERFACE IMPORTED)
  target_include_directories(mobula_torch_headers SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/fmt-before-torch ${include_directory})
  add_library(mobula_torch INTERFACE IMPORTED)
  target_include_directories(mobula_torch SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/fmt-before-torch ${include_directory}
                                                           ${include_directory}/torch/csrc/api/include)
  target_compile_options(mobula_torch INTERFACE $<$<CXX_COMPILER_ID:GNU>:-fopenmp>)
  target_link_directories(mobula_torch INTERFACE ${library_directory})
  # libtorch_cpu names CUDA's runtime and CUPTI; they lie in wheels of their own, found by its run path.
  target_link_options(mobula_torch INTERFACE -Wl,--allow-shlib-undefined -Wl,-rpath,${library_directory})
  target_link_libraries(mobula_torch INTERFACE torch_cpu c10 ${openmp})
  if(MOBULA_WITH_CUDA)
    # Nothing names a symbol of these: their kernels register themselves when they are loaded.
    target_link_libraries(mobula_torch INTERFACE -Wl,--no-as-needed torch_cuda c10_cuda -Wl,--as-needed)
  endif()
endfunction()
