"""The first thing anybody sees: the quickstart trains, survives a kill, answers and streams."""
import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

from mobula_program import BIN, DATA, ProgramTest


def processes_naming(text):
    """Returns the ids of processes whose command line holds `text`."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text in (entry / "cmdline").read_bytes().decode(errors="replace"):
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


class Quickstart(ProgramTest):
    def test_trains_survives_a_kill_answers_and_streams(self):
        out = self.folder / "run"
        result = self.mobula_json("quickstart", "--steps", "160", "--out", out, "--data", DATA / "tinyshakespeare.txt")
        self.assertEqual(result["train"]["steps"], 160)
        self.assertEqual(result["train"]["restarts"], 1)
        # A uniform guess over the 65 characters and the unknown token costs ln 66 = 4.19.
        self.assertLess(result["train"]["best_val_loss"], 3.2)
        self.assertGreater(result["kill_to_next_step_s"], 0)
        self.assertEqual(len(result["answers"]), 3)
        self.assertTrue(all(answer["completion_tokens"] == 44 for answer in result["answers"]))
        self.assertTrue(result["streamed"])
        steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual([line["step"] for line in steps if "loss" in line], list(range(1, 161)))
        events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
        self.assertTrue(any("signal" in json.dumps(event) or "9" in json.dumps(event) for event in events), events)
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            self.assertTrue((out / "best" / name).exists(), name)
        self.assertEqual(processes_naming(str(out)), [])

    def test_refuses_a_folder_that_is_taken_and_a_text_that_is_missing(self):
        taken = self.folder / "taken"
        taken.mkdir()
        (taken / "file").write_text("mine")
        self.fails("quickstart", "--out", taken, "--data", DATA / "tinyshakespeare.txt", code=1, error="is not empty",
                   hint="--out")
        self.fails("quickstart", "--data", self.folder / "nothing.txt", error="nothing.txt")
        self.assertEqual([entry.name for entry in self.folder.iterdir()], ["taken"])

    def test_ctrl_c_stops_everything_and_says_how_to_go_on(self):
        out = self.folder / "run"
        child = subprocess.Popen([str(BIN / "mobula"), "quickstart", "--steps", "100000", "--out", str(out), "--data",
                                  str(DATA / "tinyshakespeare.txt")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 start_new_session=True)
        metrics = out / "metrics.jsonl"
        deadline = time.time() + 60
        while time.time() < deadline and not (metrics.exists() and metrics.read_text().count("\n") > 3):
            time.sleep(0.1)
        os.killpg(child.pid, signal.SIGINT)
        _, errors = child.communicate(timeout=60)
        self.assertNotEqual(child.returncode, 0)
        self.assertIn("--resume", errors)
        self.assertEqual(processes_naming(str(out)), [])


if __name__ == "__main__":
    unittest.main()
