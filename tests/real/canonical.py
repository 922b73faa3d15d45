"""Active seconds by app as aw-core itself counts them; run by the interpreter that has aw-core.

Reads an ActivityWatch export on stdin, writes {app: seconds}.
"""

import json
import sys

from aw_core.models import Event
from aw_transform import filter_keyvals, filter_period_intersect, flood, merge_events_by_keys

buckets = json.load(sys.stdin)["buckets"].values()
found = {
    bucket["type"]: flood(
        sorted((Event(**event) for event in bucket["events"]), key=lambda event: event.timestamp)
    )
    for bucket in buckets
    if bucket["type"] in ("currentwindow", "afkstatus")
}
active = filter_period_intersect(
    found["currentwindow"], filter_keyvals(found["afkstatus"], "status", ["not-afk"])
)
merged = merge_events_by_keys(active, ["app"])
json.dump({event.data["app"]: event.duration.total_seconds() for event in merged}, sys.stdout)
