"""Opens bundles and trusts nothing in them (powdo-bundle(5), "THE READER").

Rules, in this order; a bundle that fails one is refused with the reason:
- the blob is a regular file of the promised size and sha256;
- its outer ZIP frames exactly one sealed member; key and salt fit, its code of authenticity and `ox` hold;
- the inner ZIP has no gap, no overlap, no foreign name, and unpacks to no more than it may;
- the manifest and the link are well formed and speak of each other;
- each file is what the manifest says, which shows with its last byte: until then it is not to be believed.
"""

from __future__ import annotations

from powdo.adapters.archive_reader.inner import Unsealed
from powdo.adapters.archive_reader.outer import check_file, open_file, unsealed
from powdo.adapters.archive_reader.unpacking import Opened, open_bundle, write_file

__all__ = ["Opened", "Unsealed", "check_file", "open_bundle", "open_file", "unsealed", "write_file"]
