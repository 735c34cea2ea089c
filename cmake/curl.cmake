find_package(CURL REQUIRED)
