"""The quickstart on a Ray of its own: the ranks of its training are killed, resumed and read as on this machine."""
import json
import unittest

from mobula_program import BUILD, DATA, ProgramTest
from ray_cluster import require_ray


def setUpModule():
    require_ray(BUILD)


class QuickstartOnRay(ProgramTest):
    def test_runs_on_a_cluster_of_its_own(self):
        result = self.mobula_json("quickstart", "--engine", "ray://local", "--num-cpus", "2", "--steps", "80", "--out", "run",
                                  "--data", DATA / "tinyshakespeare.txt")
        self.assertEqual((result["train"]["steps"], result["train"]["restarts"]), (80, 1))
        self.assertEqual(len(result["answers"]), 3)
        self.assertTrue(result["streamed"])
        steps = [json.loads(line) for line in (self.folder / "run" / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual([line["step"] for line in steps if "loss" in line], list(range(1, 81)))


if __name__ == "__main__":
    unittest.main()
