"""Kills a busy program at 200 random points: no process, shared memory, socket or file of ours may stay behind."""
# ctest-labels: slow
import os
import subprocess
import unittest


class DriverKill(unittest.TestCase):
    def test_leaves_nothing_behind_at_200_points(self):
        program = os.path.join(os.environ["MOBULA_BIN"], "test_core")
        run = subprocess.run(
            [program, "--gtest_filter=DriverKill.*"],
            env={**os.environ, "MOBULA_TEST_KILLS": "200"}, capture_output=True, text=True, timeout=580)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertIn("200 kills", run.stdout)


if __name__ == "__main__":
    unittest.main()
