"""Owns one conversion process: confined, fed one job at a time by the pool as a line of JSON, answering with one.

First line out: how far it is confined. A job has an ``id``, the kinds of its ``sidecars`` and what else of
``ConversionRequest`` matters; its files lie in ``job/`` of the process's folder, as ``source`` and by the kinds' names.
It is acknowledged with ``id`` and ``started``, so that a death before cannot be the file's fault.
The answer has the ``id``, either ``outcome`` and ``facts`` or ``error`` and ``message``, and ``memory``, the resident
bytes. The process ends with its input.

Nothing here is imported from rasterio before ``confine`` has run.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from graticule.confinement import confine, limit_cpu
from graticule.errors import CogTransformationError, IngestionError, InternalError

#: Formats that are read or written; every other driver is removed from the process.
DRIVERS = frozenset({"GTiff", "COG", "JPEG", "PNG", "JP2OpenJPEG", "MEM"})

_GDAL_OPTIONS: dict[str, Any] = {
    "GDAL_CACHEMAX": 256 << 20,  # rasterio hands it on as bytes; less costs half as much again, more nothing
    "GDAL_MAX_DATASET_POOL_SIZE": 16,
    "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE",  # the job folder holds the raster and its sidecars, nothing else
    "GDAL_PAM_ENABLED": "YES",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",  # a JPEG cut off in the middle is a mere warning otherwise
    "GDAL_ALLOW_LARGE_LIBJPEG_MEM_ALLOC": "YES",  # RLIMIT_AS bounds it
    "CPL_TMPDIR": "job",
    "PROJ_NETWORK": "OFF",
}


def main() -> None:
    """Confine this process, say so, and convert until the input ends.

    Arguments: the parent's process id, then the limits of address space and of file size in bytes.
    """
    answers = _private_stdout()
    parent_pid, memory_bytes, file_bytes = (int(argument) for argument in sys.argv[1:4])
    confinement = confine(str(Path.cwd()), parent_pid=parent_pid, memory_bytes=memory_bytes, file_bytes=file_bytes)

    import rasterio  # noqa: PLC0415 - after confinement

    # One environment for the whole life: entering another one would register all drivers again.
    with rasterio.Env(**_GDAL_OPTIONS):
        _remove_drivers()
        _answer(answers, asdict(confinement))
        for line in sys.stdin:
            job = json.loads(line)
            _answer(answers, {"id": job["id"], "started": True})
            _answer(answers, _run(job))


def _run(job: dict[str, Any]) -> dict[str, Any]:
    limit_cpu(job["cpu_seconds"])
    answer: dict[str, Any] = {"id": job["id"]}
    try:
        answer |= _refer(job) if job.get("kind") == "references" else _convert(job)
    except IngestionError as exc:
        answer |= {"error": type(exc).__name__, "message": exc.message}
    except MemoryError:
        answer |= {
            "error": CogTransformationError.__name__,
            "message": "the raster does not fit into the memory of a conversion: store it in tiles, or raise"
            " GRATICULE_CONVERSION_MEMORY_MB",
        }
    except Exception:  # noqa: BLE001 - a bug of ours must not end the process; the log has it
        traceback.print_exc(limit=-8)
        answer |= {"error": InternalError.__name__, "message": "the conversion failed; the log has the details"}
    return answer | {"memory": _resident_bytes()}


def _convert(job: dict[str, Any]) -> dict[str, Any]:
    from graticule.ingestion.conversion.converting import convert  # noqa: PLC0415 - after confinement

    outcome, facts = convert(Path("job"), job)
    return {"outcome": outcome, "facts": asdict(facts)}


def _refer(job: dict[str, Any]) -> dict[str, Any]:
    # A file's filters must be ours: no plugin is looked for. Read when the library loads.
    os.environ |= {"HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": "FALSE"}
    from graticule.ingestion.conversion.references import refer  # noqa: PLC0415 - xarray loads for a second

    outcome, why = refer(Path("job"), job["file_name"])
    return {"outcome": outcome, "why": why}


def _private_stdout() -> IO[str]:
    """Keep the pipe to ourselves: a C library that prints must not break the protocol."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answer(answers: IO[str], members: dict[str, Any]) -> None:
    answers.write(json.dumps(members) + "\n")
    answers.flush()


def _remove_drivers() -> None:
    """Deregister every GDAL driver but ours: a file can then not name another format inside.

    By GDAL's C API, because GDAL_SKIP wants the names of all others before they are known.
    """
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    gdal = ctypes.CDLL(next(line.split(maxsplit=5)[5] for line in maps.splitlines() if "/libgdal" in line))
    gdal.GDALGetDriver.restype = ctypes.c_void_p
    gdal.GDALGetDescription.restype = ctypes.c_char_p
    gdal.GDALGetDescription.argtypes = [ctypes.c_void_p]
    gdal.GDALDeregisterDriver.argtypes = [ctypes.c_void_p]
    for index in reversed(range(gdal.GDALGetDriverCount())):
        driver = gdal.GDALGetDriver(index)
        if gdal.GDALGetDescription(driver).decode() not in DRIVERS:
            gdal.GDALDeregisterDriver(driver)


def _resident_bytes() -> int:
    # Here, and not by fewer arenas: with one arena two compressing threads made millions of page faults in some runs.
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
