"""Every example gives the same answer with threads and with worker processes."""
import subprocess
import unittest

from mobula_program import BIN, DATA, SOURCE

EXPECTED = {
    "monte_carlo_pi": r"pi is about 3\.14\d{4} \(4000000 samples\)",
    "epidemic": r"day  60: .* recovered",
    "grid_search": r"best of 60: degree \d+, penalty [0-9.]+, error 0\.2\d+",
    "parameter_server": r"round  30: loss 0\.\d+, \d+ of 4000 right",
    "crawl": r"crawled \d+ of 2000 pages over \d+ links, checksum \d+",
}


# The examples that take data, by what they print last.
WITH_DATA = {"made_with_ml": ("madewithml/dataset.csv", r"accuracy 0\.[78]\d\d on 153 projects")}


class Examples(unittest.TestCase):
    def answer(self, name, *flags):
        done = subprocess.run([str(BIN / "examples" / name), *flags], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, f"{name} {flags}: {done.stderr}")
        return done.stdout

    def test_threads_and_processes_agree(self):
        for name, pattern in EXPECTED.items():
            with self.subTest(name):
                threads = self.answer(name, "--engine", "local")
                self.assertRegex(threads.strip().splitlines()[-1], pattern)
                self.assertEqual(self.answer(name, "--engine", "local", "--isolation", "process"), threads)

    def test_those_with_data_agree_too(self):
        for name, (path, pattern) in WITH_DATA.items():
            with self.subTest(name):
                threads = self.answer(name, str(DATA / path), "--engine", "local")
                self.assertRegex(threads.strip().splitlines()[-1], pattern)
                self.assertEqual(self.answer(name, str(DATA / path), "--isolation", "process"), threads)
                missing = subprocess.run([str(BIN / "examples" / name), "nothing.csv"], capture_output=True, text=True)
                self.assertEqual(missing.returncode, 1)
                self.assertIn("error: nothing.csv: no such file", missing.stderr)

    def test_one_worker_and_many_agree(self):
        self.assertEqual(self.answer("crawl", "--num-cpus", "1"), self.answer("crawl", "--num-cpus", "4"))

    def test_hello_succeeds(self):
        self.assertEqual(self.answer("hello"), "")
        self.assertEqual(self.answer("hello", "--isolation", "process"), "")

    def test_no_example_is_left_out(self):
        folders = {folder.name for folder in (SOURCE / "examples").iterdir() if folder.is_dir()}
        self.assertEqual(folders, {*EXPECTED, *WITH_DATA, "hello"})


if __name__ == "__main__":
    unittest.main()
