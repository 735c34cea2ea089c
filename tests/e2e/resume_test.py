"""Batch pipelines that are killed and go on: no row twice, none left out, whatever the moment."""
import json
import os
import random
import subprocess
import time
import unittest

import pyarrow
import pyarrow.parquet

import mobula_program


class ResumeTest(mobula_program.ProgramTest):
    def setUp(self):
        super().setUp()
        ids = list(range(120_000))
        self.texts = [f"Row {i} of Many Rows" for i in ids]
        for part in range(3):
            rows = slice(part * 40_000, (part + 1) * 40_000)
            pyarrow.parquet.write_table(pyarrow.table({"id": ids[rows], "text": self.texts[rows]}),
                                        self.folder / f"in{part}.parquet", row_group_size=15_000)
        (self.folder / "p.yaml").write_text(
            "source: {parquet: \"in*.parquet\"}\nsteps:\n  - filter: \"id % 7 != 3\"\n  - stage: {threads: 1}\n"
            "  - with: {text: \"replace_regex(upper(text), '([A-Z]+)', '<\\\\\\\\1>')\"}\n"
            "sink: {parquet: \"${OUT}\", resume: true, part_rows: 1500}\n")

    def start(self, out):
        return subprocess.Popen([mobula_program.BIN / "mobula", "data", "run", "p.yaml", "--json"], cwd=self.folder,
                                env={**os.environ, "OUT": out}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def read(self, out):
        table = pyarrow.concat_tables(pyarrow.parquet.read_table(file) for file in sorted((self.folder / out).glob("part-*.parquet")))
        return table.to_pylist()

    def test_goes_on_after_kills_at_any_moment(self):
        whole = self.start("whole/")
        out, err = whole.communicate(timeout=120)
        self.assertEqual(whole.returncode, 0, err)
        expected = self.read("whole")
        self.assertEqual([row["id"] for row in expected], [i for i in range(120_000) if i % 7 != 3])
        random.seed(5)
        out, kills = self.run_over_kills(lambda: self.start("out/"), (self.folder / "out", "part-*.parquet"), 11, whole=80)
        self.assertGreaterEqual(kills, 3)
        last = json.loads(out.strip().splitlines()[-1])
        self.assertGreater(last["parts_before"], 0)
        self.assertEqual(self.read("out"), expected)
        self.assertEqual(sorted(file.name for file in (self.folder / "out").iterdir()),
                         sorted(file.name for file in (self.folder / "whole").iterdir()))

    def test_writes_each_bad_row_down_once_over_kills(self):
        bad = [i for i in range(60_000) if i % 1009 == 5]
        (self.folder / "in.csv").write_text("id,n\n" + "".join(
            ("a,b,c\n" if i % 2 else f"{i},x\n") if i % 1009 == 5 else f"{i},{i}\n" for i in range(60_000)))
        (self.folder / "p.yaml").write_text(
            "source: {csv: in.csv, types: {id: int64, n: string}, piece_size: 20KB}\nsteps:\n  - with: {n: \"cast(n, 'int64')\"}\n"
            "sink: {parquet: \"${OUT}\", resume: true, part_rows: 1000}\n"
            f"on_error: {{skip: {len(bad)}, dead_letter: dead.jsonl}}\n")
        random.seed(8)
        out, kills = self.run_over_kills(lambda: self.start("out/"), (self.folder / "out", "part-*.parquet"), 9)
        self.assertGreaterEqual(kills, 2)
        self.assertEqual(json.loads(out.strip().splitlines()[-1])["skipped"], len(bad))
        self.assertEqual([row["id"] for row in self.read("out")], [i for i in range(60_000) if i % 1009 != 5])
        dead = [json.loads(line) for line in (self.folder / "dead.jsonl").read_text().splitlines()]
        self.assertEqual(sorted(int(row["where"].rpartition(" ")[2]) for row in dead), [i + 1 for i in bad])
        self.assertEqual({row["operator"] for row in dead}, {"csv", "with(n = cast(n, 'int64'))"})

    def test_goes_on_behind_a_sort_into_partitions_and_tells_what_went_in(self):
        (self.folder / "p.yaml").write_text(
            "source: {parquet: \"in*.parquet\"}\nsteps:\n  - with: {key: \"id % 3\"}\n  - sort: [key, -id]\n  - stage: {threads: 1}\n"
            "  - with: {text: \"replace_regex(upper(text), '([A-Z]+)', '<\\\\\\\\1>')\"}\n"
            "sink: {parquet: \"${OUT}\", resume: true, part_rows: 4000, partition_by: key}\nmanifest: manifest.json\n")
        random.seed(6)
        out, kills = self.run_over_kills(lambda: self.start("out/"), (self.folder / "out", "*/part-*.parquet"), 11)
        self.assertGreaterEqual(kills, 2)
        ids = {}
        for file in sorted((self.folder / "out").glob("key=*/part-*.parquet")):
            ids.setdefault(file.parent.name, []).extend(pyarrow.parquet.ParquetFile(file).read()["id"].to_pylist())
        for key in range(3):
            self.assertEqual(ids[f"key={key}"], [i for i in range(119_999, -1, -1) if i % 3 == key])
        manifest = json.loads((self.folder / "manifest.json").read_text())
        self.assertEqual(manifest["rows"], 120_000)
        self.assertEqual([(file["file"], file["read"]) for file in manifest["sources"][0]["files"]],
                         [(f"in{part}.parquet", 40_000) for part in range(3)])
        again = self.mobula_json("data", "run", "p.yaml", env={"OUT": "out/"})
        self.assertEqual((again["rows"], again["rows_before"]), (0, 120_000))

    def test_keeps_two_runs_out_of_one_folder_and_notices_changes(self):
        self.mobula("data", "run", "p.yaml", env={"OUT": "out/"})
        again = self.mobula_json("data", "run", "p.yaml", env={"OUT": "out/"})
        self.assertEqual((again["rows"], again["parts_before"]), (0, 80))
        text = (self.folder / "p.yaml").read_text()
        (self.folder / "p.yaml").write_text(text.replace("!= 3", "!= 4"))
        self.fails("data", "run", "p.yaml", code=2, env={"OUT": "out/"}, error="other steps", hint="another folder")
        (self.folder / "p.yaml").write_text(text)
        time.sleep(0.01)
        os.utime(self.folder / "in1.parquet")
        self.fails("data", "run", "p.yaml", code=2, env={"OUT": "out/"}, error="changed since")


if __name__ == "__main__":
    unittest.main()
