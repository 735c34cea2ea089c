"""`mobula hub` against a local server that imitates the Hub's protocol, and huggingface_hub reading what it brought."""
import hashlib
import http.server
import json
import os
import threading
import unittest

import huggingface_hub

from mobula_program import ProgramTest, run

COMMIT, OLD_COMMIT = "0123456789abcdef0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef"
TOKEN = "hf_secretsecretsecret"
SMALL = {"config.json": b'{"model_type": "gpt2"}\n', "empty.txt": b"", "sub/folder/tokenizer file.json": b"{}" * 300}
LARGE = bytes(range(256)) * 8000


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """What the server holds and how it misbehaves."""

    def __init__(self):
        self.files = {**SMALL, "model.safetensors": LARGE}
        self.large = {"model.safetensors"}
        self.requests, self.tokens_at_store = [], []
        self.failures = {}   # path part -> statuses to answer first, or "cut": half a body
        self.private = self.ignore_range = False
        self.tamper = b""
        self.names = None    # of the listing, where other than the files'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub, store = None, None

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=(), send=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if send is None else body[:send])
        if send is not None:
            self.close_connection = True

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.hub
        path = self.path.replace("%20", " ")
        hub.requests.append((self.command, path, self.headers.get("Range")))
        for part, failures in hub.failures.items():
            if part in path and failures and (failures[0] != "cut" or self.command == "GET"):
                failure = failures.pop(0)
                if failure == "cut":
                    return self.content(path, cut=True)
                return self.answer(failure, b"no", [("Retry-After", "0")])
        if hub.private and self.headers.get("Authorization") != f"Bearer {TOKEN}" and not path.startswith("/store/"):
            return self.answer(401, headers=[("X-Error-Code", "RepoNotFound")])
        if path.startswith("/api/models/"):
            if "/org/name/revision/" not in path:
                return self.answer(404, headers=[("X-Error-Code", "RepoNotFound")])
            revision = path.rsplit("/", 1)[1]
            commit = {"main": COMMIT, COMMIT: COMMIT, "v1%2Fold": OLD_COMMIT}.get(revision)
            if commit is None:
                return self.answer(404, headers=[("X-Error-Code", "RevisionNotFound")])
            names = hub.names or sorted(hub.files)
            return self.answer(200, json.dumps({"sha": commit, "siblings": [{"rfilename": n} for n in names]}).encode())
        self.content(path)

    def content(self, path, cut=False):
        hub = self.hub
        if path.startswith("/store/"):
            hub.tokens_at_store.append(self.headers.get("Authorization"))
            name = path.removeprefix("/store/")
        else:
            name = path.split("/", 5)[5] if path.count("/") >= 5 else ""
        if name not in hub.files:
            return self.answer(404, headers=[("X-Error-Code", "EntryNotFound")])
        content = hub.files[name]
        if name in hub.large and not path.startswith("/store/"):
            headers = [("X-Repo-Commit", COMMIT), ("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"'),
                       ("X-Linked-Size", str(len(content))), ("Location", self.store + "/store/" + name)]
            return self.answer(302, headers=headers)
        etag = [("ETag", f'W/"{git_sha1(content)}"')]
        body, status = content[:-1] + hub.tamper if hub.tamper else content, 200
        wanted = self.headers.get("Range")
        if wanted and not hub.ignore_range:
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            body, status = body[first:], 206
        self.answer(status, body, etag, send=len(body) // 2 if cut else None)


class HubTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.hub = Hub()
        handler = type("OurHandler", (Handler,), {"hub": self.hub})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        # The store has another host's name, as a hub's has: the token must not go there.
        handler.store = f"http://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.env = {"HF_ENDPOINT": f"http://127.0.0.1:{self.server.server_port}", "HF_HOME": str(self.folder / "hf"),
                    "HF_TOKEN": "", "HF_HUB_CACHE": "", "HUGGINGFACE_HUB_CACHE": "", "no_proxy": "*"}

    def pull(self, *arguments):
        return self.mobula_json("hub", "pull", *arguments, env=self.env)

    def snapshot(self, path):
        return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}

    def test_pull_brings_a_cache_that_huggingface_hub_reads(self):
        result = self.pull("org/name")
        self.assertEqual((result["commit"], result["files"]), (COMMIT, 4))
        self.assertEqual(result["bytes"], sum(map(len, self.hub.files.values())))
        theirs = huggingface_hub.snapshot_download("org/name", cache_dir=self.folder / "hf" / "hub", local_files_only=True)
        self.assertEqual(theirs, result["path"])
        self.assertEqual(self.snapshot(self.folder.__class__(theirs)), self.hub.files)
        scanned = huggingface_hub.scan_cache_dir(self.folder / "hf" / "hub")
        self.assertEqual([(r.repo_id, r.nb_files, r.size_on_disk) for r in scanned.repos], [("org/name", 4, result["bytes"])])
        self.assertFalse(scanned.warnings)
        # A second time nothing is read again; another revision shares the contents.
        self.hub.requests.clear()
        self.assertEqual(self.pull("org/name")["downloaded"], 0)
        self.assertFalse([r for r in self.hub.requests if r[0] == "GET" and "/api/" not in r[1]])
        self.assertEqual(self.pull("org/name@v1/old")["downloaded"], 0)
        listed = self.mobula_json("hub", "ls", env=self.env)
        self.assertEqual([(r["repo"], r["commit"], r["refs"], r["files"]) for r in listed],
                         [("org/name", COMMIT, ["main"], 4), ("org/name", OLD_COMMIT, ["v1/old"], 4)])
        self.assertGreater(self.mobula_json("hub", "rm", "org/name", env=self.env)["freed"], len(LARGE))
        self.assertEqual(self.mobula_json("hub", "ls", env=self.env), [])
        self.fails("hub", "rm", "org/name", env=self.env, code=1, error="org/name")

    def test_what_was_cut_off_goes_on_where_it_stopped(self):
        self.hub.failures = {"/store/": ["cut"]}
        self.pull("org/name", "--include", "*.safetensors")
        ranges = [r[2] for r in self.hub.requests if "/store/" in r[1] and r[0] == "GET"]
        self.assertEqual(ranges, [None, f"bytes={len(LARGE) // 2}-"])
        # A server that doesn't know ranges sends all of it again.
        self.mobula("hub", "rm", "org/name", env=self.env)
        self.hub.failures, self.hub.ignore_range = {"/store/": ["cut"]}, True
        result = self.pull("org/name", "--include", "*.safetensors")
        self.assertEqual(self.snapshot(self.folder.__class__(result["path"])), {"model.safetensors": LARGE})

    def test_busy_servers_are_asked_again(self):
        self.hub.failures = {"/api/": [429, 503], "config.json": [429, 500]}
        self.assertEqual(self.pull("org/name")["files"], 4)
        self.hub.failures = {"/api/": [429] * 5}
        self.fails("hub", "pull", "org/name", env=self.env, code=1, error="429")

    def test_the_token_goes_to_the_hub_alone_and_is_never_shown(self):
        self.hub.private = True
        self.fails("hub", "pull", "org/name", env=self.env, code=1, error="401", hint="HF_TOKEN")
        done = run("hub", "pull", "org/name", "--log-level", "debug", env={**self.env, "HF_TOKEN": TOKEN}, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn(TOKEN, done.stdout + done.stderr)
        self.assertEqual(set(self.hub.tokens_at_store), {None})
        wrong = run("hub", "pull", "org/name", env={**self.env, "HF_TOKEN": "hf_wrong"}, cwd=self.folder)
        self.assertNotIn("hf_wrong", wrong.stdout + wrong.stderr)

    def test_unknown_names_are_refused(self):
        self.fails("hub", "pull", "org/other", env=self.env, code=1, error="404")
        self.fails("hub", "pull", "org/name@v9", env=self.env, code=1, error="no revision 'v9'")
        for name in ("../name", "org/../name", "a/b/c", "org/", "org/na me", "org/name@", "org/name@../x"):
            self.fails("hub", "pull", name, env=self.env, code=2, error="names no repository")
        self.fails("hub", "pull", "org/name", "--include", "*.gguf", env=self.env, code=1, error="no file")
        self.assertFalse((self.folder / "hf" / "hub").exists())

    def test_hostile_answers_are_refused(self):
        for name in ("../../evil", "/etc/passwd", "a/../../b", "a\\b"):
            self.hub.names = [name]
            self.fails("hub", "pull", "org/name", env=self.env, code=1, error="leads out of its folder")
        self.hub.names = None
        self.hub.tamper = b"!"
        self.fails("hub", "pull", "org/name", env=self.env, code=1, error="checksum")
        self.assertEqual(os.path.exists(self.folder / "hf/hub/models--org--name/refs/main"), False)


if __name__ == "__main__":
    unittest.main()
