"""The Blossom client (BUD-01, 02, 06, 11, 12): upload, download, delete and list blobs.

Rules:
- a server is believed nothing: hash and size are compared, addresses are built or checked, every
  exchange has a time and a size it may not exceed;
- what a later try may mend is a RetryLaterError, what a person must mend is another class;
- redirects are followed by downloads only, to allowed hosts and for the same hash.
"""

from __future__ import annotations

from powdo.adapters.blossom.client import BlossomClient, check_file
from powdo.adapters.blossom.download import Downloads

__all__ = ["BlossomClient", "Downloads", "check_file"]
