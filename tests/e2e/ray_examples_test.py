"""Every example gives the same answer on a Ray of its own as in threads."""
import subprocess
import unittest

from mobula_program import BIN, BUILD
from ray_cluster import require_ray

EXAMPLES = ["monte_carlo_pi", "epidemic", "grid_search", "parameter_server", "crawl", "hello"]


def setUpModule():
    require_ray(BUILD)


class ExamplesOnRay(unittest.TestCase):
    def answer(self, name, *flags):
        done = subprocess.run([str(BIN / "examples" / name), *flags], capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 0, f"{name} {flags}: {done.stderr}")
        return done.stdout

    def test_threads_and_ray_agree(self):
        for name in EXAMPLES:
            with self.subTest(name):
                self.assertEqual(self.answer(name, "--engine", "ray://local"), self.answer(name))


if __name__ == "__main__":
    unittest.main()
