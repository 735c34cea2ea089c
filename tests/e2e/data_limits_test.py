"""`mobula data run` at its limits: a full disk, the disk quota; and what it shows on a terminal."""
import os
import subprocess
import unittest

from mobula_program import BIN, ProgramTest


class DataLimitsTest(ProgramTest):
    def on_small_disk(self, pipeline, megabytes):
        """Runs a pipeline whose folder `small` is a disk of so many megabytes; returns the process and what is left there."""
        if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode != 0:
            self.skipTest("this machine lets nobody mount in a namespace of his own")
        (self.folder / "p.yaml").write_text(pipeline)
        (self.folder / "small").mkdir(exist_ok=True)
        done = subprocess.run(["unshare", "-Urm", "sh", "-c",
                               f"mount -t tmpfs -o size={megabytes}m tmpfs small && {BIN}/mobula data run p.yaml; "
                               "code=$?; find small -type f; exit $code"],
                              cwd=self.folder, capture_output=True, text=True, timeout=120)
        return done, done.stdout.split()

    def test_a_full_disk_under_the_output_leaves_nothing(self):
        for sink in ("parquet: small/out/, compression: none", "csv: small/out.csv"):
            done, left = self.on_small_disk(f"source: {{range: 2000000}}\nsink: {{{sink}}}\n", 4)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("No space left on device", done.stderr)
            self.assertRegex(done.stderr, "small/[.]?out")
            self.assertEqual(left, [])

    def test_a_full_disk_under_spilled_rows_names_the_operator(self):
        for step in ("sort: -id", "random_shuffle: {seed: 1}", "groupby: {keys: id, aggregates: {n: count(id)}}",
                     "join: {right: {range: 2000000}, on: id}"):
            done, left = self.on_small_disk(
                f"source: {{range: 2000000}}\nsteps:\n  - {step}\nmemory: 4MB\nspill_dir: small\n", 4)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("No space left on device", done.stderr)
            self.assertIn(step.split(":")[0], done.stderr)
            self.assertEqual(left, [])

    def test_the_disk_quota_names_operator_bytes_and_setting(self):
        for step in ("sort: -id", "random_shuffle: {seed: 1}", "join: {right: {range: 2000000}, on: id}"):
            (self.folder / "p.yaml").write_text(
                f"source: {{range: 2000000}}\nsteps:\n  - {step}\nmemory: 4MB\ndisk: 3MB\n")
            done = self.fails("data", "run", "p.yaml", code=1, error=step.split(":")[0], hint="raise `disk`")
            self.assertIn("3.00 MB", done.stderr.replace("3 MB", "3.00 MB").replace("3MB", "3.00 MB"))
            self.assertIn("bytes so far", done.stderr)

    def test_progress_on_a_terminal_shows_each_operator(self):
        import pty
        (self.folder / "p.yaml").write_text("source: {range: 30000000}\nsteps:\n  - with: {x: \"id * 2\"}\n  - sort: -x\n")
        main, terminal = pty.openpty()
        process = subprocess.Popen([BIN / "mobula", "data", "run", "p.yaml", "--memory", "64MB"], cwd=self.folder,
                                   stdout=subprocess.DEVNULL, stderr=terminal)
        os.close(terminal)
        shown = b""
        try:
            while part := os.read(main, 65536):
                shown += part
        except OSError:
            pass  # the terminal's other end is gone
        os.close(main)
        self.assertEqual(process.wait(), 0)
        self.assertIn(b"stage 1: ", shown)
        self.assertIn(b", running", shown)
        self.assertIn(b"with(x = id * 2)", shown)
        self.assertIn(b"\x1b[J", shown)


if __name__ == "__main__":
    unittest.main()
