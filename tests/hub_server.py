"""A loopback server that speaks as much of the Hugging Face hub's protocol as fetching and uploading takes.

It serves FOLDER/models/<owner>/<name>/* and FOLDER/datasets/<owner>/<name>/*: what a repository is, which commit a
revision stands for, which files there are, and the files. Who has the TOKEN may upload models: *.safetensors through
git LFS, all else in the commit. Every request is written down.
"""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_of_the_tests"
COMMITS = {"main": "a" * 40, "v1": "b" * 40}  # of every repository; all commits have the same files
REPO = r"(?P<repo>[^/]+/[^/]+)"
API = re.compile(
    rf"/api/(?P<kind>models|datasets)/{REPO}(/(?P<what>revision|tree|paths-info)/(?P<revision>[^/]+)(/(?P<inside>.+))?)?"
)
UPLOAD = re.compile(rf"/api/models/{REPO}/(?P<what>preupload|commit)/main|/[^/]+/[^/]+.git/info/lfs/objects/batch")
FILE = re.compile(rf"/((?P<kind>datasets)/)?{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


class HubServer(ThreadingHTTPServer):
    """Serves `folder` inside a with block; `requests` lists "METHOD /path" of each request."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folder = folder
        self.requests: list[str] = []
        self.visibility: dict[str, str | None] = {}
        self.large: dict[str, bytes] = {}  # what came through LFS, by SHA-256

    @property
    def endpoint(self) -> str:
        """The value of HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "HubServer":
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10  # a connection that was left open ends by itself
    server: HubServer

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        asked = API.fullmatch(path) or FILE.fullmatch(path)
        if asked is None:
            return self._refuse("EntryNotFound")
        folder = self.server.folder / (asked["kind"] or "models") / asked["repo"]
        if not folder.is_dir():
            return self._refuse("RepoNotFound")
        revision = asked["revision"] or "main"
        commit = COMMITS.get(revision, revision)
        if commit not in COMMITS.values():
            return self._refuse("RevisionNotFound")
        if asked.re is FILE:
            return self._file(folder / asked["path"], commit)
        if asked["what"] == "tree":
            inside = folder / (asked["inside"] or "")
            if not inside.is_dir():
                return self._refuse("EntryNotFound")
            # `datasets` lists one folder at a time, huggingface_hub everything below it.
            found = inside.rglob("*") if "recursive=True" in urlsplit(self.path).query else inside.iterdir()
            return self._json([_entry(path, folder) for path in sorted(found)])
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [{"rfilename": str(path.relative_to(folder))} for path in files]
        return self._json({"id": asked["repo"], "sha": commit, "private": False, "tags": [], "siblings": names})

    def do_POST(self) -> None:
        content, path = self._read(), unquote(urlsplit(self.path).path)
        asked = API.fullmatch(path)
        if asked and asked["what"] == "paths-info":
            folder = self.server.folder / asked["kind"] / asked["repo"]
            wanted = [folder / name for name in parse_qs(content.decode())["paths"]]
            return self._json([_entry(path, folder) for path in wanted if path.exists()])
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._send(401, b"{}", {})
        if path == "/api/repos/create":
            wanted = json.loads(content)
            repo = f"{wanted.get('organization', 'me')}/{wanted['name']}"
            (self.server.folder / "models" / repo).mkdir(parents=True, exist_ok=True)
            self.server.visibility[repo] = wanted.get("visibility")
            return self._json({"url": f"{self.server.endpoint}/{repo}"})
        if path == "/api/validate-yaml":
            return self._json({"warnings": [], "errors": []})
        asked = UPLOAD.fullmatch(path)
        if asked is None:
            return self._refuse("EntryNotFound")
        if asked["what"] == "preupload":
            return self._json({"files": [_mode(file["path"]) for file in json.loads(content)["files"]]})
        if asked["what"] == "commit":
            return self._commit(self.server.folder / "models" / asked["repo"], content)
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.server.endpoint}/large/{each['oid']}"}}}
            for each in json.loads(content)["objects"]
        ]
        return self._json({"transfer": "basic", "objects": objects})

    def do_PUT(self) -> None:
        content = self._read()
        self.server.large[hashlib.sha256(content).hexdigest()] = content
        self._send(200, b"", {})

    def _commit(self, folder: Path, content: bytes) -> None:
        for line in content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                (folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
            elif entry["key"] == "deletedFile":
                (folder / value["path"]).unlink()
            elif entry["key"] == "lfsFile":
                (folder / value["path"]).write_bytes(self.server.large[value["oid"]])
        address = f"{self.server.endpoint}/{folder.parent.name}/{folder.name}/commit/{COMMITS['main']}"
        self._json({"success": True, "commitOid": COMMITS["main"], "commitUrl": address, "hookOutput": ""})

    def _read(self) -> bytes:
        self.server.requests.append(f"{self.command} {unquote(urlsplit(self.path).path)}")
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def _file(self, path: Path, commit: str) -> None:
        if not path.is_file():
            return self._refuse("EntryNotFound")
        content = path.read_bytes()
        self._send(200, content, {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": commit})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, code: str) -> None:
        self._send(404, b"{}", {"X-Error-Code": code})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """`requests` has it."""


def _mode(path: str) -> dict[str, Any]:
    return {"path": path, "uploadMode": "lfs" if path.endswith(".safetensors") else "regular", "shouldIgnore": False}


def _entry(path: Path, folder: Path) -> dict[str, Any]:
    name = str(path.relative_to(folder))
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": _digest(name.encode())}
    content = path.read_bytes()
    return {"type": "file", "path": name, "size": len(content), "oid": _digest(content)}


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
