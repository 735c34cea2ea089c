#!/usr/bin/env python3
"""Holds the includes to the layer table of ARCHITECTURE.md: a layer sees itself and what stands behind its colon."""
import pathlib
import re
import sys

LAYERS = {
    "base": set(),
    "core": {"base"},
    "track": {"base"},
    "text": {"base"},
    "image": {"base"},
    "http": {"base"},
    "hub": {"base", "http"},
    "jobs": {"base", "http"},
    "nn": {"base"},
    "data": {"base", "core", "image"},
    "models": {"base", "image", "nn"},
    "train": {"base", "core", "data", "nn", "track"},
    "tune": {"base", "core", "track"},
    "serve": {"base", "core", "nn", "text", "track"},
    "rl": {"base", "core", "nn", "text", "track", "train"},
    "ops": {"base", "core", "track", "data", "train", "serve"},
}
TORCH = re.compile(r"(torch|ATen|c10)/")
TORCH_LAYERS = {"nn", "models", "train", "rl", "cli"}
INTERNAL = "Internal to this layer"  # a header that says so may name Arrow's types, and nobody outside includes it
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]')


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    wrong, files = [], sorted((root / "mobula").rglob("*.[hc]pp"))
    internal = {path.relative_to(root).as_posix() for path in files if path.suffix == ".hpp" and INTERNAL in path.read_text()}
    for path in files:
        parts = path.relative_to(root).parts
        layer = parts[1].removesuffix(".hpp")  # mobula/core.hpp is the layer's umbrella header
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            name, place = match[1], f"{'/'.join(parts)}:{number}"
            if TORCH.match(name) and layer not in TORCH_LAYERS:
                wrong.append(f"{place}: {layer} includes torch ({name})")
            if name == "torch/torch.h":
                wrong.append(f"{place}: include the narrow header instead of torch/torch.h")
            hidden = path.suffix == ".cpp" or "/".join(parts) in internal
            if name.startswith("arrow/") and not (layer == "data" and hidden):
                wrong.append(f"{place}: Arrow headers stay in data's .cpp files and internal headers ({name})")
            if name in internal and not (name.split("/")[1] == layer and hidden):
                wrong.append(f"{place}: {name} is internal to its layer")
            if not name.startswith("mobula/") or layer == "cli":
                continue
            target = name.split("/")[1].removesuffix(".hpp")
            if target != layer and target not in LAYERS.get(layer, set()):
                wrong.append(f"{place}: {layer} includes {name}, but sees only {', '.join(sorted(LAYERS.get(layer, set())))}")
    print("\n".join(wrong) if wrong else f"layers: {len(files)} files keep the order", file=sys.stderr if wrong else sys.stdout)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
