"""One tick of `powdo capture` beside its bare parts: a full-HD screen with text (Xvfb), five buckets.

    python benchmarks/capture.py

The bare script does what no capture can do without, in one process with the same libraries: grab with mss,
quantize to 256 colours and save as PNG (level 6) with Pillow, five GETs for five minutes of bucket events,
each parsed, and all of it written to a file. powdo besides reads its configuration, asks for /info and
/buckets/, looks at the windows before and after the grab, cleans and cuts the events, writes the manifest,
syncs files and folder and commits to the outbox. Both pay for the start of Python; `tick only` are the
same two without it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import measure

from tests.activitywatch_double import Double, Stored

ROUNDS = 11
TICK = 300
_BARE = """
import http.client, io, json, sys, urllib.parse
import mss
from PIL import Image
display, host, out, start, end, *buckets = sys.argv[1:]
with getattr(mss, "MSS", None)(display=display) as screen:
    shot = screen.grab(screen.monitors[1])
    image = Image.frombuffer("RGB", tuple(shot.size), shot.raw, "raw", "BGRX", 0, 1)
small = image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
with open(out, "wb") as file:
    small.save(file, "PNG", compress_level=6)
    for bucket in buckets:
        connection = http.client.HTTPConnection(host, timeout=30)
        query = urllib.parse.urlencode({"start": start, "end": end})
        connection.request("GET", f"/api/0/buckets/{bucket}/events?{query}")
        events = json.loads(connection.getresponse().read())
        assert len(events) > 10, len(events)
        file.write("".join(json.dumps(event) + "\\n" for event in events).encode())
        connection.close()
"""
BUCKETS = {
    "aw-watcher-window_devbox": "currentwindow",
    "aw-watcher-afk_devbox": "afkstatus",
    "aw-watcher-web-firefox_devbox": "web.tab.current",
    "aw-watcher-vscode_devbox": "app.editor.activity",
    "aw-watcher-vim_devbox": "app.editor.activity",
}


def events(kind: str, begin: int, end: int) -> list[Stored]:
    """Return a bucket event every ten seconds in [begin, end), in seconds."""
    samples: dict[str, dict[str, str | bool]] = {
        "currentwindow": {"app": "firefox", "title": "cursor by ana · Pull Request #{} · globex/api"},
        "afkstatus": {"status": "not-afk", "n": "{}"},
        "web.tab.current": {
            "url": "https://github.com/globex/api/pull/{}",
            "title": "cursor",
            "audible": False,
        },
        "app.editor.activity": {"file": "src/{}.py", "project": "globex-api", "language": "python"},
    }
    data = samples[kind]
    return [
        (
            at * 1_000_000,
            (at + 10) * 1_000_000,
            {key: value.format(at) if isinstance(value, str) else value for key, value in data.items()},
        )
        for at in range(begin, end, 10)
    ]


@contextmanager
def screen(folder: Path) -> Iterator[str]:
    """Return an X display of 1920 x 1080 with four terminals full of text."""
    ours, theirs = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(theirs), "-screen", "0", "1920x1080x24", "-noreset", "-nolisten", "tcp"],
        pass_fds=(theirs,),
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    with os.fdopen(ours) as answer:
        display = f":{answer.readline().strip()}"
    source = measure.ROOT / "powdo/records/__init__.py"
    windows = [
        subprocess.Popen(
            ["xterm", "-geometry", f"155x40+{x}+{y}", "-bg", colour, "-e", f"cat {source}; sleep 600"],
            env=measure.environment(folder, DISPLAY=display),
            stderr=subprocess.DEVNULL,  # it misses fonts it does not need
        )
        for x, y, colour in ((0, 0, "white"), (960, 0, "black"), (0, 540, "wheat"), (960, 540, "navy"))
    ]
    try:
        time.sleep(3)  # until the terminals have painted their text
        yield display
    finally:
        for process in (*windows, server):
            process.terminate()
            process.wait()


class Ticks:
    """powdo's world and the bare script's, each tick from the same state."""

    def __init__(self, folder: Path, display: str, double: Double) -> None:
        self.folder, self.display, self.double = folder, display, double
        self.environment = measure.environment(folder, DISPLAY=display)
        (folder / "powdo.toml").write_text(
            f'[identity]\nuser = "ana"\n[capture]\nactivitywatch = "{double.url}"\nsettle = 0\n'
        )
        (folder / "powdo.toml").chmod(0o600)
        now = int(time.time())
        for name, kind in BUCKETS.items():
            double.buckets[name] = (kind, events(kind, now - 3600, now))
        self.begin, self.end = (
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - at)) for at in (TICK, 0)
        )
        before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 3600))
        self._run("--since", before, "--until", self.begin, "--no-screenshots")
        shutil.copytree(folder / "state", folder / "template")

    def _run(self, *flags: str) -> float:
        return measure.child(measure.stage("capture", *flags), self.environment)

    def powdo(self) -> float:
        """Run one tick over the last five minutes."""
        shutil.rmtree(self.folder / "state")
        shutil.copytree(self.folder / "template", self.folder / "state")
        return self._run("--until", self.end)

    def bare(self) -> float:
        """Run the bare script over the same."""
        host = self.double.url.removeprefix("http://")
        arguments = [self.display, host, str(self.folder / "out"), self.begin, self.end, *BUCKETS]
        return measure.child([sys.executable, "-c", _BARE, *arguments], self.environment)

    def start(self) -> float:
        """Start Python and nothing else."""
        return measure.child([sys.executable, "-c", "pass"], self.environment)


def main() -> None:
    """Run all in turns and print the ratio."""
    measure.headline("A capture: 1920 x 1080 and five buckets")
    with tempfile.TemporaryDirectory() as name, screen(Path(name)) as display, Double() as double:
        ticks = Ticks(Path(name), display, double)
        rounds = measure.in_turns(
            {"powdo capture": ticks.powdo, "bare parts": ticks.bare, "python -c pass": ticks.start}, ROUNDS
        )
        captures = list((Path(name) / "state/outbox").glob("*/screenshots/0.*"))
        size = Path(name, "out").stat().st_size
    measure.show(rounds)
    measure.write(
        f"screenshot {captures[0].suffix}, bare output {size} bytes\n" if captures else "no screenshot\n"
    )
    measure.at_most("powdo capture / bare parts", measure.ratio(rounds, "powdo capture", "bare parts"), 1.5)
    for one in ("powdo capture", "bare parts"):
        rounds[f"{one}, tick only"] = [
            a - b for a, b in zip(rounds[one], rounds["python -c pass"], strict=True)
        ]
    value = measure.ratio(rounds, "powdo capture, tick only", "bare parts, tick only")
    measure.plain("tick only", value)


if __name__ == "__main__":
    main()
