"""JPEG folder -> decode -> resize -> crop -> normalise: images a second of `mobula data run` and of torchvision, same run.

usage: MOBULA_BIN=build/bin python bench/data/images.py [NUMBER] [--json]
torchvision (of torch's release) must be importable; it is installed for this alone. Prints a table, or with --json one JSON object a line.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
import PIL.Image

NUMBER = int(sys.argv[1]) if len(sys.argv) > 1 else 1200
TABLE = __name__ == "__main__" and "--json" not in sys.argv
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def make_images(folder):
    """Writes photographs of a kind: soft shapes with some noise, 500 x 375, about 50 kB each."""
    random = numpy.random.default_rng(0)
    for i in range(NUMBER):
        small = random.integers(0, 256, (12, 16, 3), dtype=numpy.uint8)
        image = numpy.asarray(PIL.Image.fromarray(small).resize((500, 375), PIL.Image.BICUBIC)).astype(numpy.int16)
        image = numpy.clip(image + random.integers(-12, 13, image.shape), 0, 255).astype(numpy.uint8)
        place = folder / f"class{i % 4}"
        place.mkdir(exist_ok=True)
        PIL.Image.fromarray(image).save(place / f"{i:05}.jpg", quality=85)


def report(metric, value, peer, **more):
    if TABLE:
        return print(f"{metric:<26} {peer:<11} {value:>10.4g} {' '.join(f'{key} {of}' for key, of in more.items())}", flush=True)
    print(json.dumps({"bench": "data", "metric": metric, "value": round(value, 4), "peer": peer, **more}), flush=True)


def mobula(folder, threads):
    pipeline = folder.parent / "p.yaml"
    pipeline.write_text(json.dumps({
        "source": {"images": str(folder)},
        "steps": [{"decode_image": {"resize": 256, "center_crop": 224, "mean": MEAN, "deviation": DEVIATION, "layout": "chw"}}],
        "memory": "512MB", "threads": threads}))
    done = subprocess.run([pathlib.Path(os.environ["MOBULA_BIN"]) / "mobula", "data", "run", pipeline, "--json"],
                          capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["rows"] == NUMBER
    stage = result["stages"][0]
    busy = sum(operator["busy_s"] for operator in stage["operators"])
    report("images_per_s", NUMBER / result["seconds"], "mobula", threads=threads)
    # What the threads did but run the functions themselves: the executor's share, idle time at both ends included.
    report("executor_overhead", 1 - busy / (stage["seconds"] * stage["threads"]), "mobula", threads=threads)


def torchvision_peer(folder, threads):
    import torch
    import torchvision
    from torchvision import transforms
    torch.set_num_threads(1)
    dataset = torchvision.datasets.ImageFolder(folder, transforms.Compose([
        transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, DEVIATION)]))
    workers = threads if threads > 1 else 0
    loader = torch.utils.data.DataLoader(dataset, batch_size=64, num_workers=workers, persistent_workers=workers > 0)
    batches = iter(loader)
    rows = len(next(batches)[0])  # the workers are there now
    start = time.perf_counter()
    count = sum(len(images) for images, _ in batches)
    assert rows + count == NUMBER
    report("images_per_s", count / (time.perf_counter() - start), "torchvision", threads=threads)


with tempfile.TemporaryDirectory(prefix="mobula-bench-images-") as directory:
    images = pathlib.Path(directory) / "images"
    images.mkdir()
    make_images(images)
    for _ in range(2):
        for number in (1, 2):
            mobula(images, number)
            torchvision_peer(images, number)
