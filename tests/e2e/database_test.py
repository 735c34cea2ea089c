"""Databases by ADBC drivers: a PostgreSQL server of our own, SQLite, and databases that can't be reached."""
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import adbc_driver_postgresql
import pyarrow.parquet

import mobula_program

TABLE = """
CREATE TABLE posts (id bigint, score double precision, title text, tags text[], price numeric(8, 2), raw bytea,
                    day date, at timestamptz, good boolean);
INSERT INTO posts SELECT i, i / 4.0, 'title ' || i, ARRAY['a', 'b' || i], i * 1.25, decode('00ff', 'hex'),
  DATE '2024-01-01' + i, TIMESTAMPTZ '2024-01-01 12:00:00+02' + make_interval(secs => i), i % 2 = 0
  FROM generate_series(0, 99) AS i;
INSERT INTO posts (id) VALUES (100);
CREATE TABLE large AS SELECT i AS id, md5(i::text) AS hash FROM generate_series(0, 299999) AS i;
CREATE SCHEMA other; CREATE TABLE other.words (word text); INSERT INTO other.words VALUES ('x');
CREATE USER reader PASSWORD 'secret word';
GRANT SELECT ON posts TO reader;
"""


class Postgres:
    """A server of this machine's PostgreSQL in a folder and on a port of its own, run by a user who is not root."""

    def __init__(self):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if "postgres" in os.environ.get("MOBULA_TEST_WITHOUT", "").split(","):
            print("skipped: postgres (MOBULA_TEST_WITHOUT)", file=sys.stderr)
            raise unittest.SkipTest("postgres (MOBULA_TEST_WITHOUT)")
        if not found:
            raise AssertionError("PostgreSQL is missing: apt-get install postgresql")
        self.bin = found[-1].parent
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mobula-postgres-"))
        self.as_user = {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}
        if self.as_user:
            shutil.chown(self.folder, "nobody", "nogroup")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.run("initdb", "-D", self.folder / "data", "-U", "owner", "--auth=trust", "--no-sync", "--encoding=UTF8")
        (self.folder / "data" / "pg_hba.conf").write_text(
            "local all all trust\nhost all reader 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n")
        self.server = subprocess.Popen(
            [self.bin / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder, "-F",
             "-c", "listen_addresses=127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder, **self.as_user)
        deadline = time.monotonic() + 30
        while subprocess.run([self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode != 0:
            if time.monotonic() > deadline or self.server.poll() is not None:
                self.stop()
                raise AssertionError("PostgreSQL does not start")
            time.sleep(0.05)
        self.run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", self.port, "-U", "owner", "postgres", "-c", TABLE)

    def run(self, program, *arguments):
        subprocess.run([self.bin / program, *map(str, arguments)], check=True, capture_output=True, cwd=self.folder, **self.as_user)

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            self.server.terminate()
        self.server.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


class PostgresTest(mobula_program.ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.postgres = Postgres()
        cls.addClassCleanup(cls.postgres.stop)

    def setUp(self):
        super().setUp()
        self.address = f"postgresql://owner@127.0.0.1:{self.postgres.port}/postgres"

    def rows(self, *arguments):
        return [json.loads(line) for line in self.mobula("data", "head", *arguments, "-n", 1000, "--json").splitlines()]

    def test_reads_a_table_with_its_types(self):
        rows = self.rows(self.address, "--query", "posts")
        self.assertEqual(len(rows), 101)
        self.assertEqual(rows[3], {"id": 3, "score": 0.75, "title": "title 3", "tags": ["a", "b3"], "price": "3.75",
                                   "raw": "AP8=", "day": "2024-01-04", "at": "2024-01-01T10:00:03Z", "good": False})
        self.assertEqual(set(rows[100].values()), {100, None})

    def test_reads_queries_and_picks_columns(self):
        rows = self.rows(self.address, "--query", "SELECT id, title FROM posts WHERE id % 50 = 0 ORDER BY id DESC", "--columns", "title")
        self.assertEqual(rows, [{"title": None}, {"title": "title 50"}, {"title": "title 0"}])
        self.assertEqual(self.rows(self.address.replace("postgresql", "postgres"), "--query", "other.words"), [{"word": "x"}])

    def test_feeds_pipelines_with_more_than_a_batch(self):
        (self.folder / "p.yaml").write_text(f"source: {{database: '{self.address}', query: large}}\nsteps:\n  - filter: \"id % 3 = 0\"\n"
                                            .replace("% 3 = 0", "% 3 == 0") + "sink: {parquet: out.parquet}\nmemory: 256MB\n")
        self.mobula("data", "run", "p.yaml")
        ids = pyarrow.parquet.read_table(self.folder / "out.parquet")["id"].to_pylist()
        self.assertEqual(sorted(ids), list(range(0, 300000, 3)))

    def test_changes_nothing_whatever_the_query_says(self):
        self.fails("data", "head", self.address, "--query", "DELETE FROM posts RETURNING id", error="read-only transaction")
        self.assertEqual(len(self.rows(self.address, "--query", "posts")), 101)

    def test_names_what_is_wrong_without_the_password(self):
        place = f"postgresql://owner@127.0.0.1:{self.postgres.port}/postgres"
        self.fails("data", "head", self.address, "--query", "SELECT * FROM nothing", error=f'relation "nothing" does not exist')
        self.fails("data", "head", self.address, "--query", "SELECT 1 / (id - 50) AS x FROM posts", error="division by zero")
        self.fails("data", "head", self.address, code=2, error=f"{place}: no query", hint="--query")
        reader = f"postgresql://reader:WORD@127.0.0.1:{self.postgres.port}/postgres"
        self.assertEqual(len(self.rows(reader.replace("WORD", "secret%20word"), "--query", "SELECT id FROM posts")), 101)
        for query, address in (("posts", reader.replace("WORD", "wr0ng")), ("other.words", reader.replace("WORD", "secret%20word"))):
            done = self.fails("data", "head", address, "--query", query, error="postgresql://reader:***@127.0.0.1")
            self.assertNotIn("wr0ng", done.stderr)
            self.assertNotIn("secret", done.stderr)

    def test_gives_up_where_nobody_listens(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            address = f"postgresql://owner@127.0.0.1:{taken.getsockname()[1]}/postgres"
            self.fails("data", "head", address, "--query", "posts", code=1, error="Connection refused")


class DriverTest(mobula_program.ProgramTest):
    def test_reads_other_databases_by_their_driver(self):
        import sqlite3
        with contextlib.closing(sqlite3.connect(self.folder / "app.db")) as database, database:
            database.execute("CREATE TABLE t (id INTEGER, text TEXT)")
            database.executemany("INSERT INTO t VALUES (?, ?)", [(1, "a"), (2, None)])
        out = self.mobula("data", "head", "app.db", "--from", "database", "--driver", "sqlite", "--query", "t", "--json")
        self.assertEqual(out, '{"id":1,"text":"a"}\n{"id":2,"text":null}\n')

    def test_resumed_runs_notice_a_table_that_has_changed(self):
        import sqlite3
        with contextlib.closing(sqlite3.connect(self.folder / "app.db")) as database, database:
            database.execute("CREATE TABLE t (id INTEGER, text TEXT)")
            database.executemany("INSERT INTO t VALUES (?, ?)", [(i * 37 % 1000, f"text {i}") for i in range(1000)])
        for steps in ("[{sort: id}]", "[{filter: 'id >= 0'}]"):
            (self.folder / "p.yaml").write_text(
                f"source: {{database: app.db, driver: sqlite, query: 'SELECT * FROM t'}}\nsteps: {steps}\n"
                "sink: {jsonl: \"${OUT}\", resume: true, part_rows: 300}\n")
            run = {"env": {"OUT": "sort/" if "sort" in steps else "filter/"}}
            self.mobula("data", "run", "p.yaml", **run)
            folder = self.folder / run["env"]["OUT"]
            whole = [part.read_text() for part in sorted(folder.glob("part-*.jsonl"))]
            self.assertEqual(sum(text.count("\n") for text in whole), 1000)
            (folder / "part-00001.jsonl").unlink()
            with contextlib.closing(sqlite3.connect(self.folder / "app.db")) as database, database:
                database.execute("UPDATE t SET text = 'other' WHERE id = 999")
            self.fails("data", "run", "p.yaml", error="rows in a database (or in memory), which have changed since",
                       hint="write to another folder", code=2, **run)
            with contextlib.closing(sqlite3.connect(self.folder / "app.db")) as database, database:
                database.execute("UPDATE t SET text = 'text 27' WHERE id = 999")
            self.mobula("data", "run", "p.yaml", **run)
            self.assertEqual([part.read_text() for part in sorted(folder.glob("part-*.jsonl"))], whole)

    def test_says_which_driver_is_missing(self):
        self.fails("data", "head", "snowflake://me:secret@account/db", "--query", "t", code=1,
                   error="no ADBC driver 'snowflake'", hint="pip install adbc-driver-snowflake")
        self.fails("data", "head", "somewhere", "--from", "database", "--query", "t", code=2, error="tells no driver")
        library = pathlib.Path(adbc_driver_postgresql.__file__).parent / "libadbc_driver_postgresql.so"
        self.fails("data", "head", "postgresql://127.0.0.1:1/x", "--driver", library, "--query", "t", code=1, error="refused")
        self.fails("data", "head", "postgresql://127.0.0.1:1/x", "--driver", "/no/such.so", "--query", "t", code=1, error="no ADBC driver")


if __name__ == "__main__":
    unittest.main()
