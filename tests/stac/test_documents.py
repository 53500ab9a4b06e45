"""ETags: each another one, in processes that are forked too."""

from __future__ import annotations

import subprocess
import sys
import uuid

from graticule.stac.documents import new_etag

FORKING = """
import os
from graticule.stac.documents import new_etag
new_etag()
for _ in range(3):
    if os.fork() == 0:
        os.write(1, (new_etag() + "\\n").encode())
        os._exit(0)
    os.wait()
os.write(1, new_etag().encode())
"""


def test_etags_are_uuids_of_version_4() -> None:
    etags = {new_etag() for _ in range(1_000)}
    assert len(etags) == 1_000
    assert {uuid.UUID(etag).version for etag in etags} == {4}
    assert {str(uuid.UUID(etag)) for etag in etags} == etags


def test_forked_processes_make_others() -> None:
    told = subprocess.run([sys.executable, "-c", FORKING], check=True, capture_output=True, text=True).stdout.split()
    assert len(told) == len(set(told)) == 4
