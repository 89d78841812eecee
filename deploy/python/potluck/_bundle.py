"""The worker bundle: the wheel from which this package was installed, made again from the installed files.

A coordinator hands its workers the very program that it runs, so that versions always match. Where the package was
installed by pip the wheel itself is gone; what was in it is listed in the package's RECORD. The same writer makes the
wheel in the first place (deploy/make_wheel.py): same files, same bytes. Thread-safe, also among processes.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import os
import shutil
import sys
import threading
import zipfile
from pathlib import Path
from typing import Iterable, List, Optional, Tuple

_ADDED_BY_INSTALLERS = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json")
_BUNDLES_KEPT = 3
_WHEN = (1980, 1, 1, 0, 0, 0)  # A wheel's bytes do not depend on when it was made.


def folder() -> Optional[str]:
    """The folder with the bundle, which is made first if need be; None if the package was not installed as a wheel."""
    dist_info = _dist_info()
    if dist_info is None:
        return None
    try:
        return str(_made(dist_info))
    except OSError as error:
        reason = error.strerror or str(error)
        print(f"potluck: no bundle for workers: {error.filename or _cache()}: {reason}", file=sys.stderr)
        return None


def write_wheel(target: Path, root: Path, names: Iterable[str], dist_info: str) -> None:
    """Writes the wheel of the files `names` below `root` and of a RECORD of them. The folder `dist_info` comes last.
    `target` appears when it is whole."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    record = f"{dist_info}/RECORD"
    rows: List[str] = []
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as wheel:
            for name in sorted(names, key=lambda each: (each.startswith(dist_info + "/"), each)):
                digest, size = _add(wheel, root / name, name)
                rows.append(f"{name},sha256={digest},{size}\n")
            rows.append(f"{record},,\n")
            wheel.writestr(_entry(record, 0o644), "".join(rows), compresslevel=6)
        os.replace(partial, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def wheel_name(dist_info: Path) -> str:
    """As the folder says: potluck-0.1.0-py3-none-manylinux_2_35_x86_64.whl."""
    for line in (dist_info / "WHEEL").read_text().splitlines():
        key, _, value = line.partition(": ")
        if key == "Tag":
            return f"{dist_info.name[: -len('.dist-info')]}-{value.strip()}.whl"
    raise OSError(0, "names no tag", str(dist_info / "WHEEL"))


def _add(wheel: zipfile.ZipFile, path: Path, name: str) -> Tuple[str, int]:
    executable = name.startswith("potluck/bin/") and "." not in name.rpartition("/")[2]
    data = path.read_bytes()
    wheel.writestr(_entry(name, 0o755 if executable else 0o644), data, compresslevel=6)
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode(), len(data)


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _WHEN)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (0o100000 | mode) << 16
    return info


# What installed the package wrote its folder beside it.
def _dist_info() -> Optional[Path]:
    package = Path(__file__).resolve().parent
    if not (package / "bin" / "potluck").is_file():
        return None
    found = [path.parent for path in package.parent.glob("potluck-*.dist-info/RECORD")]
    return found[0] if len(found) == 1 else None


def _names(dist_info: Path) -> List[str]:
    with (dist_info / "RECORD").open(newline="") as record:
        listed = [row[0] for row in csv.reader(record) if row]
    added = {f"{dist_info.name}/{name}" for name in _ADDED_BY_INSTALLERS}
    return [
        name
        for name in listed
        if name.startswith(("potluck/", dist_info.name + "/")) and name not in added and not name.endswith(".pyc")
    ]


def _made(dist_info: Path) -> Path:
    names = _names(dist_info)
    state = hashlib.sha256()
    for name in names:
        found = (dist_info.parent / name).stat()
        state.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode())
    bundles = _cache() / "bundle"
    target = bundles / state.hexdigest()[:32]
    wheel = target / wheel_name(dist_info)
    if not wheel.is_file():
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_wheel(wheel, dist_info.parent, names, dist_info.name)
        _drop_old(bundles, target)
    return target


def _cache() -> Path:
    named = os.environ.get("XDG_CACHE_HOME", "")
    if named.startswith("/"):
        return Path(named) / "potluck"
    try:
        return Path.home() / ".cache" / "potluck"
    except RuntimeError as error:
        raise OSError(0, str(error), "~/.cache") from None


# A bundle is some 20 MB: those of versions long gone are not kept.
def _drop_old(bundles: Path, newest: Path) -> None:
    others = [path for path in bundles.iterdir() if path.is_dir() and path != newest]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[_BUNDLES_KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
