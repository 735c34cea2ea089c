"""Bad input of every kind: the error names file, row and operator, nothing half-written is left, nothing hangs."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import unittest

import pyarrow
import pyarrow.parquet

from mobula_program import BIN, ProgramTest

STEPS = "steps:\n  - filter: \"id >= 0\"\n  - with: {text: \"upper(text)\"}\nsink: {parquet: out/}\n"


class BadInputTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.table = pyarrow.table({"id": list(range(5000)), "text": [f"row {i}" for i in range(5000)]})

    def refused(self, pipeline, *error, code=None, hint=""):
        """Runs a pipeline that fails with all of these in its error, and leaves nothing."""
        (self.folder / "p.yaml").write_text(pipeline)
        before = sorted(self.folder.rglob("*"))
        done = self.fails("data", "run", "p.yaml", code=code, error=error[0], hint=hint, timeout=60)
        for part in error[1:]:
            self.assertIn(part, done.stderr)
        self.assertEqual(sorted(self.folder.rglob("*")), before)
        return done

    def test_truncated_parquet(self):
        pyarrow.parquet.write_table(self.table, self.folder / "good.parquet", row_group_size=1000)
        content = (self.folder / "good.parquet").read_bytes()
        (self.folder / "cut.parquet").write_bytes(content[:len(content) // 2])
        self.refused("source: {parquet: cut.parquet}\n" + STEPS, "cut.parquet: not a readable Parquet file", code=1)
        middle = pyarrow.parquet.ParquetFile(self.folder / "good.parquet").metadata.row_group(3).column(1).data_page_offset
        (self.folder / "hole.parquet").write_bytes(content[:middle + 30] + bytes(200) + content[middle + 230:])
        self.refused("source: {parquet: hole.parquet}\n" + STEPS, "hole.parquet: from row 3001 on (row group 4)", code=1)
        # The rows before the damage are no reason to leave a file.
        self.refused("source: {parquet: [good.parquet, hole.parquet]}\n" + STEPS, "hole.parquet: from row 3001 on", code=1)

    def test_ragged_csv(self):
        for row, fields in (("2,b,c", 3), ("2", 1)):
            (self.folder / "in.csv").write_text(f"id,text\n1,a\n{row}\n3,d\n")
            self.refused("source: {csv: in.csv}\n" + STEPS, f"in.csv: row 2: {fields} fields where 2 are expected", code=1)

    def test_bad_utf8(self):
        (self.folder / "in.csv").write_bytes(b"id,text\n1,a\n2,\xff\n")
        self.refused("source: {csv: in.csv}\n" + STEPS, "in.csv: row 2: field 2 is not valid UTF-8", hint="iconv")
        (self.folder / "in.jsonl").write_bytes(b'{"id":1,"text":"a"}\n{"id":2,"text":"\xff"}\n')
        self.refused("source: {jsonl: in.jsonl}\n" + STEPS, "in.jsonl: row 2: not valid JSON")
        (self.folder / "in.txt").write_bytes(b"a\nb\n\xc3(\n")
        self.refused("source: {text: in.txt}\nsink: {jsonl: out.jsonl}\n", "in.txt: row 3: not valid UTF-8")

    def test_mixed_schemas(self):
        (self.folder / "in").mkdir()
        pyarrow.parquet.write_table(self.table, self.folder / "in" / "a.parquet")
        pyarrow.parquet.write_table(self.table.rename_columns(["id", "txt"]), self.folder / "in" / "b.parquet")
        self.refused("source: {parquet: in/}\n" + STEPS, "in/b.parquet: no column 'text'", hint="txt")
        strings = self.table.set_column(0, "id", pyarrow.array([str(i) for i in range(5000)]))
        pyarrow.parquet.write_table(strings, self.folder / "in" / "b.parquet")
        self.refused("source: {parquet: in/}\n" + STEPS, "in/b.parquet: column 'id' is string, and int64 in the files before it")
        (self.folder / "in.jsonl").write_text('{"id":1}\n' * 100_000 + '{"id":"x"}\n')
        self.refused("source: {jsonl: in.jsonl, infer: 1MB}\nsink: {parquet: out/}\n",
                     "in.jsonl: row 100001: 'id' is string here", hint="types")
        for name, header in (("a", "n"), ("b", "m")):
            (self.folder / f"{name}.csv").write_text(f"{header}\n1\n")
        self.refused("source: {csv: [a.csv, b.csv]}\nsink: {jsonl: out.jsonl}\n", "b.csv: header 'm' differs from 'n'")

    def test_empty_files(self):
        for name, format in (("e.csv", "csv"), ("e.parquet", "parquet"), ("e.arrow", "ipc")):
            (self.folder / name).write_bytes(b"")
            self.refused(f"source: {{{format}: {name}}}\n" + STEPS, f"{name}: empty")

    def test_a_missing_column_names_the_operator(self):
        (self.folder / "in.csv").write_text("id,text\n1,a\n")
        for step, operator in (("filter: \"idd > 3\"", "filter(idd > 3)"), ("with: {x: \"idd * 2\"}", "with(x = idd * 2)"),
                               ("sort: idd", "sort"), ("groupby: {keys: idd, aggregates: {n: count(id)}}", "groupby"),
                               ("select: idd", "select"), ("join: {right: {csv: in.csv}, on: idd}", "join, right side")):
            self.refused(f"source: {{csv: in.csv}}\nsteps:\n  - {step}\nsink: {{csv: out.csv}}\n",
                         f"{operator}: no column 'idd'", hint="'id'")

    def test_a_function_that_fails_names_file_and_row(self):
        (self.folder / "in.csv").write_text("id,text\n" + "".join(f"{i},{'x' if i == 2345 else i}\n" for i in range(3000)))
        source = "source: {csv: in.csv, types: {text: string}}\n"
        self.refused(source + "steps:\n  - filter: \"id > 10\"\n  - with: {n: \"cast(text, 'int64')\"}\nsink: {csv: out.csv}\n",
                     "in.csv: row 2346: with(n = cast(text, 'int64'))", "'x'")
        self.refused(source + "steps:\n  - filter: \"id % (id - 2000) > -1\"\nsink: {csv: out.csv}\n",
                     "in.csv: row 2001: filter(id % (id - 2000) > -1)", "divide by zero")
        (self.folder / "images" / "cat").mkdir(parents=True)
        (self.folder / "images" / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
        self.refused("source: {images: images/}\nsteps:\n  - decode_image: {resize: [4, 4]}\nsink: {parquet: out/}\n",
                     "images/cat/broken.png", "decode_image")

    def test_a_worker_that_dies_again_and_again_ends_the_run(self):
        (self.folder / "p.yaml").write_text(
            "source: {range: 100000000}\nsteps:\n  - workers: {steps: [{with: {x: \"id * 2\"}}], batch_size: 500}\nsink: {parquet: out/}\n")
        process = subprocess.Popen([BIN / "mobula", "data", "run", "p.yaml", "--isolation", "process", "--quiet"],
                                   cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        ended = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < ended:
            for entry in pathlib.Path("/proc").iterdir():
                try:
                    if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == process.pid:
                        os.kill(int(entry.name), signal.SIGKILL)
                except (OSError, ValueError, IndexError):
                    continue
            time.sleep(0.05)
        if process.poll() is None:
            process.kill()
        out, err = process.communicate()
        self.assertEqual(process.returncode, 1, err)
        self.assertIn("map_batches(workers)", err)
        self.assertIn("SIGKILL", err)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["p.yaml"])

    def test_a_source_that_changes_under_a_run(self):
        for format in ("csv", "parquet"):
            rows = "".join(f"{i},row {i}\n" for i in range(400_000))
            (self.folder / "in.csv").write_text("id,text\n" + rows)
            (self.folder / "in.parquet").unlink(missing_ok=True)
            self.mobula("data", "convert", "in.csv", "in.parquet")
            (self.folder / "p.yaml").write_text(
                f"source: {{{format}: in.{format}, piece_size: 64KB}}\nsteps:\n  - filter: \"id >= 0\"\nsink: {{jsonl: out/, resume: true, part_rows: 20000}}\n")
            process = subprocess.Popen([BIN / "mobula", "data", "run", "p.yaml", "--quiet"], cwd=self.folder,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            while process.poll() is None and not list((self.folder / "out").glob("part-*")):
                time.sleep(0.001)
            os.truncate(self.folder / f"in.{format}", 1000)
            out, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 1, err)
            self.assertIn(f"in.{format}", err)
            self.assertFalse((self.folder / "out" / "_SUCCESS").exists())
            for part in (self.folder / "out").glob("part-*.jsonl"):
                first = int(part.stem.split("-")[1]) * 20_000
                self.assertEqual([json.loads(line)["id"] for line in part.read_text().splitlines()],
                                 list(range(first, first + 20_000)))
            # Begun again, the run says that its source is another one.
            done = self.fails("data", "run", "p.yaml", timeout=60)
            self.assertIn(f"in.{format}" if format == "parquet" else "out", done.stderr)
            subprocess.run(["rm", "-r", str(self.folder / "out")], check=True)

    def test_an_unreachable_bucket_is_given_up(self):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        (self.folder / "p.yaml").write_text("source: {csv: 's3://bucket/in.csv'}\nsink: {csv: out.csv}\n")
        begun = time.monotonic()
        self.fails("data", "run", "p.yaml", code=1, error="s3://bucket/in.csv", timeout=120,
                   env={"MOBULA_S3_ENDPOINT": address, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret",
                        "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"})
        self.assertLess(time.monotonic() - begun, 60)
        self.assertFalse((self.folder / "out.csv").exists())


if __name__ == "__main__":
    unittest.main()
