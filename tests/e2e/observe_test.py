"""A running program looked into from outside: top, the timeline, metrics for Prometheus, worker's lines of standard error."""
import json
import os
import socket
import subprocess
import time
import unittest
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from mobula_program import BIN, ProgramTest, run

SAMPLES = "400000000"  # some ten seconds of work


def check_trace_events(text):
    """Holds a file to the rules of Chrome's trace-event format; returns its complete events."""
    trace = json.loads(text)
    assert isinstance(trace["traceEvents"], list)
    assert trace.get("displayTimeUnit") in ("ms", "ns")
    threads, complete = set(), []
    for event in trace["traceEvents"]:
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int) and isinstance(event["name"], str), event
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name") and isinstance(event["args"]["name"], str), event
            if event["name"] == "thread_name":
                threads.add((event["pid"], event["tid"]))
        else:
            assert event["ph"] == "X", event
            assert event["ts"] >= 0 and event["dur"] >= 0 and isinstance(event["cat"], str), event
            complete.append(event)
    assert all((event["pid"], event["tid"]) in threads for event in complete)
    return complete


class Observe(ProgramTest):
    def start(self, *flags, program="monte_carlo_pi", samples=SAMPLES, env=None):
        process = subprocess.Popen([str(BIN / "examples" / program), samples, *flags], cwd=self.folder, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **(env or {})})
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        return process

    def state(self, process):
        """Asks until the program has made its runtime."""
        for _ in range(200):
            done = run("top", process.pid, "--once", "--json", cwd=self.folder)
            if done.returncode == 0:
                return json.loads(done.stdout)
            time.sleep(0.05)
        self.fail(done.stderr)

    def test_top_shows_what_runs(self):
        for isolation in ("thread", "process"):
            with self.subTest(isolation):
                process = self.start("--isolation", isolation, "--num-cpus", "2")
                state = self.state(process)
                for _ in range(100):
                    if state["running"]:
                        break
                    state = self.state(process)
                self.assertEqual(state["pid"], process.pid)
                self.assertIn("count_inside", state["running"][0]["name"])
                self.assertEqual(state["nodes"][0]["total"]["cpu"], 2)
                self.assertEqual(len(state["workers"]), 2 if isolation == "process" else 0)
                text = self.mobula("top", process.pid, "--once")
                self.assertIn("count_inside", text)
                process.kill()
                process.wait()
                # Nothing is left of it to be found.
                self.fails("top", process.pid, "--once", code=1, error=str(process.pid))

    def test_metrics_are_what_prometheus_reads(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = self.start("--metrics-port", str(port), "--isolation", "process", samples="40000000")
        address = f"http://127.0.0.1:{port}/metrics"
        values = {}
        for _ in range(200):
            try:
                with urllib.request.urlopen(address, timeout=5) as answer:
                    self.assertIn("version=0.0.4", answer.headers["Content-Type"])
                    values = {(sample.name, sample.labels.get("outcome", sample.labels.get("resource", ""))): sample.value
                              for family in text_string_to_metric_families(answer.read().decode())
                              for sample in family.samples}
            except urllib.error.URLError:
                pass
            if values.get(("mobula_tasks_ended_total", "succeeded"), 0) > 0 or process.poll() is not None:
                break
            time.sleep(0.02)
        self.assertGreater(values[("mobula_tasks_ended_total", "succeeded")], 0)
        self.assertEqual(values[("mobula_tasks_ended_total", "failed")], 0)
        self.assertGreater(values[("mobula_workers", "")], 0)
        self.assertGreater(values[("mobula_resource_total", "cpu")], 0)
        with self.assertRaises(urllib.error.HTTPError) as other:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/other", timeout=5)
        self.assertEqual(other.exception.code, 404)
        other.exception.close()

    def test_a_timeline_holds_every_task(self):
        for isolation in ("thread", "process"):
            with self.subTest(isolation):
                file = self.folder / f"{isolation}.json"
                process = self.start("--timeline", str(file), "--isolation", isolation, samples="640000")
                self.assertEqual(process.wait(timeout=60), 0)
                events = check_trace_events(file.read_text())
                self.assertEqual(sum("count_inside" in event["name"] for event in events), 64)
                inside = {event["pid"] == process.pid for event in events}
                self.assertEqual(inside, {isolation == "thread"})

    def test_a_timeline_is_taken_of_a_running_program(self):
        process = self.start()
        self.state(process)
        events = []
        # On a loaded machine no task may end within the first second.
        while not events and process.poll() is None:
            self.mobula("timeline", process.pid, "--for", "1s", "--out", "taken.json")
            events = check_trace_events((self.folder / "taken.json").read_text())
        self.assertTrue(events)

    def test_refuses_wrong_flags(self):
        for flags in (("--metrics-port", "none"), ("--metrics-port", "70000"), ("--log-format", "xml")):
            process = self.start(*flags, samples="64")
            self.assertNotEqual(process.wait(timeout=20), 0)


if __name__ == "__main__":
    unittest.main()
