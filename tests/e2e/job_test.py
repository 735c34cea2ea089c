"""mobula job: programs sent to a Ray cluster over its Jobs API, from a machine that need not be part of it."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer

from mobula_program import BIN, BUILD, run
from ray_cluster import Cluster, require_ray

CLUSTER = None


def setUpModule():
    global CLUSTER
    require_ray(BUILD)
    CLUSTER = Cluster(cpus=2, dashboard=True)
    CLUSTER.add_node(cpus=1, resources={"away": 1})


def tearDownModule():
    CLUSTER.stop()


class Job(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self._folder = tempfile.TemporaryDirectory(prefix="mobula-job-")
        self.folder = pathlib.Path(self._folder.name)
        self.addCleanup(self._folder.cleanup)

    def environment(self, **more):
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": CLUSTER.token, "HOME": str(self.folder),
                "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{CLUSTER.dashboard_port}", **more}

    def job(self, *arguments, code=0, **more):
        done = run("job", *arguments, env=self.environment(**more), cwd=self.folder, timeout=50)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertNotIn(CLUSTER.token, done.stdout + done.stderr)
        return done

    def refused(self, *arguments, error, hint="", code=1, **more):
        done = self.job(*arguments, code=code, **more)
        lines = done.stderr.strip().splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        self.assertEqual(len(errors), 1, done.stderr)
        self.assertRegex(errors[0], error)
        if hint:
            self.assertRegex(lines[-1], "^hint: .*" + hint)

    def eventually(self, condition, seconds=20):
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)


class Submitting(Job):
    def test_a_program_in_the_working_directory_runs_its_tasks_on_the_cluster(self):
        # The folder holds all of the program, and nothing of it is anywhere else: it travels to both nodes.
        app = self.folder / "app"
        app.mkdir()
        shutil.copy(BIN / "ray_program", app)
        shutil.copy(next(BUILD.rglob("libray_program_program.so")), app)
        (app / "data.txt").write_text("sent along")
        (app / "notes.log").write_text("left at home")
        (app / ".git").mkdir()
        (app / ".git" / "config").write_text("left at home too")
        submit = ("submit", "--working-dir", app, "--exclude", "*.log", "--env", "GREETING=hello", "--metadata", "team=blue",
                  "--submission-id", "first", "--", "./ray_program", "where")
        done = self.job(*submit)
        self.assertIn("Running entrypoint for job first: ./ray_program where", done.stdout)
        self.assertIn("the program is in the job's folder: data.txt, libray_program_program.so, ray_program; its code is among them", done.stdout)
        self.assertIn("so is a task on another node, which says hello", done.stdout)
        self.assertRegex(done.stderr, r"3 files, [0-9.]+ .B\n")
        self.assertRegex(done.stderr, "job first succeeded after")
        # The cluster has the folder already; the id is taken.
        again = self.job(*submit, code=1)
        self.assertIn("there already", again.stderr)
        self.assertRegex(again.stderr, "error: .*first already exists.*\nhint: .*--submission-id")
        info = json.loads(self.job("status", "first", "--json").stdout)
        self.assertEqual((info["status"], info["driver_exit_code"]), ("SUCCEEDED", 0))
        self.assertEqual(info["metadata"]["team"], "blue")
        self.assertEqual(info["runtime_env"]["env_vars"], {"GREETING": "<redacted>", "MOBULA_ENGINE": "<redacted>"})
        self.assertRegex(self.job("status", "first").stdout, r"^first: SUCCEEDED, .* s\n  runs     ./ray_program where\n")
        self.assertRegex(self.job("list").stdout, r"(?m)^ID +STATUS +STARTED +TIME +PROGRAM$[^$]*^first +SUCCEEDED ")

    def test_an_example_of_a_shared_path_prints_its_answer_and_its_status_as_json(self):
        example = BIN / "examples" / "monte_carlo_pi"
        here = subprocess.run([example], capture_output=True, text=True, timeout=60)
        done = self.job("submit", "--json", "--", example)
        result = json.loads(done.stdout)
        self.assertEqual(result["status"], "SUCCEEDED")
        self.assertIn(here.stdout, json.loads(self.job("logs", result["submission_id"], "--json").stdout)["logs"])
        self.assertIn(here.stdout, done.stderr)

    def test_a_program_that_fails_is_the_commands_failure(self):
        (self.folder / "env.yaml").write_text("env_vars:\n  A: \"1\"\n  B: from file\n")
        done = self.job("submit", "--runtime-env", "env.yaml", "--env", "B=over it", "--entrypoint-num-cpus", "1", "--quiet", "--",
                        "sh", "-c", "echo \"$A, $B, $MOBULA_ENGINE\"; exit 3", code=1)
        # Ray may write its own line behind the program's first ones.
        self.assertIn("1, over it, ray://auto", done.stdout.splitlines())
        self.assertRegex(done.stderr, "^error: job .* failed: its program ended with exit code 3\nhint: mobula job logs .*\n$")
        self.refused("submit", "--", "./nowhere", error="exit code 127", hint="--working-dir")


class Running(Job):
    def test_is_followed_left_alone_at_ctrl_c_and_stopped(self):
        gate = self.folder / "gate"
        script = f"echo begun; while [ ! -e {gate} ]; do sleep 0.1; done; echo on; sleep 600"
        job = self.job("submit", "--no-wait", "--", "sh", "-c", script).stdout.strip()
        self.assertRegex(job, r"^raysubmit_\w+$")
        command = [str(BIN / "mobula"), "job", "logs", job, "--follow"]
        with subprocess.Popen(command, env={**os.environ, **self.environment()}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as follow:
            lines = []
            for line in follow.stdout:
                lines.append(line)
                if line == "begun\n":
                    gate.touch()
                if line == "on\n":
                    follow.send_signal(signal.SIGINT)
            errors = follow.stderr.read()
        self.assertEqual(lines.count("begun\n"), 1)
        self.assertEqual(follow.returncode, 1)
        self.assertRegex(errors, f"error: no longer waiting; job {job} goes on at http.*\nhint: .*mobula job stop {job}")
        self.assertEqual(json.loads(self.job("status", job, "--json").stdout)["status"], "RUNNING")
        self.assertEqual(self.job("stop", job).stdout, f"{job}: STOPPED\n")
        self.assertEqual(self.job("stop", job).stdout, f"{job} is over already: STOPPED\n")
        self.assertEqual(json.loads(self.job("stop", job, "--json").stdout),
                         {"submission_id": job, "stopped": False, "status": "STOPPED"})
        self.refused("logs", job, "--follow", error=f"job {job} was stopped")


class Mistakes(Job):
    def test_an_unknown_job(self):
        for command in ("status", "logs", "stop"):
            self.refused(command, "raysubmit_none", error="http://.* knows no job 'raysubmit_none'", hint="mobula job list")
        self.refused("logs", "--follow", "raysubmit_none", error="knows no job")
        self.refused("status", "../version", error="is no id of a job", code=2)

    def test_a_wrong_token(self):
        self.refused("list", error="wants another token", hint="RAY_AUTH_TOKEN", RAY_AUTH_TOKEN="wrong" * 8)
        self.refused("list", error="wants a token", hint="RAY_AUTH_TOKEN", RAY_AUTH_TOKEN="")
        (self.folder / ".ray").mkdir()
        (self.folder / ".ray" / "auth_token").write_text(CLUSTER.token + "\n")
        self.job("list", RAY_AUTH_TOKEN="")

    def test_a_wrong_address(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        self.refused("list", "--address", f"127.0.0.1:{port}", error=f"127.0.0.1:{port}", hint="dashboard")
        self.refused("list", "--address", "ray://head:10001", error="is no address of a Ray dashboard", hint="http://HOST:8265", code=2)
        self.refused("list", error="RAY_ADDRESS: 'head:6379'", hint="--address", code=2, RAY_API_SERVER_ADDRESS="",
                     RAY_ADDRESS="head:6379")

        class Other(BaseHTTPRequestHandler):
            def do_GET(self):
                body = b"<html>another service</html>"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        with HTTPServer(("127.0.0.1", 0), Other) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.refused("submit", "--address", "http://127.0.0.1:%d" % server.server_port, "--", "true", error="is no Ray dashboard")
            server.shutdown()

    def test_wrong_options(self):
        self.refused("submit", "--working-dir", "nowhere", "--", "true", error="--working-dir nowhere: no such folder")
        self.refused("submit", "--env", "A", "--", "true", error="--env 'A': expected KEY=VALUE", code=2)
        self.refused("submit", "--runtime-env", '{"env_vars": ', "--", "true", error="--runtime-env: not valid JSON")
        self.refused("submit", "--entrypoint-num-cpus=-1", "--", "true", error="--entrypoint-num-cpus -1", code=2)
        self.refused("submit", error="program is required", code=2)
        self.assertIn("mobula job submit --address http://head:8265 --", run("job", "submit", "--help").stdout)
        self.assertEqual(run("__complete", "--", "job").stdout.split()[:5], ["submit", "status", "logs", "stop", "list"])


if __name__ == "__main__":
    unittest.main()
