"""Training on Ray: the ranks are children of an actor on one node, and a run there is the run on this machine, bit for bit."""
import json
import os
import signal
import socket
import subprocess
import time
import unittest

from mobula_program import BIN, BUILD, ProgramTest
from ray_cluster import Cluster, require_ray, session_of
from train_test import arguments, curve, events, text


def setUpModule():
    require_ray(BUILD)


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])


class TrainOnRay(ProgramTest):
    def wait_for_step(self, out, step, process):
        path = self.folder / out / "metrics.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if path.exists() and f'"step":{step},' in path.read_text():
                return
            self.assertIsNone(process.poll(), process.communicate()[1] if process.poll() is not None else "")
            time.sleep(0.002)
        self.fail(f"no step {step} within a minute")

    def workers(self, out):
        return json.loads((self.folder / out / "workers.json").read_text())

    def test_survives_the_death_of_a_rank_and_of_its_node_and_equals_the_run_on_this_machine(self):
        (self.folder / "text.txt").write_text(text(20000, 1))
        settings = ["scaling.workers=2", "train.steps=240", "train.dropout=0.1"]
        here = self.mobula_json(*arguments("here", *settings, data="text.txt"))
        with Cluster(cpus=1) as cluster:
            # The head has too few processors for two ranks: they go to the other node.
            node = cluster.add_node(cpus=2)
            command = [str(BIN / "mobula"), *arguments("there", *settings, data="text.txt", json=True), "--engine",
                       f"ray://{cluster.address}"]
            with subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  env=cluster.environment) as process:
                try:
                    self.wait_for_step("there", 70, process)
                    workers = self.workers("there")
                    self.assertEqual([worker["rank"] for worker in workers], [0, 1])
                    self.assertEqual({worker["host"] for worker in workers}, {socket.gethostname()})
                    host = parent_of(workers[1]["pid"])
                    self.assertEqual(host, parent_of(workers[0]["pid"]))
                    self.assertNotEqual(host, process.pid)
                    self.assertIn(host, session_of(node.pid))
                    os.kill(workers[1]["pid"], signal.SIGKILL)
                    self.wait_for_step("there", 140, process)
                    again = self.workers("there")
                    self.assertNotEqual(again[1]["pid"], workers[1]["pid"])
                    self.assertEqual(parent_of(again[0]["pid"]), host)
                    os.kill(host, signal.SIGKILL)
                    out, errors = process.communicate(timeout=90)
                finally:
                    process.kill()
            self.assertEqual(process.returncode, 0, errors)
            there = json.loads(out.strip().splitlines()[-1])
        self.assertEqual(there["restarts"], 2)
        self.assertEqual(curve(self.folder / "there"), curve(self.folder / "here"))
        self.assertEqual(there["best_val_loss"], here["best_val_loss"])
        first, second = events(self.folder / "there", "restart")
        self.assertEqual((first["rank"], first["signal"]), (1, 9))
        self.assertRegex(second["reason"], "the ranks' node is gone: .*died")
        # What the ranks log comes to the driver, and no rank is left behind.
        self.assertIn("tokens, vocabulary of", errors)
        for worker in [*again, *self.workers("there")]:
            self.assertFalse(os.path.exists(f"/proc/{worker['pid']}"))


if __name__ == "__main__":
    unittest.main()
