"""Every example gives the same answer on a Ray of its own as in threads, and so in worker processes (examples_test.py)."""
import concurrent.futures
import subprocess
import unittest

from examples_test import WITH_DATA
from mobula_program import BIN, BUILD, DATA, SOURCE
from ray_cluster import require_ray

EXAMPLES = sorted(folder.name for folder in (SOURCE / "examples").iterdir() if folder.is_dir())


def setUpModule():
    require_ray(BUILD)


class ExamplesOnRay(unittest.TestCase):
    def answer(self, name, *flags):
        data = [str(DATA / WITH_DATA[name][0])] if name in WITH_DATA else []
        done = subprocess.run([str(BIN / "examples" / name), *data, *flags], capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 0, f"{name} {flags}: {done.stderr}")
        return done.stdout

    def test_threads_and_ray_agree(self):
        self.assertGreaterEqual(len(EXAMPLES), 6)
        # Two at a time: a cluster spends half of its start waiting.
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            on_ray = {name: pool.submit(self.answer, name, "--engine", "ray://local") for name in EXAMPLES}
            for name in EXAMPLES:
                with self.subTest(name):
                    self.assertEqual(on_ray[name].result(), self.answer(name))


if __name__ == "__main__":
    unittest.main()
