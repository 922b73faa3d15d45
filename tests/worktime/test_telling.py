"""What buckets say."""

from __future__ import annotations

from powdo.worktime.flood import Bucket, BucketEvent, joined
from powdo.worktime.telling import Told, told


def bucket(kind: str, *events: tuple[int, int, dict[str, object]]) -> Bucket:
    """Return a bucket of *kind* with these events."""
    return Bucket(kind, kind, "c", "h", tuple(BucketEvent(*event) for event in events), "d")


def test_each_text_is_told_once_with_all_its_time() -> None:
    """By kind, the longest first; a lone field is its own text, several are JSON, a missing name is empty."""
    found = told(
        [
            bucket(
                "currentwindow",
                (0, 5, {"app": "a", "title": "x"}),
                (5, 6, {"app": "b", "title": "y"}),
                (6, 9, {"app": "a", "title": "x"}),
            ),
            bucket("afkstatus", (0, 9, {"status": "not-afk"})),
            bucket("web.tab.current", (0, 4, {"title": "t", "audible": False})),
        ]
    )
    assert found == [
        Told("afkstatus", "not-afk", "", 9),
        Told("currentwindow", "a", "x", 8),
        Told("currentwindow", "b", "y", 1),
        Told("web.tab.current", "", '{"title":"t","audible":false}', 4),
    ]


def test_a_bucket_of_several_captures_is_one() -> None:
    """Events of one bucket from several captures are put together, those of another device's are not."""
    one, two = bucket("k", (0, 1, {})), bucket("k", (1, 2, {}))
    other = Bucket("k", "k", "c", "h", (), "e")
    assert [len(item.events) for item in joined([one, other, two])] == [2, 0]
