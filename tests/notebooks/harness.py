"""What the notebooks' tests stand on: a coordinator of the real program on loopback, and servers that are none.

Everything is in a folder of the test's own, and gone after it. Processes are ended by their ids. What takes too long
fails the test and says what was waited for. The program is that of POTLUCK_BINARY; the bundle is the wheel that
deploy/package.sh made, if it is newer than the program, else a stand-in made of the program and its plug-ins.
"""

import contextlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zipfile

SKIPPED = 77  # What ctest counts as skipped.
PATIENCE = 120  # Seconds; two cores that much else runs on.
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("POTLUCK_BINARY", REPOSITORY / "build/release/potluck"))


def wait_until(what, condition, timeout=PATIENCE):
    """The first true value of `condition`."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s for this: {what}")
        time.sleep(0.02)


def environment(home, **more):
    """Nothing is inherited but what a program needs to start."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "HOME": str(home), "LC_ALL": "C.UTF-8", **{name: str(value) for name, value in more.items()}}


def potluck(home, *arguments, check=True):
    ended = subprocess.run([PROGRAM, *arguments], env=environment(home), capture_output=True, text=True, timeout=PATIENCE)
    if check and ended.returncode != 0:
        raise AssertionError(f"potluck {arguments[0]} ended with {ended.returncode}: {ended.stderr}")
    return ended


def make_wheel(folder, program=None):
    """A stand-in for deploy/package.sh's: the layout of the bundle. `program`: text of a script to be the program."""
    version = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"potluck-{version}-py3-none-manylinux_2_35_x86_64.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("potluck/__init__.py", "")
        if program is not None:
            archive.writestr("potluck/bin/potluck", program)
            return wheel
        archive.write(PROGRAM, "potluck/bin/potluck")
        for library in [*PROGRAM.parent.glob("libpotluck_*.so"), *REPOSITORY.glob("build/python-onednn/lib/libdnnl.so.3")]:
            archive.write(library, f"potluck/bin/{library.name}")
    return wheel


def bundle_folder(scratch):
    """A folder with the one wheel to hand out."""
    made = sorted((REPOSITORY / "dist").glob("potluck-*.whl"))
    if len(made) == 1 and made[0].stat().st_mtime >= PROGRAM.stat().st_mtime:
        return made[0].parent
    print("the bundle is one of the ordinary program: dist/ has none of this build", file=sys.stderr)
    return make_wheel(pathlib.Path(scratch) / "bundle").parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def programs_in(folder):
    """The ids of the processes `potluck join` whose program lies below `folder`."""
    found = []
    for process in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and str((process / "exe").readlink()).startswith(str(folder) + "/"):
                if (process / "cmdline").read_bytes().split(b"\0")[1:2] == [b"join"]:
                    found.append(int(process.name))
    return found


class Coordinator:
    """`potluck serve`, always on the same port and with the same state."""

    def __init__(self, scratch, bundle=None, flags=(), program=PROGRAM):
        self.program = program
        self.scratch = pathlib.Path(scratch)
        self.state = self.scratch / "state"
        self.port = free_port()
        self.bundle = bundle
        self.flags = flags
        self.process = None
        self.log = self.scratch / "serve.log"

    def start(self):
        command = [self.program, "serve", "--state", self.state, "--listen", f"127.0.0.1:{self.port}", *self.flags]
        if self.bundle is not None:
            command += ["--bundle", self.bundle]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, env=environment(self.scratch), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        line = self.process.stdout.readline().decode().strip()
        if not line:
            raise AssertionError(f"potluck serve did not start: {self.log.read_text()}")
        return self

    def kill(self):
        self.process.kill()
        self._ended()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
            self._ended()

    def _ended(self):
        self.process.wait()
        self.process.stdout.close()

    @property
    def join(self):
        return (self.state / "worker.join").read_text().strip()

    def ask(self, *arguments):
        """A command's JSON."""
        return json.loads(potluck(self.scratch, *arguments, "--coordinator", self.state / "admin.join", "--json").stdout)

    def cell(self, *flags, coordinator=None):
        return potluck(self.scratch, "notebook", "--coordinator", coordinator or self.state / "worker.join", *flags).stdout

    def workers(self):
        return self.ask("workers", "list")["workers"]

    def count(self, n, *flags):
        """A client that counts queens, with its pipes."""
        return subprocess.Popen(
            [PROGRAM, "nqueens", str(n), "--coordinator", self.state / "admin.join", "--json", *flags],
            env=environment(self.scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def certificate(self):
        """A key and a certificate that a join string's pin fits: whoever has them can pose as the coordinator."""
        return self.state / "certificate.pem", self.state / "key.pem"


class TestCase(unittest.TestCase):
    """With a scratch folder, and a coordinator that starts with the first test and ends with the last."""

    @classmethod
    def setUpClass(cls):
        cls.scratch = pathlib.Path(tempfile.mkdtemp(prefix="potluck-notebooks-"))
        cls.addClassCleanup(shutil.rmtree, cls.scratch, True)
        cls.coordinator = Coordinator(cls.scratch, bundle_folder(cls.scratch))
        cls.addClassCleanup(cls.coordinator.stop)
        cls.coordinator.start()

    def new_home(self):
        return pathlib.Path(tempfile.mkdtemp(prefix="home-", dir=self.scratch))

    def assert_one_sentence(self, text, *parts):
        lines = text.strip().splitlines()
        self.assertEqual(len(lines), 1, text)
        self.assertTrue(lines[0].startswith("potluck: "), text)
        for part in parts:
            self.assertIn(part, lines[0])

    def assert_no_secret(self, text, join=None):
        token = (join or self.coordinator.join).partition("#")[2].split(".")[2]
        self.assertNotIn(token, text)


def secret_of(join):
    return join.partition("#")[2].split(".")[2]


def with_address(join, *ports):
    """The same join string with other addresses, which may be edited by hand."""
    return "potluck://" + ",".join(f"127.0.0.1:{port}" for port in ports) + "#" + join.partition("#")[2]


class RawServer:
    """Answers every connection with `answer` bytes, over TLS if there is a certificate; keeps what it was sent."""

    def __init__(self, answer, certificate=None):
        self.answer, self.received = answer, b""
        self.context = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                connection.settimeout(20)
                with contextlib.suppress(OSError), connection:
                    if self.context is not None:
                        connection = self.context.wrap_socket(connection, server_side=True)
                    with connection:
                        self.received += connection.recv(65536)
                        connection.sendall(self.answer)


class WebServer:
    """An HTTPS server; `route(path, headers)` gives (status, headers, body) or a function that writes the answer."""

    def __init__(self, route, certificate):
        owner = self
        self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                owner.requests.append((self.path, dict(self.headers)))
                status, headers, body = route(self.path, self.headers)
                # A body that is shorter than it says: the connection is closed after it.
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True

            def log_message(self, *_):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def make_certificate(folder, name="127.0.0.1"):
    """A self-signed certificate and its key."""
    certificate, key = pathlib.Path(folder) / f"{name}.pem", pathlib.Path(folder) / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", key, "-out", certificate, "-subj", "/CN=portal", "-addext", f"subjectAltName=IP:{name}"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def run_cell(cell, home, join=None, timeout=PATIENCE, **more):
    """Runs the cell's code on this Python as a script; (exit code, all it wrote)."""
    script = pathlib.Path(home) / "cell.py"
    script.write_text(cell)
    variables = {} if join is None else {"POTLUCK_JOIN": join}
    preparation = more.pop("preparation", None)
    ended = subprocess.run(
        [sys.executable, script],
        env=environment(home, **variables, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        preexec_fn=preparation,
    )
    return ended.returncode, ended.stdout


def without_progress(output):
    """What the cell said but for the lines that tell of the download."""
    return re.sub(r"potluck: downloading [^\n]*\n", "", output)
