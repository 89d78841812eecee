"""What a notebook's cell (cli/notebook_cell.py) runs once it trusts the coordinator: it fetches this from there.

It downloads the worker bundle, a wheel, into a cache by digest, checks and unpacks it, and runs `potluck join` from it,
whose lines it shows. An interrupt is handed on once: the worker hands in what it has and leaves. A worker that ends
because the coordinator is of another version by now is replaced by that version's.

The cell leaves these: `get(path, **headers)`, the coordinator's answer to a GET, to be trusted as much as the connection;
`join`, the join string, a secret; `FLAGS` for `potluck join`; `RULES_CONFIRMED`. Older cells run newer versions of this
and the other way round, so these only get added. Standard library only, Python 3.9. A failure is a RuntimeError of one
sentence, which the cell prints.
"""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import zipfile

PROGRAM = "potluck/bin/potluck"
KEPT = 3  # Bundles in the cache.
OTHER_VERSION, RULES = 4, 6  # Exit codes of `potluck join` (cli/exit_code.h).
PAUSES = (1, 2, 4, 8, 16, 32)  # Seconds.


def say(sentence):
    print("potluck:", sentence, flush=True)


def download(get, about, file):
    """Writes the bundle into `file`; a download that breaks off is taken up where it was."""
    done, size, digest = 0, about["size"], hashlib.sha256()
    say(f"downloading {about['file']} ({size / 1e6:.1f} MB) from the coordinator")
    for pause in PAUSES:
        try:
            answer = get("/bundle/" + about["sha256"], Range=f"bytes={done}-")
        except RuntimeError as error:
            if pause == PAUSES[-1]:
                raise
            say(f"{error}; going on in {pause} s")  # What is there stays: the coordinator may be back soon.
            time.sleep(pause)
            continue
        if answer.status != 206 and done > 0:  # Something in between passes on no parts.
            done, digest = 0, hashlib.sha256()
            file.seek(0)
            file.truncate()
        while piece := read_piece(answer, size - done):  # No more than was announced, whatever comes.
            file.write(piece)
            digest.update(piece)
            done += len(piece)
        if done >= size:
            break
        say(f"the download broke off at {100 * done // size} %; going on in {pause} s")
        time.sleep(pause)
    else:
        raise RuntimeError("the download broke off again and again: run the cell again when the network is better")
    if digest.hexdigest() != about["sha256"]:
        raise RuntimeError("the bundle arrived with another SHA-256 than was announced: run the cell again")


def read_piece(answer, most):
    """Nothing at the end, whether that is the right one or not."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return answer.read(min(1 << 16, most))
    return b""


def no_room(error, folder):
    raise RuntimeError(
        f"the program cannot be written into {folder} ({error.strerror or error}): "
        "make room there (some 200 MB), or set XDG_CACHE_HOME to a folder that has it, and run the cell again"
    ) from None


def check(about, join):
    """A connection without a pinned key does not vouch for the bundle; then the join string does."""
    fields = join.rpartition("#")[2].split(".")
    vouched = [field[len("bundle~") :] for field in fields[3:-1] if field.startswith("bundle~")]
    digest = base64.urlsafe_b64encode(bytes.fromhex(about["sha256"])).decode().rstrip("=")
    if (vouched or not fields[1]) and digest not in vouched:
        raise RuntimeError(
            "the coordinator's program is not the one that the join string names: get a new join string from whoever "
            "runs the coordinator, and a new cell"
        )


def cache_folder():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "potluck"


def unpacked(get, join):
    """The program of the coordinator's bundle: from the cache, or put there, whole or not at all."""
    about = json.load(get("/bundle"))
    check(about, join)
    cache = cache_folder()
    folder = cache / ("bundle-" + about["sha256"])
    if not os.access(folder / PROGRAM, os.X_OK):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".bundle-", dir=cache) as scratch:
                fill(pathlib.Path(scratch) / "bundle", get, about)
                put(pathlib.Path(scratch) / "bundle", folder)
        except OSError as error:
            no_room(error, cache)
    os.utime(folder)
    forget_old(cache)
    return folder / PROGRAM


def put(made, folder):
    try:
        os.rename(made, folder)
    except OSError:
        if os.access(folder / PROGRAM, os.X_OK):
            return  # Another notebook of this user was quicker.
        os.rename(folder, made.parent / "half")  # Left by what nobody foresaw; goes with the scratch folder.
        os.rename(made, folder)


def fill(folder, get, about):
    folder.mkdir()
    wheel = folder / about["file"].replace("/", "_")
    with open(wheel, "w+b") as file:
        download(get, about, file)
        try:
            with zipfile.ZipFile(file) as archive:
                archive.extractall(folder, [name for name in archive.namelist() if name.startswith("potluck/bin/")])
                (folder / PROGRAM).chmod(0o755)
        except (zipfile.BadZipFile, FileNotFoundError):
            raise RuntimeError(f"{about['file']} holds no program: whoever runs the coordinator makes it anew") from None
    wheel.unlink()


def forget_old(cache):
    """Of what no other notebook has used for long; and downloads whose kernel was ended."""
    with contextlib.suppress(OSError):
        for scratch in cache.glob(".bundle-*"):
            if time.time() - scratch.stat().st_mtime > 86400:
                shutil.rmtree(scratch, ignore_errors=True)
        bundles = sorted(cache.glob("bundle-*"), key=lambda bundle: bundle.stat().st_mtime)
        for bundle in bundles[:-KEPT]:
            shutil.rmtree(bundle, ignore_errors=True)


def work(program, join, flags):
    """Runs a worker to its end and shows what it says; its exit code."""
    # In a session of its own, so that an interrupt reaches it once, from here. It leaves when this process is gone.
    environment = {**os.environ, "POTLUCK_JOIN": join, "POTLUCK_OWNER": str(os.getpid())}
    try:
        worker = subprocess.Popen(
            [str(program), "join", "--single", *flags],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise RuntimeError(
            f"{program} cannot be run here ({error.strerror}): it needs Linux on x86-64 with glibc 2.35 or newer, and "
            "a cache folder from which programs may be run (XDG_CACHE_HOME)"
        ) from None
    with worker.stdout as lines:
        while True:
            try:
                for line in lines:
                    print(line, end="", flush=True)
                return worker.wait()
            except KeyboardInterrupt:
                worker.send_signal(signal.SIGINT)


def main(get, join, flags, rules_confirmed):
    if rules_confirmed:
        flags = [*flags, "--confirm-platform-rules"]
    pauses, last = iter(PAUSES), None
    while True:
        program = unpacked(get, join)
        if program != last:  # A coordinator may be brought up to date any number of times.
            pauses, last = iter(PAUSES), program
        code = work(program, join, flags)
        pause = next(pauses, None)
        if code != OTHER_VERSION or pause is None:
            break
        say(f"the coordinator has another version by now: its program is looked for again in {pause} s")
        time.sleep(pause)
    if code == OTHER_VERSION:
        raise RuntimeError(
            "the coordinator's bundle is of another version than the coordinator: whoever runs it makes the bundle by "
            "deploy/package.sh and starts the coordinator again"
        )
    if code == RULES:
        raise RuntimeError("if you have read the rule and keep it, set RULES_CONFIRMED = True above and run the cell again")
    if code < 0:
        raise RuntimeError(f"the worker was ended by {signal.Signals(-code).name} (out of memory?): run the cell again")


if __name__ == "__main__":
    cell = globals()
    main(cell["get"], cell["join"], cell["FLAGS"], cell["RULES_CONFIRMED"])
