"""Makes Potluck's wheel of a folder: deploy/package.sh calls it.

    make_wheel.py --stage DIR --version 0.1.0 --licenses DIR --out DIR

DIR/potluck is the package with its programs; this adds the wheel's metadata beside it, writes the wheel and prints its
path. Same files, same bytes: the writer is the package's own (deploy/python/potluck/_bundle.py).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "deploy" / "python"))

from potluck import _bundle  # noqa: E402

TAG = "py3-none-manylinux_2_35_x86_64"

METADATA = """\
Metadata-Version: 2.1
Name: potluck
Version: {version}
Summary: Everyone brings a GPU to the table: one computer of notebook sessions, lab machines and laptops
License: Apache-2.0
{license_files}Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: Python :: 3
Classifier: Typing :: Typed
Requires-Python: >=3.9
Description-Content-Type: text/markdown

"""

WHEEL = """\
Wheel-Version: 1.0
Generator: potluck-make-wheel
Root-Is-Purelib: false
Tag: {tag}
"""

ENTRY_POINTS = """\
[console_scripts]
potluck = potluck._main:main
"""


def write_metadata(dist_info: Path, version: str, licenses: Path) -> None:
    shutil.copytree(licenses, dist_info / "licenses")
    files = sorted(path.relative_to(licenses).as_posix() for path in licenses.rglob("*") if path.is_file())
    head = METADATA.format(version=version, license_files="".join(f"License-File: {file}\n" for file in files))
    (dist_info / "METADATA").write_text(head + (ROOT / "deploy" / "python" / "README.md").read_text())
    (dist_info / "WHEEL").write_text(WHEEL.format(tag=TAG))
    (dist_info / "entry_points.txt").write_text(ENTRY_POINTS)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stage", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--licenses", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    dist_info = flags.stage / f"potluck-{flags.version}.dist-info"
    write_metadata(dist_info, flags.version, flags.licenses)
    names = [
        path.relative_to(flags.stage).as_posix()
        for folder in (flags.stage / "potluck", dist_info)
        for path in folder.rglob("*")
        if path.is_file()
    ]
    wheel = flags.out / _bundle.wheel_name(dist_info)
    _bundle.write_wheel(wheel, flags.stage, names, dist_info.name)
    print(wheel)


if __name__ == "__main__":
    main()
