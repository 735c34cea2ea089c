"""Ray clusters for tests: a head and further nodes on this machine, with ports, folders and a token of their own."""
import contextlib
import ctypes
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PYTHON = pathlib.Path(sys.executable)
HEAD = ["--head", "--port=0", "--no-monitor"]
NODE = ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0", "--include-log-monitor=false",
        "--disable-usage-stats", "--object-store-memory=200000000"]


def require_ray(build):
    """Skips by name (MOBULA_TEST_WITHOUT=ray), or fails and says what to install."""
    if "ray" in os.environ.get("MOBULA_TEST_WITHOUT", "").split(","):
        print("skipped: ray (MOBULA_TEST_WITHOUT)", file=sys.stderr)
        raise unittest.SkipTest("ray (MOBULA_TEST_WITHOUT)")
    if not (pathlib.Path(build) / "lib" / "libmobula_ray.so").exists():
        raise AssertionError("this build has no Ray engine: ./dev setup --all, then ./dev test")


def session_of(leader):
    """Returns the processes of a session but for its leader."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != leader:
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


def end_session(process):
    """Ends the processes of a session that we started, and none else."""
    for number, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            left = session_of(process.pid) + ([process.pid] if process.poll() is None else [])
            if not left:
                return
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
            time.sleep(0.05)


def end_with_parent():
    """In a child before exec: SIGTERM when the test's process ends in whatever way; `ray start --block` ends its own then."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Cluster:
    """A running cluster; `with Cluster() as cluster:` ends it."""

    def __init__(self, cpus=2, dashboard=False, resources=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mrt-"))
        self.token = secrets.token_hex(16)
        self.environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token,
                            "RAY_prestart_worker_first_driver": "0", "RAY_enable_worker_prestart": "0"}
        self.processes = []
        self.num_nodes = 0
        self.dashboard_port = 0
        flags = [*HEAD, f"--temp-dir={self.folder / 'h'}"]
        if dashboard:
            import socket
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.dashboard_port = free.getsockname()[1]
            flags += ["--include-dashboard=true", f"--dashboard-port={self.dashboard_port}"]
        else:
            flags.append("--include-dashboard=false")
        self._start(flags, cpus, resources, "head")
        address = self.folder / "h" / "ray_current_cluster"
        self._wait(lambda: address.exists() and address.read_text().strip(), "the head does not start")
        self.address = address.read_text().strip()
        self._wait(lambda: "Ray runtime started" in self.log("head"), "the head does not start")

    def _start(self, flags, cpus, resources, name):
        command = [str(PYTHON), str(PYTHON.parent / "ray"), "start", "--block", f"--num-cpus={cpus}", *NODE, *flags]
        if resources:
            import json
            command.append("--resources=" + json.dumps(resources))
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True, preexec_fn=end_with_parent)
        self.processes.append(process)
        return process

    def _wait(self, condition, message, seconds=120):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes):
                logs = "\n".join(path.read_text() for path in self.folder.glob("*.log"))
                self.stop()
                raise AssertionError(f"{message}:\n{logs[-2000:]}")
            time.sleep(0.05)

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def add_node(self, cpus=2, resources=None, extra=()):
        """Starts another node on this machine, and returns its process (the leader of its session).

        It has an address of its own: a driver talks to any node of its own address, and must not go down with this one.
        """
        self.num_nodes += 1
        name = f"node{self.num_nodes}"
        flags = [f"--address={self.address}", f"--node-ip-address=127.0.0.{self.num_nodes + 1}", *extra]
        process = self._start(flags, cpus, resources, name)
        self._wait(lambda: "Ray runtime started" in self.log(name), "a node does not start")
        return process

    def alive(self):
        return all(process.poll() is None for process in self.processes)

    def stop(self):
        for process in reversed(self.processes):
            end_session(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
