"""gs:// and abfs:// against emulators on this machine: gcp-storage-emulator (PyPI) and Azurite (npm)."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import unittest

import pyarrow.fs

import mobula_program

# The account and key that Azurite's documentation gives to everybody.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ObjectStore:
    """What holds for every store. Subclasses start a server and say where files lie and who one is."""

    def start(self, *command):
        self.port = free_port()
        log = open(self.folder / "server.log", "w")
        process = subprocess.Popen([str(word).replace("PORT", str(self.port)) for word in command], stdout=log, stderr=log)
        log.close()

        def stop():
            process.terminate()
            process.wait(timeout=30)
        self.addCleanup(stop)
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            self.assertIsNone(process.poll(), (self.folder / "server.log").read_text())
            time.sleep(0.1)
        self.fail("the server does not listen")

    def mobula(self, *arguments, **options):
        return super().mobula(*arguments, env=self.environment, **options)

    def fails(self, *arguments, **options):
        return super().fails(*arguments, env=self.environment, **options)

    def run_pipeline(self, text):
        (self.folder / "p.yaml").write_text(text)
        return self.mobula_json("data", "run", "p.yaml")

    def test_files_go_there_and_come_back(self):
        rows = [{"id": i, "text": f"line {i} é"} for i in range(2000)]
        (self.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for name in ("a.csv", "a.parquet", "a.jsonl", "a.arrow"):
            self.mobula("data", "convert", "in.jsonl", f"{self.place}/dir/{name}")
            out = self.mobula("data", "head", f"{self.place}/dir/{name}", "-n", 3000, "--json")
            self.assertEqual([json.loads(line) for line in out.splitlines()], rows)
        out = self.mobula("data", "head", f"{self.place}/dir/*.parquet", "-n", 3000, "--json")
        self.assertEqual(len(out.splitlines()), 2000)
        self.fails("data", "head", f"{self.place}/dir/none.csv", code=1, error=f"{self.place}/dir/none.csv: no such file")

    def test_folders_are_marked_whole_and_runs_go_on(self):
        self.run_pipeline(f"source: {{range: 1000}}\nsink: {{parquet: '{self.place}/out/', part_size: 2KB}}\n")
        out = self.mobula("data", "stats", f"{self.place}/out/", "--from", "parquet", "--json")
        self.assertEqual(json.loads(out)["rows"], 1000)
        self.fails("data", "run", "p.yaml", error="holds something", hint="overwrite")
        pipeline = f"source: {{range: 1000}}\nsteps:\n  - sort: -id\nsink: {{jsonl: '{self.place}/parts/', resume: true, part_rows: 300}}\n"
        self.assertEqual(self.run_pipeline(pipeline)["rows"], 1000)
        again = self.run_pipeline(pipeline)
        self.assertEqual((again["rows"], again["rows_before"]), (0, 1000))
        out = self.mobula("data", "head", f"{self.place}/parts/", "-n", 2000, "--from", "jsonl", "--json")
        self.assertEqual([json.loads(line)["id"] for line in out.splitlines()], list(range(999, -1, -1)))

    def test_a_failure_leaves_nothing(self):
        (self.folder / "in.csv").write_text("id\n" + "".join(f"{i}\n" for i in range(300_000)) + "x\n")
        self.fails("data", "convert", "in.csv", f"{self.place}/bad/out.parquet", error="row 300001")
        self.fails("data", "head", f"{self.place}/bad/out.parquet", error="no such file")


class GoogleStorageTest(ObjectStore, mobula_program.ProgramTest):
    def setUp(self):
        super().setUp()
        emulator = pathlib.Path(sys.executable).parent / "gcp-storage-emulator"
        if not emulator.exists():
            raise AssertionError("gcp-storage-emulator is missing: ./dev setup --all")
        self.start(emulator, "start", "--host", "127.0.0.1", "--port", "PORT", "--in-memory", "--default-bucket", "bucket")
        self.environment = {"MOBULA_GS_ENDPOINT": f"http://127.0.0.1:{self.port}"}
        self.place = "gs://anonymous@bucket"


class AzureStorageTest(ObjectStore, mobula_program.ProgramTest):
    def setUp(self):
        super().setUp()
        if "azurite" in os.environ.get("MOBULA_TEST_WITHOUT", "").split(","):
            print("skipped: azurite (MOBULA_TEST_WITHOUT)", file=sys.stderr)
            self.skipTest("azurite (MOBULA_TEST_WITHOUT)")
        deps = os.environ.get("MOBULA_DEPS")
        folder = pathlib.Path(deps) if deps else pathlib.Path(sys.executable).parents[2]
        azurite = folder / "npm" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
        if not azurite.exists() or shutil.which("node") is None:
            raise AssertionError("Azurite is missing: ./dev setup --all (or MOBULA_TEST_WITHOUT=azurite)")
        self.start("node", azurite, "--blobHost", "127.0.0.1", "--blobPort", "PORT", "--location", self.folder / "azurite",
                   "--skipApiVersionCheck", "--disableTelemetry")
        self.environment = {"MOBULA_AZURE_ENDPOINT": f"http://127.0.0.1:{self.port}", "AZURE_STORAGE_KEY": KEY}
        server = {f"{kind}_storage_{what}": value for kind in ("blob", "dfs")
                  for what, value in (("authority", f"127.0.0.1:{self.port}"), ("scheme", "http"))}
        pyarrow.fs.AzureFileSystem(ACCOUNT, account_key=KEY, **server).create_dir("box")
        self.place = f"abfs://box@{ACCOUNT}.dfs.core.windows.net"

    def test_a_wrong_key_is_refused_at_once(self):
        self.environment["AZURE_STORAGE_KEY"] = "AAAA"
        self.fails("data", "head", f"{self.place}/a.csv", code=1, error="AuthorizationFailure")


if __name__ == "__main__":
    unittest.main()
