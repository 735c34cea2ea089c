# Asio and Beast are header-only; OpenSSL serves TLS and hashes.
find_package(OpenSSL REQUIRED)
find_path(BOOST_INCLUDE boost/beast.hpp REQUIRED)
add_library(mobula_beast INTERFACE IMPORTED)
target_include_directories(mobula_beast SYSTEM INTERFACE ${BOOST_INCLUDE})
target_link_libraries(mobula_beast INTERFACE Threads::Threads)
