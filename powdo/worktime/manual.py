"""Manual records: time away from the keyboard that a worker states themself, and that is never measured time.

Rules:
- they travel as a bucket of their own type in the signed manifest, so every reader knows what they are;
- at any instant a manual record goes before whatever was measured; of two the one that begins later counts;
- everything made of them says so: a tag, the end of the description, and a flag of the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

#: How manual records stand in a bundle: see powdo-bundle(5).
BUCKET, BUCKET_TYPE, CLIENT = "powdo-manual", "app.powdo.manual", "powdo"
#: What stands where measured time has its app.
APP = "(manual)"
TAG = "manual"
_SUFFIX = " (manual)"
_FIELDS = ("customer", "project", "activity", "description")


class Manual(NamedTuple):
    """What the worker says of a stretch of time."""

    project: str
    activity: str | None = None
    customer: str | None = None
    description: str = ""

    def data(self) -> dict[str, str]:
        """Return the data of the bucket event that stands for it."""
        return {name: value for name in _FIELDS if (value := getattr(self, name))}


def parse(data: Mapping[str, object]) -> Manual | None:
    """Return the manual record in the *data* of a bucket event, or None where it names no project."""
    texts: dict[str, Any] = {
        name: value.strip() for name in _FIELDS if isinstance(value := data.get(name), str) and value.strip()
    }
    return Manual(**texts) if "project" in texts else None


def marked(description: str) -> str:
    """Return *description* with the mark of manual time at its end."""
    return f"{description}{_SUFFIX}".strip()
