"""An operator's machine in a folder, a worker who sends to it, and a blob server that counts its visitors."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from powdo.adapters.archive import build
from powdo.adapters.database import Inbox, Store
from powdo.adapters.keystore import new_record
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Unsigned, sign
from powdo.nips.giftwrap import seal, wrap
from powdo.nips.nip17 import FileMessage
from powdo.settings.paths import write_private
from powdo.worktime.link import Link, proof_to_bytes
from powdo.worktime.manifest import manifest_root
from tests.bundles import BEGIN, Sample, sample

MASTER = "5e" * 32
DVM = SecretKey(b"\x01" * 32)
ANA = SecretKey(b"\x02" * 32)
BEN = SecretKey(b"\x03" * 32)
NOW = BEGIN // 1_000_000

JsonEvent = dict[str, Any]


@dataclass
class BlobServer:
    """Serves *blobs* by their path, and keeps the path of each request."""

    url: str
    blobs: dict[str, bytes] = field(default_factory=dict)
    visits: list[str] = field(default_factory=list)
    status: int = 200
    pause: float = 0
    garble: bool = False

    def put(self, data: bytes, name: str | None = None) -> str:
        """Return the URL at which *data* is served from now on."""
        path = f"/{name or sha256(data).hexdigest()}.zip"
        self.blobs[path] = data
        return self.url + path


@contextmanager
def blob_server() -> Iterator[BlobServer]:
    """Run a blob server on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.visits.append(self.path)
            time.sleep(server.pause)
            if server.garble:
                self.wfile.write(b"what is this?\r\n\r\n")
                self.close_connection = True
                return
            data = server.blobs.get(self.path)
            status = server.status if data is not None or server.status != 200 else 404
            self.send_response(status)
            body = data if status == 200 and data is not None else b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = BlobServer(f"http://127.0.0.1:{http.server_address[1]}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@dataclass(frozen=True)
class Operator:
    """A DVM in a folder, with ana enrolled."""

    folder: Path
    server: BlobServer
    database: str | None = None

    @property
    def url(self) -> str:
        """The database's URL."""
        return self.database or f"sqlite:///{self.folder / 'state' / 'dvm.sqlite'}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to be this operator's."""
        return {
            "HOME": str(self.folder),
            "POWDO_CONFIG": str(self.folder / "powdo.toml"),
            "POWDO_STATE_DIR": str(self.folder / "state"),
            "POWDO_DATA_DIR": str(self.folder / "data"),
            "NSEC_MASTER_KEY": MASTER,
        }

    def store(self) -> Store:
        """Return the database."""
        return Store(self.url)

    def inbox(self) -> Inbox:
        """Return the inbox."""
        return Inbox(self.url)

    def evidence(self) -> list[str]:
        """Return the sha256 of each file kept, and the names of whatever else lies there."""
        folder = self.folder / "data" / "evidence"
        return sorted(path.name for path in folder.rglob("*") if path.is_file())


def operator(folder: Path, server: BlobServer, more: str = "", *, database: str | None = None) -> Operator:
    """Return a DVM set up in *folder*, with its database there unless told otherwise."""
    config = folder / "powdo.toml"
    if database is not None:
        more = f'database = "{database}"\n{more}'
    config.write_text(
        f'[identity]\nuser = "dvm"\n[dvm]\nblossom_hosts = ["{server.url}"]\nmax_bundle = "1MiB"\n{more}'
    )
    config.chmod(0o600)
    content = {"version": 1, "users": [new_record("dvm", DVM, bytes.fromhex(MASTER))]}
    write_private(folder / "data" / "keystore.json", json.dumps(content).encode())
    made = Operator(folder, server, database)
    store = made.store()
    store.enroll("ana", pubkeys=[ANA.pubkey], timezone="Europe/Berlin")
    store.close()
    return made


# --- what a worker sends ---------------------------------------------------------------------------


def link_of(what: Sample) -> Link:
    """Return the link of *what*, the first of its chain."""
    manifest = what.manifest
    return Link(
        device=manifest.device,
        sequence=manifest.sequence,
        begin=manifest.begin,
        end=manifest.end,
        previous=None,
        root=manifest_root(what.data),
    )


def signed_proof(what: Sample, key: SecretKey = ANA, content: str | None = None) -> bytes:
    """Return proof.json of *what*, its link signed by *key*."""
    link = link_of(what).content
    unsigned = Unsigned(key.pubkey, NOW, 78, (), content or link)
    event = sign(unsigned, key, secrets.token_bytes(32)).to_json()
    return proof_to_bytes(link, event)


@dataclass(frozen=True)
class Parcel:
    """A bundle and the file message that announces it."""

    blob: bytes
    message: FileMessage

    def changed(self, **values: Any) -> Parcel:
        """Return the parcel with another message."""
        return replace(self, message=self.message._replace(**values))

    def wrapped(self, **options: Any) -> JsonEvent:
        """Return its gift wrap."""
        return gift(self.message.to_rumor(ANA.pubkey, NOW), **options)


def parcel(
    folder: Path,
    server: BlobServer,
    what: Sample | None = None,
    *,
    key: bytes | None = None,
    proof: bytes | None = None,
) -> Parcel:
    """Return the bundle of *what*, served by *server*."""
    what = what or sample()
    key = key or secrets.token_bytes(32)
    place = folder / f"capture-{secrets.token_hex(4)}"
    what.write(place)
    built = build(place, what.data, proof or signed_proof(what), key, place / "bundle")
    return announced(server, (place / "bundle").read_bytes(), key, built.ox, built.salt)


def announced(server: BlobServer, blob: bytes, key: bytes, ox: str, salt: str) -> Parcel:
    """Return what announces *blob*, which *server* has."""
    message = FileMessage(
        url=server.put(blob),
        decryption_key=key.hex(),
        decryption_nonce=salt,
        x=sha256(blob).hexdigest(),
        ox=ox,
        size=len(blob),
        recipients=(DVM.pubkey,),
    )
    return Parcel(blob, message)


def gift(
    rumor: Unsigned,
    *,
    author: SecretKey = ANA,
    recipient: str = DVM.pubkey,
    change_seal: Callable[[JsonEvent], Mapping[str, Any]] | None = None,
    expiration: int | None = None,
) -> JsonEvent:
    """Return the gift wrap of *rumor*; *change_seal* may tamper with the seal inside."""
    sealed = seal(
        rumor,
        author,
        recipient,
        created_at=NOW,
        nonce=secrets.token_bytes(32),
        aux=secrets.token_bytes(32),
    )
    if change_seal is not None:
        sealed = Event.from_json(change_seal(sealed.to_json()))
    wrapped = wrap(
        sealed,
        SecretKey(secrets.token_bytes(32)),
        recipient,
        created_at=NOW,
        nonce=secrets.token_bytes(32),
        aux=secrets.token_bytes(32),
        expiration=expiration,
    )
    made: JsonEvent = json.loads(json.dumps(wrapped.to_json()))
    return made
