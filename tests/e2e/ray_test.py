"""ray://local owns its cluster and nothing else; what is wrong with an address is said at once."""
import os
import pathlib
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from mobula_program import BIN, BUILD
from ray_cluster import Cluster, require_ray, session_of

PROGRAM = BIN / "ray_program"


def setUpModule():
    require_ray(BUILD)


def run(*arguments, environment=None, timeout=120):
    return subprocess.run([str(PROGRAM), *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **(environment or {})})


def processes_of(folder):
    """Returns the processes whose command line names a folder."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


class OlderHead(threading.Thread):
    """Answers as a Ray head of another version would: gRPC's frames over HTTP/2, by hand (RFC 9113, RFC 7541)."""

    def __init__(self, version):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        message = b"\x0a\x00\x12" + bytes([len(version)]) + version.encode() + b"\x18\x01"
        self.reply = b"\x00" + struct.pack(">I", len(message)) + message
        self.start()

    @staticmethod
    def frame(kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    def run(self):
        def literal(name, value):
            return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
        connection, _ = self.listener.accept()
        with connection:
            stream = connection.makefile("rb")
            stream.read(24)  # the client's preface
            connection.sendall(self.frame(4, 0, 0, b""))
            while True:
                head = stream.read(9)
                if len(head) < 9:
                    return
                length = int.from_bytes(head[:3], "big")
                kind, flags, number = head[3], head[4], int.from_bytes(head[5:9], "big")
                stream.read(length)
                if kind == 4 and not flags & 1:
                    connection.sendall(self.frame(4, 1, 0, b""))
                if kind in (0, 1) and flags & 1:  # the request is complete
                    connection.sendall(self.frame(1, 4, number, b"\x88" + literal(b"content-type", b"application/grpc")))
                    connection.sendall(self.frame(0, 0, number, self.reply))
                    connection.sendall(self.frame(1, 5, number, literal(b"grpc-status", b"0")))


class Addresses(unittest.TestCase):
    def refused(self, address, error, hint, environment=None):
        start = time.monotonic()
        done = run("--engine", f"ray://{address}", "square", environment=environment)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertLess(time.monotonic() - start, 30)
        lines = done.stderr.strip().splitlines()
        self.assertRegex(lines[-2], f"^error: .*{error}")
        self.assertRegex(lines[-1], f"^hint: .*{hint}")

    def test_one_where_nobody_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        self.refused(f"127.0.0.1:{port}", "no Ray cluster can be reached", "ray start --head")

    def test_one_where_something_else_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            self.refused("127.0.0.1:%d" % silent.getsockname()[1], "no Ray cluster can be reached", "head's host and port")

    def test_a_cluster_of_another_version(self):
        self.refused(OlderHead("2.9.3").address, "another version: the cluster runs Ray 2.9.3", "same version")

    def test_an_unknown_scheme(self):
        done = run("--engine", "spark://local", "square")
        self.assertIn("engine 'spark://local' is unknown", done.stderr)


class OwnClusters(unittest.TestCase):
    def test_leave_another_ray_of_the_machine_alone(self):
        with Cluster() as other:
            environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": other.token}
            with tempfile.TemporaryDirectory(prefix="mrt-") as folder:
                # Its own cluster goes with a program that ends ...
                done = run("--engine", "ray://local", "square", environment={"TMPDIR": folder})
                self.assertEqual((done.returncode, done.stdout), (0, "49\n"), done.stderr)
                self.assertEqual(processes_of(folder), [])
                self.assertEqual(list(pathlib.Path(folder).glob("mobula-ray-*")), [])
                # ... and with one that is killed.
                program = subprocess.Popen([str(PROGRAM), "--engine", "ray://local", "sleep"], stdout=subprocess.PIPE,
                                           stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": folder})
                self.assertEqual(program.stdout.readline(), b"running\n")
                self.assertGreater(len(processes_of(folder)), 3)
                program.send_signal(signal.SIGKILL)
                program.communicate()
                deadline = time.monotonic() + 30
                while processes_of(folder) and time.monotonic() < deadline:
                    time.sleep(0.1)
                self.assertEqual(processes_of(folder), [])
            self.assertTrue(other.alive())
            done = run("--engine", f"ray://{other.address}", "square", environment=environment)
            self.assertEqual((done.returncode, done.stdout), (0, "49\n"), done.stderr)
            # A cluster that we only visit is there after us, and wants its token.
            self.assertTrue(other.alive())
            self.assertGreater(len(session_of(other.processes[0].pid)), 2)
            start = time.monotonic()
            for wrong in ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "wrong" * 8}, {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": ""}):
                done = run("--engine", f"ray://{other.address}", "square", environment=wrong)
                self.assertEqual(done.returncode, 1)
                self.assertIn("wants another token", done.stderr)
                self.assertIn("hint: set RAY_AUTH_MODE=token", done.stderr)
            self.assertLess(time.monotonic() - start, 20)


if __name__ == "__main__":
    unittest.main()
