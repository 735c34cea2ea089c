"""Runs the mobula program in tests: results, error lines, folders of their own."""
import json
import os
import pathlib
import subprocess
import tempfile
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
