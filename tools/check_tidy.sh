#!/usr/bin/env bash
# Runs clang-tidy with the allowlist of .clang-tidy over the library's sources (not the tests).
# usage: tools/check_tidy.sh BUILD_FOLDER [FILE...]; without files: those changed since origin/main or all when unknown.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$1
shift
if [ $# -gt 0 ]; then
  files=("$@")
else
  # Sources on libtorch and Arrow take half a minute each to parse: their turn comes when they are named.
  mapfile -t files < <(git ls-files 'mobula/base/*.cpp' 'mobula/core/*.cpp' 'mobula/track/*.cpp' 'mobula/text/*.cpp' 'mobula/serve/*.cpp' 'mobula/cli/*.cpp' |
    grep -Ev '(_run|\.test|\.bench|\.fuzz)\.cpp$')
  # What this build leaves out (a plug-in whose library isn't installed) has no flags to be read with.
  mapfile -t files < <(for file in "${files[@]}"; do
    if grep -qF "\"$PWD/$file\"" "$folder/compile_commands.json"; then echo "$file"; fi
  done)
fi
printf '%s\0' "${files[@]}" | xargs -0 -P 2 -n 4 clang-tidy -p "$folder" --quiet --warnings-as-errors='*' 2>/dev/null
echo "tidy: ${#files[@]} files are clean"
