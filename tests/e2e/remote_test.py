"""Files that lie elsewhere: an S3 server (moto) and web servers on this machine, with and without faults."""
import http.server
import json
import os
import re
import socket
import sqlite3
import threading
import time
import unittest

import boto3
import deltalake
import numpy
import PIL.Image
import pyarrow
import werkzeug.serving
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

import mobula_program


class S3Server:
    """A server of S3 on a free port of loopback. The next `faults` requests for objects are answered with 503."""

    def __init__(self):
        self.application = DomainDispatcherApplication(create_backend_app)
        self.faults = 0
        self.faulty = 0
        self.puts = 0
        self.server = werkzeug.serving.make_server("127.0.0.1", 0, self.answer, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.client = boto3.client("s3", endpoint_url=self.url, aws_access_key_id="id", aws_secret_access_key="secret",
                                   region_name="us-east-1")

    def answer(self, environ, start_response):
        if self.faults > 0 and environ["PATH_INFO"].count("/") > 1:
            self.faults -= 1
            self.faulty += 1
            start_response("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        self.puts += environ["REQUEST_METHOD"] == "PUT"
        return self.application(environ, start_response)

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


werkzeug.serving.WSGIRequestHandler.log = lambda *_: None  # a line a request would hide the test's own


class S3Test(mobula_program.ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.s3 = S3Server()
        cls.addClassCleanup(cls.s3.stop)

    def setUp(self):
        super().setUp()
        self.bucket = re.sub("[^a-z]", "-", self.id().rsplit(".", 1)[1].replace("test_", ""))[:60].strip("-")
        self.s3.client.create_bucket(Bucket=self.bucket)
        self.environment = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
                            "AWS_EC2_METADATA_DISABLED": "true", "MOBULA_S3_ENDPOINT": self.s3.url}

    def mobula(self, *arguments, **options):
        return super().mobula(*arguments, env=self.environment, **options)

    def fails(self, *arguments, **options):
        return super().fails(*arguments, env=self.environment, **options)

    def upload(self, path, key=None):
        """Copies a file or a folder into the bucket."""
        path = self.folder / path
        for file in [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]:
            self.s3.client.upload_file(str(file), self.bucket, key or file.relative_to(self.folder).as_posix())

    def keys(self):
        """Returns the files in the bucket, without the empty objects that Arrow puts in the place of folders."""
        listed = self.s3.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [item["Key"] for item in listed if not item["Key"].endswith("/")]

    def put(self, key, body):
        self.s3.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def test_reads_every_format(self):
        rows = [{"id": i, "text": f"line {i} é"} for i in range(2000)]
        (self.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for name in ("in.csv", "in.parquet", "in.arrow", "in.tar"):
            self.mobula("data", "convert", "in.jsonl", name)
        self.mobula("data", "convert", "in.jsonl", "mds/", "--to", "mds", "--compression", "zstd")
        (self.folder / "in.txt").write_text("".join(row["text"] + "\n" for row in rows))
        with sqlite3.connect(self.folder / "in.db") as database:
            database.execute("CREATE TABLE t (id INTEGER, text TEXT)")
            database.executemany("INSERT INTO t VALUES (:id, :text)", rows)
        database.close()
        table = pyarrow.Table.from_pylist(rows)
        deltalake.write_deltalake(str(self.folder / "delta"), table.slice(0, 900))
        deltalake.write_deltalake(str(self.folder / "delta"), table.slice(900), mode="append")
        for label in ("cat", "dog"):
            (self.folder / "images" / label).mkdir(parents=True)
            PIL.Image.fromarray(numpy.zeros((4, 4, 3), numpy.uint8)).save(self.folder / "images" / label / "a.png")
        for name, options in [("in.csv", []), ("in.parquet", []), ("in.arrow", []), ("in.tar", []), ("in.txt", []),
                              ("in.db", []), ("in.jsonl", []), ("mds", []), ("delta", []), ("images", ["--from", "images"])]:
            with self.subTest(name):
                self.upload(name)
                local = self.mobula("data", "head", name, "-n", 3000, "--json", *options)
                remote = self.mobula("data", "head", f"s3://{self.bucket}/{name}", "-n", 3000, "--json", *options)
                self.assertEqual(remote.replace(f"s3://{self.bucket}/", ""), local)
                self.assertEqual(len(local.splitlines()), 2 if name == "images" else 2000)

    def test_reads_patterns_and_folders_with_their_keys(self):
        for year in (2023, 2024):
            for part in range(2):
                self.put(f"in/year={year}/{part}.csv", f"x\n{part}\n".encode())
        self.put("in/year=2024/_SUCCESS", b"")
        self.put("in/year=2024/notes.txt", b"no")
        for path in (f"s3://{self.bucket}/in/", f"s3://{self.bucket}/in/year=*/*.csv"):
            out = self.mobula("data", "head", path, "--json", "--from", "csv")
            self.assertEqual([json.loads(line) for line in out.splitlines()],
                             [{"x": part, "year": year} for year in (2023, 2024) for part in range(2)])
        self.fails("data", "head", f"s3://{self.bucket}/in/*.parquet", error=f"s3://{self.bucket}/in/*.parquet: no file matches")

    def test_writes_files_that_appear_when_they_are_whole(self):
        text = "".join(f"{i},{os.urandom(40).hex()}\n" for i in range(300_000))
        (self.folder / "in.csv").write_text("id,text\n" + text)
        self.mobula("data", "convert", "in.csv", f"s3://{self.bucket}/out.parquet")
        self.mobula("data", "convert", "in.csv", f"s3://{self.bucket}/deep/out.csv")
        body = self.s3.client.get_object(Bucket=self.bucket, Key="deep/out.csv")["Body"].read()
        self.assertEqual(body.decode(), "id,text\n" + text)
        self.mobula("data", "convert", f"s3://{self.bucket}/out.parquet", "back.csv")
        self.assertEqual((self.folder / "back.csv").read_text(), "id,text\n" + text)
        # A row near the end that does not fit: nothing of what was sent already is left.
        with open(self.folder / "in.csv", "a") as file:
            file.write("not a number,x\n")
        self.fails("data", "convert", "in.csv", f"s3://{self.bucket}/bad.csv", error="row 300001")
        self.assertEqual(self.keys(), ["deep/out.csv", "out.parquet"])
        self.assertNotIn("Uploads", self.s3.client.list_multipart_uploads(Bucket=self.bucket))

    def pipeline(self, sink, step="filter: \"id >= 0\""):
        (self.folder / "p.yaml").write_text(f"source: {{range: 1000}}\nsteps:\n  - {step}\nsink: {sink}\n")
        return ("data", "run", "p.yaml")

    def test_writes_folders_and_marks_them_whole(self):
        out = f"s3://{self.bucket}/out"
        self.mobula(*self.pipeline(f"{{parquet: '{out}/', part_size: 2KB}}", "repartition: 100"))
        parts = [key for key in self.keys() if key.endswith(".parquet")]
        self.assertGreater(len(parts), 3)
        self.assertIn("out/_SUCCESS", self.keys())
        self.assertEqual(len(self.mobula("data", "head", out, "--from", "parquet", "-n", 2000, "--json").splitlines()), 1000)
        self.fails(*self.pipeline(f"{{parquet: '{out}/'}}"), error="the folder holds something", hint="overwrite")
        self.mobula(*self.pipeline(f"{{csv: '{out}/', overwrite: true}}"))
        left = self.keys()
        self.assertEqual(len(left), 2, left)
        self.assertTrue(left[1].startswith("out/part-00000-") and left[1].endswith(".csv"), left)
        self.mobula(*self.pipeline(f"{{mds: 's3://{self.bucket}/mds/'}}"))
        self.assertEqual(len(self.mobula("data", "head", f"s3://{self.bucket}/mds", "-n", 2000, "--json").splitlines()), 1000)

    def test_leaves_nothing_of_a_folder_that_failed(self):
        self.s3.puts = 0
        (self.folder / "p.yaml").write_text(
            "source: {range: 100000}\nsteps:\n  - repartition: 100\n  - with: {x: \"9223372036854775807 - 90000 + id\"}\n"
            f"sink: {{csv: 's3://{self.bucket}/out/', part_size: 100KB}}\n")
        self.fails("data", "run", "p.yaml", error="overflow")
        self.assertGreater(self.s3.puts, 2)
        self.assertEqual(self.keys(), [])

    def test_repeats_requests_of_a_busy_server(self):
        self.put("in.csv", b"x\n1\n2\n")
        self.s3.faults, self.s3.faulty = 3, 0
        out = self.mobula("data", "head", f"s3://{self.bucket}/in.csv", "--json")
        self.assertEqual(out, '{"x":1}\n{"x":2}\n')
        self.assertEqual(self.s3.faulty, 3)

    def test_names_bucket_and_key_in_errors(self):
        self.fails("data", "head", f"s3://{self.bucket}/nothing.csv", code=1, error=f"s3://{self.bucket}/nothing.csv: no such file")
        self.fails("data", "head", "s3://no-such-bucket/in.csv", code=1, error="s3://no-such-bucket/in.csv: no such file")
        self.put("bad.parquet", b"PAR1 but no more than that")
        self.fails("data", "head", f"s3://{self.bucket}/bad.parquet", error=f"s3://{self.bucket}/bad.parquet: not a readable Parquet file")
        self.put("empty.parquet", b"")
        self.fails("data", "head", f"s3://{self.bucket}/empty.parquet", error="empty (0 bytes)")
        self.fails("data", "head", "ftp://host/in.csv", error="files of 'ftp://' can't be read")

    def test_gives_up_on_a_bucket_that_does_not_answer(self):
        with socket.socket() as taken:  # bound, but nobody listens
            taken.bind(("127.0.0.1", 0))
            self.environment["MOBULA_S3_ENDPOINT"] = f"http://127.0.0.1:{taken.getsockname()[1]}"
            start = time.monotonic()
            self.fails("data", "head", "s3://bucket/in.csv", code=1, error="s3://bucket/in.csv", hint="MOBULA_S3_ENDPOINT")
            self.fails("data", "convert", "s3://bucket/in.csv", "out.csv", code=1, error="s3://bucket/in.csv")
            self.assertLess(time.monotonic() - start, 60)
            self.assertEqual(list(self.folder.iterdir()), [])

    def test_does_not_load_the_library_of_s3_for_local_files(self):
        (self.folder / "in.csv").write_text("x\n1\n")
        loaded = mobula_program.run("data", "head", "in.csv", cwd=self.folder, env={"LD_DEBUG": "files"}).stderr
        self.assertIn("libarrow.so", loaded)
        self.assertNotIn("libarrow_s3", loaded)


class WebHandler(http.server.BaseHTTPRequestHandler):
    """Serves the server's `files`; with `ranges` it answers requests for parts."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server = self.server
        server.requests.append((self.command, self.path, self.headers.get("Range")))
        if server.faults > 0:
            server.faults -= 1
            return self.reply(503, b"")
        body = server.files.get(self.path)
        if body is None:
            return self.reply(404, b"nothing here")
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if part and server.ranges:
            begin, end = int(part[1]), min(int(part[2]) + 1, len(body))
            return self.reply(206, body[begin:end], [("Content-Range", f"bytes {begin}-{end - 1}/{len(body)}")])
        self.reply(200, body)

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{self.server.version}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:self.server.cut])
            if self.server.cut is not None and len(body) > self.server.cut:
                self.close_connection = True

    def log_message(self, *_):
        pass


class WebTest(mobula_program.ProgramTest):
    def setUp(self):
        super().setUp()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WebHandler)
        self.server.files, self.server.ranges, self.server.faults = {}, True, 0
        self.server.requests, self.server.version, self.server.cut = [], 1, None
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def serve(self, name):
        path = self.folder / name
        for file in [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]:
            self.server.files["/" + file.relative_to(self.folder).as_posix()] = file.read_bytes()

    def test_reads_parts_of_large_files(self):
        (self.folder / "p.yaml").write_text("source: {range: 2000000}\nsteps:\n  - with: {x: \"id * 7 % 1000003\", y: \"id * 3\"}\n"
                                            "sink: {parquet: in.parquet, compression: none, row_group_rows: 100000}\n")
        self.mobula("data", "run", "p.yaml")
        self.serve("in.parquet")
        size = len(self.server.files["/in.parquet"])
        (self.folder / "q.yaml").write_text(f"source: {{parquet: '{self.url}/in.parquet'}}\nsteps:\n  - filter: \"id >= 1900000\"\n"
                                            "  - select: id\nsink: {csv: out.csv}\n")
        self.mobula("data", "run", "q.yaml")
        self.assertEqual((self.folder / "out.csv").read_text().split()[1:], [str(i) for i in range(1900000, 2000000)])
        ranges = [re.findall(r"\d+", part) for command, path, part in self.server.requests if part]
        read = sum(int(end) - int(begin) + 1 for begin, end in ranges)
        self.assertLess(read, size / 4)  # one column of one row group, and the footer

    def test_reads_whole_files_where_there_are_no_parts(self):
        self.server.ranges = False
        rows = [{"id": i, "text": f"t{i}"} for i in range(500)]
        (self.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.mobula("data", "convert", "in.jsonl", "in.parquet")
        self.mobula("data", "convert", "in.jsonl", "mds/", "--to", "mds")
        for name in ("in.jsonl", "in.parquet", "mds"):
            self.serve(name)
            out = self.mobula("data", "head", f"{self.url}/{name}", "-n", 1000, "--json")
            self.assertEqual([json.loads(line) for line in out.splitlines()], rows)

    def test_knows_the_format_before_a_query(self):
        self.server.files["/in.csv?token=1.2"] = b"x\n1\n"
        self.assertEqual(self.mobula("data", "head", f"{self.url}/in.csv?token=1.2", "--json"), '{"x":1}\n')

    def test_repeats_requests_and_reports_refusals(self):
        self.server.files["/in.csv"] = b"x\n1\n"
        self.server.faults = 2
        self.assertEqual(self.mobula("data", "head", f"{self.url}/in.csv", "--json"), '{"x":1}\n')
        self.server.faults = 1000
        self.fails("data", "head", f"{self.url}/in.csv", code=1, error="HTTP 503 (5 attempts)")
        self.server.faults = 0
        self.fails("data", "head", f"{self.url}/none.csv", code=1, error=f"{self.url}/none.csv: no such file")
        self.fails("data", "head", f"{self.url}/in/*.csv", code=1, error="no such file")
        self.fails("data", "convert", f"{self.url}/in.csv", f"{self.url}/out.csv", error="web servers are only read")

    def test_gives_up_on_a_body_that_is_cut_off(self):
        self.server.files["/in.csv"] = b"x\n" + b"1\n" * 5000
        self.server.cut = 100
        self.fails("data", "head", f"{self.url}/in.csv", code=1, error=f"{self.url}/in.csv")


if __name__ == "__main__":
    unittest.main()
