"""Formats of other projects: what their own libraries wrote is read, and what we write is read by them."""
import base64
import importlib.util
import io
import json
import os
import pathlib
import sqlite3
import sys
import types
import unittest

import datasets
import deltalake
import numpy
import PIL.Image
import pyarrow
import pyarrow.parquet
import webdataset

import mobula_program

# mosaicml-streaming imports every cloud's client at once; its formats need none of them.
SITE = pathlib.Path(importlib.util.find_spec("numpy").origin).parents[1]
for _name in ("streaming", "streaming.base"):
    _module = types.ModuleType(_name)
    _module.__path__ = [str(SITE.joinpath(*_name.split(".")))]
    sys.modules[_name] = _module
from streaming.base.format.mds.reader import MDSReader  # noqa: E402
from streaming.base.format.mds.writer import MDSWriter  # noqa: E402

datasets.disable_progress_bars()


class FormatsTest(mobula_program.ProgramTest):
    def rows(self, *arguments):
        """Returns the rows of a dataset as `mobula data head --json` prints them."""
        out = self.mobula("data", "head", *arguments, "-n", 1000, "--json")
        return [json.loads(line) for line in out.splitlines()]

    def write_jsonl(self, name, rows):
        self.folder.joinpath(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


class HuggingFaceTest(FormatsTest):
    def setUp(self):
        super().setUp()
        self.data = datasets.Dataset.from_dict({"id": list(range(7)), "text": ["é%d" % i for i in range(6)] + [None],
                                                "tags": [[i] * (i % 3) for i in range(7)]})

    def test_reads_saved_datasets_of_several_files(self):
        self.data.save_to_disk(self.folder / "saved", num_shards=3)
        self.assertEqual(self.rows("saved"), self.data.to_list())

    def test_reads_a_named_split(self):
        datasets.DatasetDict({"train": self.data, "test": self.data.select([3])}).save_to_disk(self.folder / "saved")
        self.assertEqual(self.rows("saved", "--split", "test"), self.data.select([3]).to_list())
        self.fails("data", "head", "saved", error="holds several splits", hint="train, test")
        self.fails("data", "head", "saved", "--split", "tset", error="no split 'tset'", hint="test")

    def test_refuses_names_that_leave_the_folder(self):
        self.data.save_to_disk(self.folder / "saved")
        state = self.folder / "saved" / "state.json"
        content = json.loads(state.read_text())
        content["_data_files"] = [{"filename": "../../etc/passwd"}]
        state.write_text(json.dumps(content))
        self.fails("data", "head", "saved", error="_data_files holds")


class WebDatasetTest(FormatsTest):
    def test_reads_what_webdataset_writes(self):
        with webdataset.TarWriter(str(self.folder / "a.tar")) as out:
            for i in range(5):
                sample = {"__key__": f"part/{i:04}", "txt": f"text {i}", "cls": i * 3, "jpg": bytes([i, 255]), "json": {"i": i}}
                if i == 2:
                    del sample["cls"]
                out.write(sample) if i != 3 else out.write({**sample, "seg.png": b"mask"})
        rows = self.rows("a.tar")
        self.assertEqual([row["__key__"] for row in rows], [f"part/{i:04}" for i in range(5)])
        self.assertEqual([row["txt"] for row in rows], [f"text {i}" for i in range(5)])
        self.assertEqual([row["cls"] for row in rows], [0, 3, None, 9, 12])
        self.assertEqual([json.loads(row["json"])["i"] for row in rows], list(range(5)))
        self.assertEqual([base64.b64decode(row["jpg"]) for row in rows], [bytes([i, 255]) for i in range(5)])
        self.assertEqual([row["seg.png"] and base64.b64decode(row["seg.png"]) for row in rows], [None] * 3 + [b"mask", None])

    def test_writes_what_webdataset_reads(self):
        rows = [{"__key__": f"s{i}", "txt": f"ä {i}", "cls": i, "json": json.dumps({"i": i})} for i in range(9)]
        self.write_jsonl("in.jsonl", rows)
        self.mobula("data", "convert", "in.jsonl", "out.tar")
        read = list(webdataset.WebDataset(str(self.folder / "out.tar"), shardshuffle=False).decode())
        self.assertEqual([{key: sample[key] for key in ("__key__", "txt", "cls")} for sample in read],
                         [{key: row[key] for key in ("__key__", "txt", "cls")} for row in rows])
        self.assertEqual([sample["json"]["i"] for sample in read], list(range(9)))

    def test_numbers_samples_without_keys(self):
        self.write_jsonl("in.jsonl", [{"txt": "a"}, {"txt": "b"}])
        self.mobula("data", "convert", "in.jsonl", "out.tar")
        self.assertEqual(self.rows("out.tar"), [{"__key__": "000000000", "txt": "a"}, {"__key__": "000000001", "txt": "b"}])

    def test_names_what_is_wrong(self):
        self.write_jsonl("in.jsonl", [{"__key__": "a.b", "txt": "x"}])
        self.fails("data", "convert", "in.jsonl", "out.tar", error="the key 'a.b'")
        self.assertFalse((self.folder / "out.tar").exists())
        with webdataset.TarWriter(str(self.folder / "a.tar")) as out:
            out.write({"__key__": "x", "txt": "long " * 1000})
        content = (self.folder / "a.tar").read_bytes()
        (self.folder / "a.tar").write_bytes(content[:2000])
        self.fails("data", "head", "a.tar", error="a.tar")
        (self.folder / "b.tar").write_bytes(os.urandom(5000))
        self.fails("data", "head", "b.tar", error="not a readable tar file")


class MdsTest(FormatsTest):
    COLUMNS = {"id": "int", "text": "str", "raw": "bytes", "x": "float32", "small": "uint8", "vector": "ndarray:float64:3",
               "record": "json", "big": "str_int"}

    def samples(self, count):
        return [{"id": i - 3, "text": "ü" * (i % 4), "raw": bytes([i % 256]) * (i % 3), "x": numpy.float32(i / 7), "small": i % 256,
                 "vector": numpy.array([i, 0.1, -i], numpy.float64), "record": {"i": i}, "big": 10**30 + i}
                for i in range(count)]

    def test_reads_what_streaming_writes(self):
        for compression, hashes in ((None, None), ("zstd:5", ["sha1", "xxh64"]), ("gz", ["blake2b", "xxh3_64"]), ("br", ["md5"])):
            with self.subTest(compression=compression):
                folder = self.folder / f"mds-{compression}".replace(":", "-")
                samples = self.samples(200)
                with MDSWriter(columns=self.COLUMNS, out=str(folder), compression=compression, hashes=hashes,
                               size_limit=2000) as out:
                    for sample in samples:
                        out.write(sample)
                self.assertGreater(len(list(folder.glob("shard*"))), 5)
                rows = self.rows(folder.name)
                self.assertEqual(len(rows), len(samples))
                for row, sample in zip(rows, samples):
                    self.assertEqual((row["id"], row["text"], row["small"], row["big"]),
                                     (sample["id"], sample["text"], sample["small"], str(sample["big"])))
                    self.assertEqual(base64.b64decode(row["raw"]), sample["raw"])
                    self.assertEqual(numpy.float32(row["x"]), sample["x"])
                    self.assertEqual(row["vector"], sample["vector"].tolist())
                    self.assertEqual(json.loads(row["record"]), sample["record"])

    def test_reads_shards_in_streamings_order(self):
        (self.folder / "in.jsonl").write_text("".join(f'{{"id": {i}}}\n' for i in range(500)))
        self.mobula("data", "convert", "in.jsonl", "mds/", "--to", "mds")
        (self.folder / "p.yaml").write_text("source: {mds: mds/, order: {shuffle_algo: naive, epoch: 1}}\nsink: {jsonl: out.jsonl}\n")
        self.mobula("data", "run", "p.yaml")
        ids = [json.loads(line)["id"] for line in (self.folder / "out.jsonl").read_text().splitlines()]
        order = numpy.arange(500)
        numpy.random.default_rng(9176 + 1).shuffle(order)  # streaming/base/shuffle/naive.py
        self.assertEqual(ids, order.tolist())
        out = self.mobula("data", "head", "mds/", "--from", "mds", "--order", "shuffle_algo=naive,epoch=1", "-n", 500, "--json")
        self.assertEqual([json.loads(line)["id"] for line in out.splitlines()], ids)
        self.fails("data", "head", "mds/", "--order", "shuffle_algo=py9", error="py9")
        self.fails("data", "head", "mds/", "--order", "epochs=1", code=2, error="unknown key 'epochs'", hint="epoch")

    def test_writes_what_streaming_reads(self):
        rows = [{"id": i * 2**40, "text": "ß" * (i % 5), "x": i / 3} for i in range(300)]
        self.write_jsonl("in.jsonl", rows)
        for options in ([], ["--compression", "zstd"]):
            self.mobula("data", "convert", "in.jsonl", "out" + "z" * len(options), "--to", "mds", *options)
            folder = self.folder / ("out" + "z" * len(options))
            index = json.loads((folder / "index.json").read_text())
            if options:
                import zstd
                for entry in index["shards"]:
                    raw = zstd.decompress((folder / entry["zip_data"]["basename"]).read_bytes())
                    (folder / entry["raw_data"]["basename"]).write_bytes(raw)
            read = []
            for entry in index["shards"]:
                reader = MDSReader.from_json(str(folder), "", entry)
                reader.validate(False)
                read += [reader.get_item(i) for i in range(reader.samples)]
            self.assertEqual([{**sample, "id": int(sample["id"]), "x": float(sample["x"])} for sample in read], rows)
        self.assertEqual(self.rows("outzz"), rows)

    def test_notices_damage(self):
        with MDSWriter(columns={"text": "str"}, out=str(self.folder / "mds"), hashes=["sha256"]) as out:
            for i in range(100):
                out.write({"text": "x" * i})
        shard = next((self.folder / "mds").glob("shard*"))
        good = shard.read_bytes()
        for bad, message in ((good[:-1], "bytes, but index.json says"), (good[:-1] + b"y", "its sha256 is")):
            shard.write_bytes(bad)
            self.fails("data", "head", "mds", error=message)
        index = self.folder / "mds" / "index.json"
        shard.write_bytes(b"\x64\0\0\0" + b"\xff" * (len(good) - 4))
        index.write_text(json.dumps({**json.loads(index.read_text())}).replace(
            json.loads(index.read_text())["shards"][0]["raw_data"]["hashes"]["sha256"], "0" * 64).replace('"sha256"', '"unknown"'))
        self.fails("data", "head", "mds", error="lies outside the file")

    def test_refuses_pickles(self):
        with MDSWriter(columns={"text": "str", "thing": "pkl"}, out=str(self.folder / "mds")) as out:
            out.write({"text": "a", "thing": {1, 2}})
        self.fails("data", "head", "mds", error="'thing' is encoded as 'pkl'", hint="never run")
        self.assertEqual(self.rows("mds", "--columns", "text"), [{"text": "a"}])


class DeltaTest(FormatsTest):
    def write(self, table, **options):
        deltalake.write_deltalake(str(self.folder / "table"), pyarrow.table(table), **options)

    def expected(self, version=None):
        table = deltalake.DeltaTable(str(self.folder / "table"), version=version).to_pyarrow_table()
        return sorted(table.to_pylist(), key=lambda row: row["k"])

    def read(self, *options):
        return sorted(self.rows("table", *options), key=lambda row: row["k"])

    def test_reads_every_version(self):
        self.write({"k": [1, 2, 3, 4], "p": ["a", "b", "a", None], "n": [1, 2, 3, 4]}, partition_by=["p", "n"])
        self.write({"k": [5], "p": ["c d/e%=ö"], "n": [5]}, mode="append")
        self.write({"k": [6, 7], "p": ["b", "b"], "n": [6, 7], "new": ["x", None]}, mode="append", schema_mode="merge")
        deltalake.DeltaTable(str(self.folder / "table")).delete("p = 'a'")
        for version in range(4):
            self.assertEqual(self.read("--table-version", version), self.expected(version))
        self.assertEqual(self.read(), self.expected())
        deltalake.DeltaTable(str(self.folder / "table")).create_checkpoint()
        for version in range(3):
            (self.folder / "table" / "_delta_log" / f"{version:020}.json").unlink()
        self.write({"k": [8], "p": pyarrow.array([None], pyarrow.string()), "n": [8], "new": ["z"]}, mode="append")
        self.assertEqual(self.read(), self.expected())
        self.fails("data", "head", "table", "--table-version", 1, error="commit 0 is gone")
        self.fails("data", "head", "table", "--table-version", 99, error="the newest is 4")
        self.assertEqual(sorted(row["k"] for row in self.rows("table", "--columns", "k")), [2, 4, 5, 6, 7, 8])

    def test_reads_types_of_every_kind(self):
        import datetime
        import decimal
        day = datetime.date(2024, 2, 29)
        self.write({"k": [1, 2], "day": [day, None], "b": [True, False],
                    "f": pyarrow.array([1.5, None], pyarrow.float32()), "list": [[1, 2], None],
                    "s": [{"a": 1, "b": "x"}, None], "d": [decimal.Decimal("12.34"), None],
                    "t": pyarrow.array([datetime.datetime(2024, 1, 2, 3, 4, 5, 6), None], pyarrow.timestamp("us", "UTC"))},
                   partition_by=["day"])
        rows = self.read()
        self.assertEqual([row["day"] for row in rows], ["2024-02-29", None])
        self.assertEqual([row["t"] for row in rows], ["2024-01-02T03:04:05.000006Z", None])
        self.assertEqual([row["list"] for row in rows], [[1, 2], None])
        self.assertEqual([row["s"] for row in rows], [{"a": 1, "b": "x"}, None])

    def test_names_what_is_wrong(self):
        self.write({"k": [1]})
        log = self.folder / "table" / "_delta_log" / f"{0:020}.json"
        good = log.read_text().rstrip() + "\n"
        log.write_text(good + '{"add": {"path": "../x.parquet", "partitionValues": {}}}\n')
        self.fails("data", "head", "table", error="leaves the table's folder")
        log.write_text(good + '{"add": \n')
        self.fails("data", "head", "table", error=f"{0:020}.json:")
        log.write_text(good + '{"protocol": {"minReaderVersion": 3, "readerFeatures": ["fancyThing"]}}\n')
        self.fails("data", "head", "table", error="fancyThing")
        self.fails("data", "head", ".", "--from", "delta", error="no Delta Lake table")


class SqliteTest(FormatsTest):
    def setUp(self):
        super().setUp()
        base = sqlite3.connect(self.folder / "a.db")
        base.execute("CREATE TABLE things (id INTEGER, x REAL, name TEXT, raw BLOB, loose)")
        base.executemany("INSERT INTO things VALUES (?, ?, ?, ?, ?)",
                         [(1, 2.5, "ä", b"\x00\x01", 3), (2, 3, None, None, 2.5), (3, None, "", b"", None)])
        base.commit()
        base.close()

    def test_reads_a_table_and_a_query(self):
        self.assertEqual(self.rows("a.db"), [
            {"id": 1, "x": 2.5, "name": "ä", "raw": "AAE=", "loose": 3.0},
            {"id": 2, "x": 3.0, "name": None, "raw": None, "loose": 2.5},
            {"id": 3, "x": None, "name": "", "raw": "", "loose": None}])
        self.assertEqual(self.rows("a.db", "--query", "SELECT count(*) AS n, max(name) AS m FROM things"), [{"n": 3, "m": "ä"}])
        self.assertEqual(self.rows("a.db", "--columns", "name,id")[0], {"name": "ä", "id": 1})

    def test_names_what_is_wrong(self):
        self.fails("data", "head", "a.db", "--query", "thing", error="no table 'thing'", hint="things")
        self.fails("data", "head", "a.db", "--query", "SELECT nope FROM things", error="no such column: nope")
        self.fails("data", "head", "a.db", "--query", "DELETE FROM things WHERE id = 1", error="returns no rows")
        self.fails("data", "head", "a.db", "--query", "SELECT 1; SELECT 2", error="more than one statement")
        (self.folder / "b.db").write_bytes(os.urandom(4096))
        self.fails("data", "head", "b.db", error="b.db")

    def test_never_changes_the_database(self):
        before = (self.folder / "a.db").read_bytes()
        self.rows("a.db")
        self.fails("data", "head", "a.db", "--query", "INSERT INTO things (id) VALUES (9) RETURNING id")
        self.assertEqual((self.folder / "a.db").read_bytes(), before)


class ImagesTest(FormatsTest):
    def test_labels_images_by_their_folder(self):
        for name in ("cat/a.png", "dog/deep/b.jpg", "c.ppm"):
            path = self.folder / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.new("RGB", (8, 6), (200, 10, 30)).save(path)
        (self.folder / "images" / "notes.txt").write_text("no image")
        rows = self.rows("images", "--from", "images")
        self.assertEqual([(row["path"], row["label"]) for row in rows],
                         [("images/c.ppm", None), ("images/cat/a.png", "cat"), ("images/dog/deep/b.jpg", "dog")])
        self.assertEqual([PIL.Image.open(io.BytesIO(base64.b64decode(row["bytes"]))).size for row in rows], [(8, 6)] * 3)
        self.fails("data", "head", "images/*.txt", "--from", "images", error="no images")
        self.assertEqual(len(self.rows("images", "--from", "binary", "--columns", "path")), 4)

    def test_decodes_as_pillow_does(self):
        random = numpy.random.default_rng(7)
        images = {}
        for number in range(6):
            height, width = random.integers(30, 80, 2)
            image = PIL.Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=numpy.uint8))
            (self.folder / "in").mkdir(exist_ok=True)
            image.save(self.folder / "in" / f"{number}.png")
            images[f"in/{number}.png"] = image
        pipeline = self.folder / "p.yaml"
        pipeline.write_text("source: {images: in/}\nsteps:\n"
                            "  - decode_image: {into: small, resize: [20, 25], filter: bicubic}\n"
                            "  - decode_image: {into: middle, resize: 24, center_crop: 21, layout: chw,"
                            " mean: [0.5, 0.4, 0.3], deviation: [0.2, 0.3, 0.4]}\n"
                            "  - drop: [bytes, label]\nsink: {parquet: out.parquet}\n")
        self.mobula("data", "run", pipeline)
        rows = pyarrow.parquet.read_table(self.folder / "out.parquet").to_pylist()
        self.assertEqual(len(rows), 6)
        for row in rows:
            image = images[row["path"]]
            small = numpy.asarray(image.resize((25, 20), PIL.Image.BICUBIC))
            self.assertTrue(numpy.array_equal(numpy.array(row["small"], numpy.uint8).reshape(20, 25, 3), small))
            shorter = min(image.size)
            size = tuple(24 * side // shorter for side in image.size)
            left, top = (round((side - 21) / 2) for side in size)
            middle = image.resize(size, PIL.Image.BILINEAR).crop((left, top, left + 21, top + 21))
            expected = (numpy.asarray(middle) / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
            self.assertTrue(numpy.allclose(numpy.array(row["middle"]).reshape(3, 21, 21), expected.transpose(2, 0, 1), atol=1e-5))
        pipeline.write_text("source: {images: in/}\nsteps:\n  - decode_image: {into: x}\n")
        self.fails("data", "run", pipeline, error="nothing says what size")
        (self.folder / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0broken")
        pipeline.write_text("source: {images: in/}\nsteps:\n  - decode_image: {resize: [8, 8]}\n")
        self.fails("data", "run", pipeline, error="in/broken.jpg")


if __name__ == "__main__":
    unittest.main()
