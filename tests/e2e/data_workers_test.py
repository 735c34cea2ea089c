"""Steps of a pipeline in worker processes and on a Ray cluster: the rows are those that threads give."""
import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

from mobula_program import BIN, BUILD, ProgramTest
from ray_cluster import require_ray

PIPELINE = """source: {csv: in.csv}
steps:
  - filter: "id % 7 != 3"
  - workers:
      steps:
        - with: {text: "upper(text)", twice: "id * 2"}
        - filter: "twice % 4 == 0"
      actors: 2
      batch_size: 700
  - with: {length: "length(text)"}
sink: {jsonl: out.jsonl}
"""


class DataWorkersTest(ProgramTest):
    def setUp(self):
        super().setUp()
        (self.folder / "in.csv").write_text("id,text\n" + "".join(f"{i},row {i}\n" for i in range(20000)))
        (self.folder / "p.yaml").write_text(PIPELINE)
        self.expected = [{"id": i, "text": f"ROW {i}", "twice": 2 * i, "length": len(f"row {i}")}
                         for i in range(20000) if i % 7 != 3 and 2 * i % 4 == 0]

    def rows(self):
        return [json.loads(line) for line in (self.folder / "out.jsonl").read_text().splitlines()]

    def test_threads(self):
        self.mobula("data", "run", "p.yaml")
        self.assertEqual(self.rows(), self.expected)

    def test_processes(self):
        self.mobula("data", "run", "p.yaml", "--isolation", "process")
        self.assertEqual(self.rows(), self.expected)

    def test_a_worker_that_is_killed_is_made_anew(self):
        (self.folder / "p.yaml").write_text(PIPELINE.replace("batch_size: 700", "batch_size: 5"))
        process = subprocess.Popen([BIN / "mobula", "data", "run", "p.yaml", "--isolation", "process", "--quiet"],
                                   cwd=self.folder, stderr=subprocess.PIPE)
        killed = None
        while process.poll() is None and killed is None:
            for entry in pathlib.Path("/proc").iterdir():
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    if parent == process.pid and time.time() - entry.stat().st_ctime > 0.3:
                        killed = int(entry.name)
                except (OSError, ValueError, IndexError):
                    continue
            time.sleep(0.005)
        if killed is not None:
            os.kill(killed, signal.SIGKILL)
        self.assertEqual(process.wait(timeout=120), 0, process.stderr.read())
        process.stderr.close()
        self.assertIsNotNone(killed, "the run was over before a worker could be killed")
        self.assertEqual(self.rows(), self.expected)

    def test_ray(self):
        require_ray(BUILD)
        self.mobula("data", "run", "p.yaml", "--engine", "ray://local")
        self.assertEqual(self.rows(), self.expected)

    def test_a_whole_pipeline_on_ray_gives_what_it_gives_in_threads(self):
        """Sources, sorts, joins and sinks run in the program, beside the workers on the cluster."""
        require_ray(BUILD)
        (self.folder / "names.csv").write_text("key,name\n" + "".join(f"{i},name {i}\n" for i in range(5)))
        (self.folder / "p.yaml").write_text("""source: {csv: in.csv}
steps:
  - with: {key: "id % 7"}
  - workers: {steps: [{with: {text: "upper(text)"}}], actors: 2, batch_size: 3000}
  - join: {right: {csv: names.csv}, on: key}
  - groupby: {keys: [key, name], aggregates: {n: "count(id)", last: "max(id)", first: "first(text)"}}
  - union: {csv: extra.csv, types: {first: string}}
  - sort: [-n, key]
  - workers: {steps: [{with: {label: "concat(name, '!')"}}], batch_size: 2}
  - unique: [label, n, last, first]
  - limit: 5
sink: {parquet: "${OUT}", partition_by: n, resume: true, part_rows: 2}
memory: 64MB
manifest: manifest.json
""")
        (self.folder / "extra.csv").write_text("key,name,n,last,first\n9,nine,7,1,x\n")
        rows = {}
        for out, engine in (("threads/", "local"), ("ray/", "ray://local")):
            result = self.mobula_json("data", "run", "p.yaml", "--engine", engine, env={"OUT": out})
            self.assertEqual(result["rows"], 5)
            names = [stage["name"] for stages in result["stages"] for stage in stages["operators"]]
            self.assertTrue(any("workers" in name for name in names), names)
            rows[engine] = self.mobula("data", "head", out, "--from", "parquet", "-n", 100, "--json")
            manifest = json.loads((self.folder / "manifest.json").read_text())
            self.assertEqual([source["rows"] for source in manifest["sources"]], [5, 20000, 1])
        self.assertEqual(rows["ray://local"], rows["local"])
        self.assertEqual(len(rows["local"].splitlines()), 5)

    def test_steps_that_need_other_rows_are_refused(self):
        (self.folder / "p.yaml").write_text("source: {range: 10}\nsteps:\n  - workers: {steps: [{sort: id}]}\n")
        self.fails("data", "run", "p.yaml", code=2, error="p.yaml:3: workers: sort needs other rows")


if __name__ == "__main__":
    unittest.main()
