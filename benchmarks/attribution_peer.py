"""ActivityWatch's side of attribution.py; run by the interpreter that has aw-server, not by powdo's.

Fills a datastore of aw-server (peewee, SQLite) with the export named first, then answers each line on stdin
(`totals` or `desktop`) with the CPU seconds that aw-server's query of that name took.
"""

import gzip
import json
import logging
import resource
import sys
import tempfile
import warnings
from datetime import datetime

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

from aw_client.queries import DesktopQueryParams, fullDesktopQuery  # noqa: E402  # it warns when imported
from aw_core.models import Event  # noqa: E402  # the same
from aw_datastore import Datastore  # noqa: E402  # the same
from aw_datastore.storages import PeeweeStorage  # noqa: E402  # the same
from aw_query import query2  # noqa: E402  # the same

WINDOW, AFK, WEB = "aw-watcher-window_devbox", "aw-watcher-afk_devbox", "aw-watcher-web-firefox_devbox"
TOTALS = f"""
events = flood(query_bucket(find_bucket("{WINDOW}")));
not_afk = flood(query_bucket(find_bucket("{AFK}")));
not_afk = filter_keyvals(not_afk, "status", ["not-afk"]);
events = filter_period_intersect(events, not_afk);
RETURN = merge_events_by_keys(events, ["app"]);
"""


def filled(export: dict, folder: str) -> Datastore:
    """Return a datastore that holds *export*."""
    store = Datastore(
        lambda **options: PeeweeStorage(filepath=f"{folder}/peewee.db", **options), testing=True
    )
    for name, bucket in export["buckets"].items():
        store.create_bucket(
            name,
            bucket["type"],
            bucket["client"],
            bucket["hostname"],
            created=datetime.fromisoformat(bucket["created"]),
        )
        events = [
            Event(**{key: value for key, value in item.items() if key != "id"}) for item in bucket["events"]
        ]
        store[name].insert(events)
    return store


def main() -> None:
    """Answer until stdin ends."""
    path, begin, end, classes = (
        sys.argv[1],
        *map(datetime.fromisoformat, sys.argv[2:4]),
        json.loads(sys.argv[4]),
    )
    with gzip.open(path) as file:
        export = json.load(file)
    desktop = fullDesktopQuery(
        DesktopQueryParams(
            bid_window=WINDOW, bid_afk=AFK, bid_browsers=[WEB], classes=classes, include_audible=False
        )
    )
    # aw-client 0.5.15 leaves the name of its limit in the text.
    queries = {"totals": TOTALS, "desktop": desktop.replace("{default_limit}", "100")}
    with tempfile.TemporaryDirectory() as folder:
        store = filled(export, folder)
        sums = {
            event.data["app"]: event.duration.total_seconds()
            for event in query2.query("sums", TOTALS, begin, end, store)
        }
        sys.stdout.write(f"{json.dumps(sums)}\n")
        sys.stdout.flush()
        for line in sys.stdin:
            before = resource.getrusage(resource.RUSAGE_SELF)
            query2.query("benchmark", queries[line.strip()], begin, end, store)
            after = resource.getrusage(resource.RUSAGE_SELF)
            taken = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            sys.stdout.write(f"{taken}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
