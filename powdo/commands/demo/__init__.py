"""powdo demo: the whole line on this machine, with a sample day, as real processes joined by real pipes."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from powdo.commands.demo.side import Side, argv
from powdo.options import Run, command

if TYPE_CHECKING:
    from powdo.adapters.processes import Server, Stage

_WORKER, _OPERATOR = "ana", "dvm"


class _Demo:
    """The demo's parts and its steps."""

    def __init__(self, run: Run, root: Path, stack: ExitStack) -> None:
        self._run = run
        self.root = root
        self._stack = stack
        self.public = Side.create(root, "server")
        self.operator = Side.create(root, "operator")
        self.worker = Side.create(root, "worker")
        self.npubs: dict[str, str] = {}

    def say(self, text: str) -> None:
        """Show a line of the walk-through."""
        self._run.console.show(text)

    # --- the steps ---

    def set_up(self) -> None:
        """Make keys, start relay and Blossom server, and write the configurations."""
        for side, users in ((self.worker, (_WORKER, f"{_WORKER}-access")), (self.operator, (_OPERATOR,))):
            for user, npub in zip(users, side.powdo("keys", "new", *users).split(), strict=True):
                self.npubs[user] = npub
        access, dvm = self.npubs[f"{_WORKER}-access"], self.npubs[_OPERATOR]
        relay = self._serve("relay", access, dvm)
        blossom = self._serve("blossom", access)
        self.worker.powdo(
            *("init", "worker", "--user", _WORKER, "--relay", relay.url),
            *("--blossom", blossom.url, "--dvm", dvm, "--yes"),
        )
        self.operator.powdo(
            *("init", "operator", "--user", _OPERATOR, "--relay", relay.url),
            *("--blossom", blossom.url, "--yes"),
        )
        self._add_rules()
        self.operator.powdo(
            *("users", "add", self.npubs[_WORKER], "--name", _WORKER, "--access", access),
            *("--timezone", "Europe/Berlin"),
        )
        self.say(
            f"a relay at {relay.url} and a Blossom server at {blossom.url}, both for two pseudonyms only:"
        )
        self.say(f"  the worker's access key  {access}\n  the DVM's key            {dvm}\n")

    def _serve(self, kind: str, *allowed: str) -> Server:
        from powdo.adapters.processes import Server

        arguments = [kind, "serve", "--listen", "127.0.0.1:0", "--data", str(self.public.directory / kind)]
        for npub in allowed:
            arguments += ["--allow", npub]
        server = Server(argv(arguments), self.public.environment, self.root / f"{kind}.log")
        self._stack.callback(server.close)
        return server

    def _add_rules(self) -> None:
        from importlib.resources import files

        from powdo.settings.paths import write_private

        path = Path(self.operator.environment["POWDO_CONFIG"])
        rules = (files("powdo.sample") / "rules.toml").read_bytes()
        write_private(path, path.read_bytes() + b"\n" + rules)

    def send(self, capture: Sequence[str]) -> list[Stage]:
        """Run the worker's line."""
        return self._line(self.worker, [capture, ["bundle"], ["upload"], ["wrap"], ["publish"]])

    def receive(self) -> list[Stage]:
        """Run the operator's line."""
        return self._line(self.operator, [["listen", "--until-eose"], ["ingest"]])

    def answer(self) -> None:
        """Send the receipts, take them at the worker's, and show what the DVM has signed."""
        from powdo.nips.bech32 import encode_npub
        from powdo.records import decode_json

        self._line(self.operator, [["receipt", "--pending"], ["publish"]])
        receipts = self._line(self.worker, [["listen", "--until-eose"], ["acknowledge"]])[-1].records
        self.say("What the DVM has signed, for the worker to show to anybody:")
        rows = []
        for record in receipts:
            stated = decode_json(record["statement"]["content"].encode())
            signer = encode_npub(record["statement"]["pubkey"])
            rows.append({"capture": record["id"], "received": stated["received"], "signed by": signer})  # type: ignore[index]  # acknowledge has checked it
        self.say(_table(rows))

    def _line(self, side: Side, commands: Sequence[Sequence[str]]) -> list[Stage]:
        import tempfile

        from powdo.adapters.processes import run_pipeline
        from powdo.errors import PeerProtocolError

        self.say(f"$ {' | '.join('powdo ' + shlex.join(item) for item in commands)}")
        with tempfile.TemporaryDirectory(dir=self.root) as copies:
            stages = run_pipeline([argv(item) for item in commands], side.environment, Path(copies))
        rows = [
            {
                "stage": item[0],
                "records": len(stage.records),
                "bytes out": f"{stage.size:,}",
                "CPU s": f"{stage.cpu:.2f}",
                "ended after s": f"{stage.wall:.2f}",
            }
            for item, stage in zip(commands, stages, strict=True)
        ]
        self.say(_table(rows))
        failed = [
            f"{item[0]} ({stage.status})"
            for item, stage in zip(commands, stages, strict=True)
            if stage.status
        ]
        if failed:
            raise PeerProtocolError(f"these stages failed: {', '.join(failed)}")
        return stages

    def show_public_side(self, stages: Sequence[Stage]) -> None:
        """Tell what lies on the public servers, and look there for what must not."""
        bundles, wraps = stages[2].records, stages[3].records
        rows: list[dict[str, object]] = [
            {
                "where": "Blossom",
                "what": f"blob {item['sha256'][:12]}…",
                "size": f"{item['size']:,}",
                "from": "the access key",
                "to": "-",
            }
            for item in bundles
        ]
        names = {
            _hex(self.npubs[_OPERATOR]): "the DVM",
            _hex(self.npubs[f"{_WORKER}-access"]): "the access key",
        }
        rows += [
            {
                "where": "relay",
                "what": f"gift wrap {event['id'][:12]}…",
                "size": f"{len(event['content']):,}",
                "from": f"one-time key {event['pubkey'][:8]}…",
                "to": names.get(event["tags"][0][1], "?"),
            }
            for event in wraps
        ]
        self.say("What the public servers hold: sizes and pseudonyms.")
        self.say(_table(rows))
        secret = [self.npubs[_WORKER], _hex(self.npubs[_WORKER]), "acme", "globex", "manifest.json"]
        found = _count(self.public.directory, secret)
        self.say(
            f"The worker's npub, customers' names and file names were found there {found} times "
            f"(searched: every byte below {self.public.directory}).\n"
        )

    def timesheets(self, begin: str, end: str, *, json: bool) -> str:
        """Return what `powdo timesheets` writes of the period."""
        arguments = ["timesheets", "--since", begin, "--until", end] + ["--json"] * json
        self.say(f"$ powdo {shlex.join(arguments)}        # what `powdo kimai-sync` would send to Kimai")
        return self.operator.powdo(*arguments)

    def real_look(self) -> bool:
        """Return whether this machine has a screen or an ActivityWatch to look at."""
        import socket

        variables = self.worker.environment
        if variables.get("DISPLAY"):
            return True
        try:
            socket.create_connection(("127.0.0.1", 5600), timeout=0.5).close()
        except OSError:
            return False
        return True

    def explain_keeping(self) -> None:
        """Say how to look around."""
        self.say(f"\nStill running. To look around, in another terminal:\n\n  . {self.root}/worker.env")
        self.say("  powdo keys list\n")
        self.say(
            f"  . {self.root}/operator.env\n  powdo report --by app --since 2026-11-18 --until 2026-11-19\n"
        )
        self.say(f"Everything lies below {self.root}. End it with Ctrl-C; the directory stays.")


def _hex(npub: str) -> str:
    from powdo.nips.bech32 import decode_npub

    return decode_npub(npub)


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    from tabulate import tabulate

    text = tabulate([list(row.values()) for row in rows], headers=list(rows[0]), disable_numparse=True)
    return f"{text}\n"


def _count(directory: Path, words: Iterable[str]) -> int:
    """Return how often any of *words* occurs in the files below *directory*, in any case."""
    needles = [word.lower().encode() for word in words]
    needles += [bytes.fromhex(word) for word in words if len(word) == 64]
    data = (path.read_bytes().lower() for path in directory.rglob("*") if path.is_file())
    return sum(content.count(needle) for content in data for needle in needles)


@command("demo", epilog="powdo demo --json | jq .project")
@click.option("--keep", is_flag=True, help="Leave relay and Blossom server running until Ctrl-C.")
@click.option("--json", is_flag=True, help="Write the timesheets as JSON lines instead of a table.")
def demo(run: Run, keep: bool, json: bool) -> None:
    """Run the whole line on this machine with a sample day.

    Needs no network, screen, ActivityWatch or Kimai: a relay and a Blossom server on free loopback ports,
    everything in a temporary directory. The walk-through goes to stderr, the timesheets to stdout.
    """
    import signal
    import tempfile
    from importlib.resources import as_file, files

    from powdo import stdio

    with ExitStack() as stack:
        if keep:
            root = Path(tempfile.mkdtemp(prefix="powdo-demo-"))
        else:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="powdo-demo-")))
        walk = _Demo(run, root, stack)
        walk.set_up()
        sample = stack.enter_context(as_file(files("powdo.sample") / "day.json.gz"))
        stages = walk.send(["capture", "--activity", str(sample), "--no-screenshots"])
        walk.show_public_side(stages)
        if walk.real_look():
            walk.say("This machine has a screen or an ActivityWatch: one real look, which stays on it.")
            walk.send(["capture", "--since", "10m"])
        walk.receive()
        walk.answer()
        look = stages[0].records[0]
        stdio.write_bytes(walk.timesheets(look["begin"], look["end"], json=json).encode())
        if keep:
            walk.explain_keeping()
            while True:
                signal.pause()
