#!/usr/bin/env python3
"""Pins Python wheels with their hashes: reads NAME==VERSION lines, asks pip which wheel it would take, writes the lock.

usage: tools/lock_requirements.py OUT.txt NAME==VERSION...
The wheels carry libtorch, Arrow and Ray, which the build links, and the peers that tests compare with.
"""
import json
import subprocess
import sys
import tempfile


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    out, wanted = sys.argv[1], sys.argv[2:]
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed", "--no-deps",
             "--report", report.name, *wanted], check=True)
        items = json.load(open(report.name))["install"]
    lines = ["# Made by tools/lock_requirements.py; installed with pip --require-hashes --no-deps by ./dev setup."]
    for item in sorted(items, key=lambda item: item["metadata"]["name"].lower()):
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{item['metadata']['name']}=={item['metadata']['version']} --hash=sha256:{digest}")
    with open(out, "w") as file:
        file.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
