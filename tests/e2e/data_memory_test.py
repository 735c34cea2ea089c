"""Sort, shuffle, groupby and join of data 8 times the memory budget, in a process that may not have that much memory."""
# ctest-labels: slow
import json
import resource
import subprocess
import unittest

from mobula_program import BIN, ProgramTest

ROWS = 16_000_000  # of three whole numbers: 384 MB, 8 times the budget
BUDGET = "48MB"
LIMIT = 260 << 20  # libraries' data, threads' stacks and blocks under way come on top of the budget


class DataMemoryTest(ProgramTest):
    def run_within_limit(self, step):
        (self.folder / "p.yaml").write_text(
            f"source: {{range: {ROWS}}}\nsteps:\n  - with: {{k: \"id * 7919 % 1000003\", w: \"id * 3\"}}\n  - {step}\n")
        done = subprocess.run([BIN / "mobula", "data", "run", "p.yaml", "--memory", BUDGET, "--json"], cwd=self.folder,
                              capture_output=True, text=True, timeout=550,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT)))
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        return json.loads(done.stdout)["rows"]

    def test_sort(self):
        self.assertEqual(self.run_within_limit("sort: k"), ROWS)

    def test_shuffle(self):
        self.assertEqual(self.run_within_limit("random_shuffle: {seed: 1}"), ROWS)

    def test_groupby(self):
        self.assertEqual(self.run_within_limit("groupby: {keys: k, aggregates: {n: count(w)}}"), 1000003)

    def test_join(self):
        self.assertEqual(self.run_within_limit("join: {right: {range: 4000000}, on: id}"), 4000000)


if __name__ == "__main__":
    unittest.main()
