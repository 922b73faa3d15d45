"""The PyPI client python-blossom against our servers: python python_blossom_client.py SERVER SECRET.

Reads one JSON list a line, [method, argument…], and writes one JSON object a line: {"result": …}, or
{"error": …, "status": …} where the client raises its own error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from python_blossom import BlossomClient
from python_blossom.errors import BlossomError

server, secret = sys.argv[1:]
with BlossomClient(nsec=secret, default_servers=[server]) as client:
    methods = {
        "upload": lambda path, kind: client.upload_blob(None, file_path=path, mime_type=kind),
        "get": lambda sha256, token: client.get_blob(server, sha256, use_auth=token).save(f"{sha256}.got"),
        "head": lambda sha256: client.head_blob(server, sha256),
        "list": lambda token: client.list_blobs(server, use_auth=token),
        "mirror": lambda url, sha256: client.mirror_blob(server, url, sha256),
        "ask": lambda path, kind: client.head_upload_requirements(
            server, Path(path).read_bytes(), mime_type=kind, use_auth=True
        ),
        "delete": lambda sha256: client.delete_blob(server, sha256),
    }
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            answer = {"result": methods[method](*arguments)}
        except BlossomError as error:
            answer = {"error": str(error), "status": error.status_code}
        print(json.dumps(answer), flush=True)
