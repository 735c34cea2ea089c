"""Runs the mobula program in tests: results, error lines, folders of their own."""
import json
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import time
import unittest

BIN = pathlib.Path(os.environ["MOBULA_BIN"])
SOURCE = pathlib.Path(os.environ["MOBULA_SOURCE"])
BUILD = pathlib.Path(os.environ["MOBULA_BUILD"])
DATA = pathlib.Path(os.environ.get("MOBULA_DATA", SOURCE.parent / "shared" / "data"))


def run(*arguments, timeout=300, cwd=None, env=None, input=None):
    """Runs `mobula ARGUMENTS`; returns the finished process with text output."""
    return subprocess.run([str(BIN / "mobula"), *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                          cwd=cwd, env={**os.environ, **(env or {})}, input=input)


class ProgramTest(unittest.TestCase):
    """A test with a folder of its own, in which the program runs."""

    maxDiff = 4000

    def setUp(self):
        self._folder = tempfile.TemporaryDirectory(prefix="mobula-e2e-")
        self.folder = pathlib.Path(self._folder.name)
        self.addCleanup(self._folder.cleanup)

    def mobula(self, *arguments, **options):
        """Runs the program in the test's folder and expects success; returns its standard output."""
        done = run(*arguments, cwd=self.folder, **options)
        self.assertEqual(done.returncode, 0, f"mobula {arguments} failed:\n{done.stderr}")
        return done.stdout

    def mobula_json(self, *arguments, **options):
        """The same with --json: the last line of standard output, parsed."""
        return json.loads(self.mobula(*arguments, "--json", **options).strip().splitlines()[-1])

    def run_over_kills(self, start, parts, most, whole=None):
        """Kills the program that start() starts after up to `most` more parts each time, until it ends by itself.

        `parts` is a folder and a pattern of files in it, which _SUCCESS says to be complete; `whole`: how many they are then.
        Returns the standard output of the last time and the number of kills. By progress, not by the clock: machines differ.
        """
        folder, pattern = parts
        for kills in range(200):
            process = start()
            wanted = len(list(folder.glob(pattern))) + random.randrange(0, most + 1)
            while process.poll() is None and len(list(folder.glob(pattern))) < wanted:
                time.sleep(0.001)
            time.sleep(random.uniform(0, 0.005))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            out, err = process.communicate(timeout=120)
            if process.returncode != -signal.SIGKILL:
                self.assertEqual(process.returncode, 0, err)
                return out, kills
            # It may be killed behind its last word, too; _SUCCESS is never there before all parts are.
            if whole is not None and (folder / "_SUCCESS").exists():
                self.assertEqual(len(list(folder.glob(pattern))), whole)
        self.fail("the program never got to its end")

    def fails(self, *arguments, code=None, error="", hint="", **options):
        """Expects failure with exactly one error line that holds `error`, a hint that holds `hint`, and the exit code."""
        done = run(*arguments, cwd=self.folder, **options)
        self.assertNotEqual(done.returncode, 0, f"mobula {arguments} succeeded:\n{done.stdout}")
        if code is not None:
            self.assertEqual(done.returncode, code, done.stderr)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        self.assertEqual(len(errors), 1, done.stderr)
        self.assertIn(error, errors[0])
        if hint:
            hints = [line for line in done.stderr.splitlines() if line.startswith("hint: ")]
            self.assertTrue(hints, done.stderr)
            self.assertIn(hint, hints[-1])
        return done
