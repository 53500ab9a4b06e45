"""Owns one render process: confined, fed one job at a time by the pool, answering each.

First message out: how far it is confined. An answer's header is plain JSON: what the verb says, or ``error``,
``message`` and ``target``; always ``memory``, the resident bytes. The process ends with its input.

Nothing here is imported from rasterio before `confine` has run.
"""

from __future__ import annotations

import os
import struct
import sys
import traceback
import warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson

from graticule.confinement import confine
from graticule.errors import GraticuleError, OutsideData, RenderCrashed, RenderLimitExceeded
from graticule.tiler.remote import FOLDER as REMOTE_FOLDER
from graticule.tiler.remote import Part, RemoteFiles

if TYPE_CHECKING:
    from graticule.tiler.jobs import Job

_LENGTHS = struct.Struct(">II")


def main() -> None:
    """Confine this process, say so, and render until the input ends.

    Arguments: the folder that may be read (or that of the names of what the parent reads for this process), then the
    limits of address space and of decoded blocks in bytes.
    """
    answers = _private_stdout()
    folder, memory_bytes, cache_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    is_remote = folder == REMOTE_FOLDER
    confinement = confine(
        None,
        parent_pid=os.getppid(),
        memory_bytes=memory_bytes,
        file_bytes=0,  # pictures are made in memory
        readable=() if is_remote else (folder,),
        open_files=512,
        niceness=0,
    )
    warnings.simplefilter("ignore")  # rio-tiler warns of what is chosen on purpose; nobody reads it here

    from graticule.tiler.jobs import unpack  # noqa: PLC0415 - after confinement, as the next ones
    from graticule.tiler.reading import GONE, Datasets, environment  # noqa: PLC0415
    from graticule.tiler.verbs import run  # noqa: PLC0415

    # Most tiles come from our own blocks; GDAL's are for what rio-tiler reads.
    with environment(cache_bytes // 4):
        remote = RemoteFiles(partial(_ask, answers), cache_bytes // 4) if is_remote else None
        blocks_bytes = cache_bytes // 2 if is_remote else cache_bytes - cache_bytes // 4
        datasets = Datasets(folder, blocks_bytes=blocks_bytes, remote=remote)
        _send(answers, dict(asdict(confinement)), b"")
        while (message := _receive(sys.stdin.buffer)) is not None:
            job = unpack(message)
            header, body = _guarded(run, job, datasets)
            if remote is not None and remote.has_lost:
                remote.has_lost = False
                header, body = {"error": OutsideData.__name__, "message": GONE}, b""
            _send(answers, {**header, "memory": _resident_bytes()}, body)
    # At once: GDAL would close what is open after Python has taken away what it is read by.
    os._exit(0)


def _ask(answers: IO[bytes], path: str, start: int, end: int) -> Part | None:
    """Have the parent read a part of a stored object: the answer is its size in 8 bytes and the bytes, or nothing."""
    _send(answers, {"wanted": [path, start, end]}, b"")
    answer = _receive(sys.stdin.buffer)
    if answer is None:
        os._exit(0)  # the parent has ended
    if not answer:
        return None
    size, data = int.from_bytes(answer[:8], "big"), answer[8:]
    if len(data) != min(end, size) - start:
        raise RuntimeError("the parent answered another range")
    return Part(size, data)


def _guarded(run: Any, job: Job, datasets: Any) -> tuple[dict[str, Any], bytes]:
    try:
        header, body = run(job, datasets)
    except GraticuleError as exc:
        return {"error": type(exc).__name__, "message": exc.message, "target": exc.target}, b""
    except MemoryError:
        message = "This takes more memory than a render process has (GRATICULE_RENDER_MEMORY_MB): ask for less."
        return {"error": RenderLimitExceeded.__name__, "message": message}, b""
    except Exception:  # noqa: BLE001 - a bug of ours must not end the process; the log has it
        traceback.print_exc(limit=-12)
        return {"error": RenderCrashed.__name__, "message": "rendering failed; the log has the details"}, b""
    return header, body


def _receive(messages: IO[bytes]) -> bytes | None:
    head = messages.read(4)
    return messages.read(int.from_bytes(head, "big")) if len(head) == 4 else None


def _send(answers: IO[bytes], header: dict[str, Any], body: bytes) -> None:
    head = orjson.dumps(header, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    answers.write(_LENGTHS.pack(len(head), len(body)) + head)
    answers.write(body)
    answers.flush()


def _private_stdout() -> IO[bytes]:
    """Keep the pipe to ourselves: a C library that prints must not break the protocol."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
