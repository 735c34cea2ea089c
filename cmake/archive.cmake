# Tar files, and the hashes of MDS shards.
pkg_check_modules(libarchive REQUIRED IMPORTED_TARGET libarchive)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
