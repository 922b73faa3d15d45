"""What a stage costs to start, beside `python -c "import click"`: CPU seconds, taken in turns.

    python benchmarks/startup.py [ROUNDS]

Each round runs every command once; the least of all rounds counts, since whatever else the machine does
can only add. Commands run as the installed entry point runs them.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_ENTRY = "import sys; from powdo.cli import main; main()"


def cpu(arguments: list[str], environment: dict[str, str], stdin: Path) -> float:
    """Return the CPU seconds of one run. Raises: RuntimeError when it fails."""
    null = os.open(os.devnull, os.O_WRONLY)
    source = os.open(stdin, os.O_RDONLY)
    actions = [(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_DUP2, null, 1)]
    pid = os.posix_spawn(sys.executable, [sys.executable, *arguments], environment, file_actions=actions)
    os.close(null)
    os.close(source)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{arguments} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime


def prepare(folder: Path) -> tuple[dict[str, str], Path]:
    """Return the environment of a set-up worker in *folder*, and a file with one uploaded bundle's record."""
    from powdo.lines import encode_line
    from powdo.records import Bundle

    kept = {name: value for name, value in os.environ.items() if not name.startswith(("POWDO_", "PYTHON"))}
    environment = kept | {
        "PYTHONPATH": str(ROOT),
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),  # compiled once, as pip does it
        "POWDO_CONFIG": str(folder / "powdo.toml"),
        "POWDO_STATE_DIR": str(folder / "state"),
        "POWDO_DATA_DIR": str(folder / "data"),
        "NSEC_MASTER_KEY": "0f" * 32,
    }
    empty = folder / "empty"
    empty.touch()
    set_up = ["-c", _ENTRY, "init", "worker", "-q", "--user", "ana", "--dvm", f"{1:064x}"]
    cpu(set_up, environment, empty)
    servers = "[worker]\nblossom = ['https://blossom.example']\nrelays = ['wss://relay.example']"
    config = folder / "powdo.toml"
    config.write_text(config.read_text().replace("[worker]", servers, 1))
    now = datetime.now(UTC)
    record = Bundle(
        id="one", sequence=1, device="d", begin=now, end=now, path="/nowhere", sha256="ab" * 32, ox="cd" * 32,
        size=65536, salt="00" * 16, key="0f" * 32, blobs=({"url": "https://blossom.example/x"},),
    )  # fmt: skip
    path = folder / "record"
    path.write_bytes(encode_line(record.to_json()))
    return environment, path


def main() -> None:
    """Run all in turns and print them side by side."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as name:
        environment, record = prepare(Path(name))
        runs = {
            "python -c pass": ["-c", "pass"],
            'python -c "import click"': ["-c", "import click"],
            "powdo --help": ["-c", _ENTRY, "--help"],
            "powdo wrap --help": ["-c", _ENTRY, "wrap", "--help"],
            "powdo bundle, no record": ["-c", _ENTRY, "bundle", "/dev/null"],
            "powdo upload, no record": ["-c", _ENTRY, "upload", "/dev/null"],
            "powdo publish, no record": ["-c", _ENTRY, "publish", "/dev/null"],
            "powdo wrap, one record": ["-c", _ENTRY, "wrap"],
        }
        least = dict.fromkeys(runs, float("inf"))
        for _ in range(rounds):
            for label, arguments in runs.items():
                least[label] = min(least[label], cpu(arguments, environment, record))
    base = least['python -c "import click"']
    for label, seconds in least.items():
        sys.stdout.write(f"{label:<28} {1000 * seconds:7.1f} ms CPU  {seconds / base:5.2f} x click\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
