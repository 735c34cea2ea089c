#!/usr/bin/env bash
# Builds the gpu preset on a machine that has a CUDA torch in its python3 and no network.
#   tools/build_gpu.sh download FOLDER   on a Debian 12 machine: fetch the packages to carry along (about 25 MB)
#   tools/build_gpu.sh build FOLDER      on the GPU machine: unpack them privately, configure and build into build-gpu/
# FOLDER/env then holds the variables that the built programs run with: . FOLDER/env
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# -eq 2 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
command=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
packages="libfmt-dev libfmt9 libspdlog-dev libspdlog1.10 libyaml-cpp-dev libyaml-cpp0.7 nlohmann-json3-dev libcli11-dev
  libsqlite3-dev libsqlite3-0 libpcre2-dev libpcre2-8-0 libutf8proc-dev libutf8proc2 libsimdjson-dev libsimdjson14
  libboost1.81-dev libcurl4-openssl-dev libcurl4 libssl-dev libssl3 libnghttp2-14 librtmp1 libssh2-1 libpsl5
  libgssapi-krb5-2 libldap-2.5-0 libbrotli1 mold"
case "$command" in
  download)
    # shellcheck disable=SC2086
    (cd "$folder" && apt-get download $packages)
    ;;
  build)
    root=$(mktemp -d)
    for package in "$folder"/*.deb; do dpkg -x "$package" "$root"; done
    arch=$(gcc -print-multiarch)
    cat >"$folder/env" <<TEXT
export CPLUS_INCLUDE_PATH=$root/usr/include:$root/usr/include/$arch LIBRARY_PATH=$root/usr/lib/$arch
export LD_LIBRARY_PATH=$root/usr/lib/$arch PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$root/usr/lib/$arch/pkgconfig
export PATH=\$PATH:$root/usr/bin
TEXT
    # shellcheck disable=SC1091
    . "$folder/env"
    torch=$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))')
    cmake --preset gpu "-DMOBULA_TORCH_DIR=$torch" "-DCMAKE_PREFIX_PATH=$root/usr" "-DOPENSSL_ROOT_DIR=$root/usr"
    ninja -C build-gpu
    ;;
  *) sed -n '2,5s/^# //p' "$0" >&2; exit 2 ;;
esac
