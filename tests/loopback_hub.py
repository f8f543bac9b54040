"""A hub on this machine that speaks what `huggingface_hub` and its users need, and fails as told.

Files are redirected to another host, as a real hub redirects to its storage. Each answer comes from the
folder as it is, so what is written there is published.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = "tdemin16/ProactiveBench"
COMMIT = "c0ffee" * 6 + "beef"
PAGE = 5  # entries of a listing on one page, so that its pages are turned


@dataclass(frozen=True)
class Seen:
    """One request: what was asked, from which byte on, how many bytes of a file were sent, with a token?"""

    method: str
    path: str
    start: int | None
    sent: int
    token: bool


@dataclass
class Fault:
    """What goes wrong with one file. `times` answers of it fail, the rest are sound."""

    cut_after: int | None = None  # close the connection after so many bytes of the body
    stall_after: int | None = None  # send so much and then nothing, until the hub ends
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)  # sent with that status
    location: str | None = None  # redirect there instead of to the storage
    spoil: bool = False  # send other bytes of the same number
    ignore_range: bool = False
    unsaid: bool = False  # how long the body is: it ends where the connection does
    times: int = 1_000_000

    def due(self) -> bool:
        self.times -= 1
        return self.times >= 0


@dataclass
class LoopbackHub:
    """The repository's `test/` folder is `folder`; use as a context manager."""

    folder: Path
    commit: str = COMMIT
    plain: tuple[str, ...] = (".jsonl",)  # not kept as large files
    status: int | None = None  # answer everything with this
    error_code: str | None = None
    sizes: dict[str, int] = field(default_factory=dict)  # listed instead of the real ones
    faults: dict[str, Fault] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def __enter__(self) -> LoopbackHub:
        self.ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def storage(self) -> str:
        """The same server by another name, which must not be shown a token."""
        return f"http://localhost:{self._server.server_address[1]}"

    def starts(self, name: str) -> list[int | None]:
        """From which byte on a file's contents were asked for, request by request."""
        return [seen.start for seen in self.seen if seen.method == "GET" and seen.path == f"/storage/{name}"]

    def sent(self, name: str) -> int:
        """How many bytes of a file's contents have left, in all."""
        return sum(seen.sent for seen in self.seen if seen.path == f"/storage/{name}")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"hub": self})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that goes away in the middle is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # header and body in one packet: two would wait for each other

    def log_message(self, *_: object) -> None:
        pass

    def _note(self, path: str, start: int | None, sent: int) -> None:
        token = "Authorization" in self.headers
        self.hub.seen.append(Seen(self.command, path, start, sent, token))

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path, hub = unquote(url.path), self.hub
        if not path.startswith("/storage/"):
            self._note(path, None, 0)
        if hub.status is not None:
            return self._refuse(hub.status, hub.error_code)
        api = f"/api/datasets/{REPOSITORY}"
        if path == api or (found := re.fullmatch(rf"{api}/revision/(.+)", path)):
            known = path == api or (found and found[1] in ("main", hub.commit))
            return self._json({"id": REPOSITORY, "sha": hub.commit}) if known else self._no_revision()
        if path == f"{api}/tree/{hub.commit}/test":
            return self._tree(int(parse_qs(url.query).get("cursor", ["0"])[0]))
        if found := re.fullmatch(rf"/datasets/{REPOSITORY}/resolve/(main|{hub.commit})/test/(.+)", path):
            return self._resolve(found[2])
        if path.startswith("/storage/"):
            return self._contents(path.removeprefix("/storage/"))
        return self._refuse(404, "RepoNotFound")

    def _tree(self, start: int) -> None:
        names = sorted(path.name for path in self.hub.folder.iterdir() if path.is_file())
        entries: list[dict[str, Any]] = [
            {"type": "directory", "oid": "0" * 40, "path": "test/more", "size": 0}
        ]
        entries += [self._entry(name) for name in names]
        more = {}
        if start + PAGE < len(entries):
            more["Link"] = (
                f'<{self.hub.endpoint}{urlsplit(self.path).path}?cursor={start + PAGE}>; rel="next"'
            )
        self._json(entries[start : start + PAGE], more)

    def _entry(self, name: str) -> dict[str, Any]:
        data = (self.hub.folder / name).read_bytes()
        size = self.hub.sizes.get(name, len(data))
        entry = {"type": "file", "path": f"test/{name}", "size": size, "oid": self._etag(name)}
        if not name.endswith(self.hub.plain):
            entry |= {
                "oid": hashlib.sha1(name.encode()).hexdigest(),
                "lfs": {"oid": self._etag(name), "size": size, "pointerSize": 134},
                "xetHash": hashlib.sha256(b"xet" + data).hexdigest(),
            }
        return entry

    def _etag(self, name: str) -> str:
        data = (self.hub.folder / name).read_bytes()
        if name.endswith(self.hub.plain):
            return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return hashlib.sha256(data).hexdigest()

    def _resolve(self, name: str) -> None:
        path, fault = self.hub.folder / name, self.hub.faults.get(name)
        if not path.is_file():
            return self._refuse(404, "EntryNotFound")
        if fault is not None and fault.status is not None and fault.due():
            code = {"X-Error-Code": "EntryNotFound"} if fault.status == 404 else {}
            return self._send(fault.status, {**code, **fault.headers}, b'{"error": "as told"}')
        headers = {
            "X-Repo-Commit": self.hub.commit,
            "X-Linked-Etag": f'"{self._etag(name)}"',
            "X-Linked-Size": str(path.stat().st_size),
            "Location": (fault and fault.location) or f"{self.hub.storage}/storage/{name}",
        }
        return self._send(302, headers, b"")

    def _contents(self, name: str) -> None:
        data, fault = (self.hub.folder / name).read_bytes(), self.hub.faults.get(name, Fault())
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else None
        due = fault.due()
        if fault.spoil and due:
            data = bytes(byte ^ 1 for byte in data)
        headers = {"ETag": f'"{self._etag(name)}"', "Accept-Ranges": "bytes"}
        if start is None or (fault.ignore_range and due):
            status, body = 200, data
        elif start >= len(data):
            return self._refuse(416, None)
        else:
            status, body = 206, data[start:]
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(status, headers, body, name=name, start=start, fault=fault if due else Fault())
        return None

    def _json(self, value: object, headers: dict[str, str] | None = None) -> None:
        self._send(200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode())

    def _no_revision(self) -> None:
        self._refuse(404, "RevisionNotFound")

    def _refuse(self, status: int, code: str | None) -> None:
        self._send(status, {"X-Error-Code": code} if code else {}, b'{"error": "as told"}')

    def _send(
        self,
        status: int,
        headers: dict[str, str],
        body: bytes,
        *,
        name: str = "",
        start: int | None = None,
        fault: Fault | None = None,
    ) -> None:
        fault = fault or Fault()
        self.send_response(status)
        length = {} if fault.unsaid else {"Content-Length": str(len(body))}
        for key, value in {**headers, **length}.items():
            self.send_header(key, value)
        self.end_headers()
        whole = fault.cut_after is None and fault.stall_after is None
        out = body if whole else body[: max(fault.cut_after or 0, fault.stall_after or 0)]
        if self.command == "GET":
            self.wfile.write(out)
            self.wfile.flush()
        if name:
            self._note(f"/storage/{name}", start, len(out))
        if not whole:
            if fault.stall_after is not None:
                self.hub.ended.wait()
            self.close_connection = True
