"""ActivityWatch's buckets: from a running server over REST, or from an export file.

Both are a Source. What they give is checked event by event: a malformed bucket event is left out and told,
an answer that is no answer at all is an error, and neither loses what stands beside it.
"""

from __future__ import annotations

from powdo.adapters.activitywatch.export import Export
from powdo.adapters.activitywatch.reading import Part, Reading, Wanted, read
from powdo.adapters.activitywatch.rest import ActivityWatch
from powdo.adapters.activitywatch.source import BucketInfo, Fetched, Source

__all__ = ["ActivityWatch", "BucketInfo", "Export", "Fetched", "Part", "Reading", "Source", "Wanted", "read"]
