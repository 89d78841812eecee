"""The cell on the Python that is installed, as a user might run it where something is wrong: one sentence each.

No Jupyter is needed here; notebook_test.py runs it in one.
"""

import ast
import base64
import hashlib
import json
import os
import resource
import shutil
import ssl
import stat
import unittest

import harness
from harness import REPOSITORY, RawServer, WebServer, run_cell, with_address, without_progress

CELL_PROGRAM = REPOSITORY / "coordinator/cell.py"


def base64_url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def join_string(addresses, pin, token, *extensions):
    fragment = ".".join(["1", pin, token, *extensions]) + "."
    check = base64_url(hashlib.sha256(fragment.encode()).digest()[:3])
    return f"potluck://{addresses}#{fragment}{check}"


class Written(harness.TestCase):
    """What is written down, before it runs."""

    def test_it_is_python_39_of_fewer_than_40_lines(self):
        for flags in ([], ["--platform", "colab"], ["--platform", "kaggle"], ["--platform", "jupyter"]):
            for more in ([], ["--exit-when-idle", "600"], ["--embed-token"]):
                cell = self.coordinator.cell(*flags, *more)
                ast.parse(cell, feature_version=(3, 9))
                self.assertLess(len(cell.splitlines()), 40)
        ast.parse(CELL_PROGRAM.read_text(), feature_version=(3, 9))

    def test_the_token_is_in_it_only_if_it_is_embedded(self):
        self.assert_no_secret(self.coordinator.cell())
        file = self.scratch / "plain.ipynb"
        self.coordinator.cell("-o", file)
        self.assert_no_secret(file.read_text())
        self.assertIn(harness.secret_of(self.coordinator.join), self.coordinator.cell("--embed-token"))
        self.coordinator.cell("--embed-token", "-o", self.scratch / "secret.ipynb")
        self.assertEqual(stat.S_IMODE((self.scratch / "secret.ipynb").stat().st_mode), 0o600)

    @staticmethod
    def with_flags(cell, *flags):
        return cell.replace('", []', f'", {list(flags)}')

    def test_an_admin_embeds_a_workers_token(self):
        admin = (self.coordinator.state / "admin.join").read_text().strip()
        cell = self.coordinator.cell("--embed-token", coordinator=self.coordinator.state / "admin.join")
        self.assertNotIn(harness.secret_of(admin), cell)
        tokens = self.coordinator.ask("token", "list")["tokens"]
        made = [token for token in tokens if token["name"].startswith("notebook-")]
        self.assertTrue(made)
        self.assertEqual({token["role"] for token in made}, {"worker"})
        output = run_cell(self.with_flags(cell, "--help"), self.new_home())[1]
        self.assertIn("Usage: potluck join", output)

    def test_the_public_key_is_found_by_structure_alone(self):
        """A certificate of odd lengths or tags could show one key to TLS and another to a careless reader."""
        cell = self.coordinator.cell()
        functions = cell[cell.index("def stop") : cell.index("def get")]
        names = {}
        exec("import base64, hashlib\n" + functions, names)
        certificate, _ = self.coordinator.certificate()
        der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
        pin = self.coordinator.join.partition("#")[2].split(".")[1]

        def key(der):
            at = names["span"](der, names["span"](der, 0)[0])[0]
            for _ in range(5 + (der[at] == 0xA0)):
                at = names["span"](der, at)[1]
            return der[at : names["span"](der, at)[1]]

        self.assertEqual(base64_url(hashlib.sha256(key(der)).digest()), pin)
        # The pinned key's bytes elsewhere in a certificate of another key are of no use.
        other_certificate, _ = harness.make_certificate(self.scratch)
        other = ssl.PEM_cert_to_DER_cert(other_certificate.read_text())
        self.assertNotEqual(key(other), key(der))
        tbs = names["span"](other, 0)[0]
        begin, end = names["span"](other, tbs)
        forged = other[begin:end] + key(der)
        wrapped = b"\x30\x82" + len(forged).to_bytes(2, "big") + forged
        self.assertEqual(key(b"\x30\x82" + len(wrapped).to_bytes(2, "big") + wrapped), key(other))
        # A number whose tag is written in two bytes is one to OpenSSL: what a reader of one byte takes for its length leads
        # into it, to whatever its author put there.
        version_end = names["span"](other, begin)[1]
        rest = other[names["span"](other, version_end)[1] : end]
        number = b"\x01\x05" + b"\x30\x00" * 3 + key(der)
        number += b"\x01" * (258 - len(number))
        forged = other[begin:version_end] + b"\x1f\x02\x82\x01\x02" + number + rest
        wrapped = b"\x30\x82" + len(forged).to_bytes(2, "big") + forged
        with self.assertRaises(RuntimeError):
            key(b"\x30\x82" + len(wrapped).to_bytes(2, "big") + wrapped)
        for place in (0, tbs):
            indefinite = other[:place] + b"\x30\x80" + other[names["span"](other, place)[0] :]
            with self.assertRaises(RuntimeError):
                key(indefinite)


class BadInput(harness.TestCase):
    """Each ends with one sentence, and the token is never in it."""

    def complain(self, join, *parts, cell=None, **more):
        code, output = run_cell(cell or self.coordinator.cell(), self.new_home(), join, **more)
        self.assertEqual(code, 0, output)
        self.assert_one_sentence(without_progress(output), *parts)
        self.assert_no_secret(output)
        return output

    def test_a_join_string_cut_short(self):
        join = self.coordinator.join
        for length in (1, 9, join.index("#"), join.index("#") + 5, len(join) - 20, len(join) - 1):
            self.complain(join[:length], "cut short, mistyped or not of this cell's coordinator")

    def test_a_join_string_of_another_coordinator(self):
        other = join_string("127.0.0.1:1", base64_url(bytes(32)), "x" * 32)
        self.complain(other, "not of this cell's coordinator: copy the whole of it again")

    def test_no_join_string(self):
        output = run_cell(self.coordinator.cell(), self.new_home())[1]
        self.assertIn("potluck: set the secret POTLUCK_JOIN (EOFError", output)

    def test_an_old_token(self):
        made = self.coordinator.ask("token", "create", "--role", "worker", "--name", "old")
        self.coordinator.ask("token", "revoke", "old")
        self.complain(made["join_string"], "('old') was revoked; ask whoever runs the coordinator for a new join string")
        pin = self.coordinator.join.partition("#")[2].split(".")[1]
        unknown = join_string(f"127.0.0.1:{self.coordinator.port}", pin, "x" * 32)
        self.complain(unknown, "does not know the join string's token; ask whoever runs it for a new join string")

    def test_a_server_with_another_key_gets_nothing(self):
        portal = b"HTTP/1.1 200 OK\r\nPotluck: 9\r\nContent-Length: 2\r\n\r\n{}"
        with RawServer(portal, harness.make_certificate(self.scratch)) as server:
            self.complain(
                with_address(self.coordinator.join, server.port), "another key: a portal's, or the cell is old", "are you online"
            )
            self.assertEqual(server.received, b"")

    def test_a_plain_http_server_gets_no_token(self):
        page = b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/login\r\nContent-Length: 0\r\n\r\n"
        with RawServer(page) as server:
            self.complain(with_address(self.coordinator.join, server.port), "is it running, are you online and logged in?")
            self.assertNotIn(b"Bearer", server.received)

    def test_a_server_that_speaks_something_else(self):
        settings = b"\0\0\0\x04\0\0\0\0\0"  # With which HTTP/2 begins.
        with RawServer(settings, self.coordinator.certificate()) as server:
            self.complain(
                with_address(self.coordinator.join, server.port), "HTTP/2-only proxy install the wheel instead"
            )

    def test_a_web_server_that_is_not_ours(self):
        with WebServer(lambda path, headers: (200, {}, b"<html>hello</html>"), self.coordinator.certificate()) as server:
            self.complain(with_address(self.coordinator.join, server.port), "HTTP 200, but from no coordinator")

    def test_no_network(self):
        join = self.coordinator.join
        self.complain(with_address(join, harness.free_port()), "Connection refused", "are you online")
        nowhere = "potluck://nowhere.invalid:4242#" + join.partition("#")[2]
        self.complain(nowhere, "nowhere.invalid:4242: ", "is it running, are you online and logged in?")

    def test_no_room_on_the_disk(self):
        def small_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        self.complain(self.coordinator.join, "cannot be written into", "make room there", preparation=small_files)
        file = self.scratch / "a file"
        file.write_text("")
        self.complain(self.coordinator.join, "cannot be written into", XDG_CACHE_HOME=file)

    def test_a_coordinator_without_a_bundle(self):
        with WebServer(
            lambda path, headers: (404, {"Potluck": "0.1.0"}, b"this coordinator has no worker bundle: ...\n"),
            self.coordinator.certificate(),
        ) as server:
            self.complain(with_address(self.coordinator.join, server.port), "this coordinator has no worker bundle")


class Bundles:
    """A coordinator's web side in Python: hands out the wheels, the next one after each whole download."""

    def __init__(self, *wheels, cut=None, claimed=None, program=None):
        self.wheels = [wheel.read_bytes() for wheel in wheels]
        self.cut = cut  # The first answer ends after so many bytes.
        self.claimed = claimed  # A digest that it claims falsely.
        self.program = program or CELL_PROGRAM.read_bytes()
        self.current = 0

    def __call__(self, path, headers):
        wheel = self.wheels[min(self.current, len(self.wheels) - 1)]
        digest = self.claimed or hashlib.sha256(wheel).hexdigest()
        ours = {"Potluck": "0.1.0"}
        if path == "/bundle/cell.py":
            return 200, ours, self.program
        if path == "/bundle":
            about = {"version": "0.1.0", "file": "potluck-0.1.0.whl", "sha256": digest, "size": len(wheel)}
            return 200, ours, json.dumps(about).encode()
        begin = int(headers["Range"][len("bytes=") : -1])
        body = wheel[begin:]
        if self.cut is not None:
            cut, self.cut = self.cut, None
            return 206, {**ours, "Content-Length": str(len(body))}, body[:cut]
        self.current += 1
        return 206, ours, body


class Downloads(harness.TestCase):
    def script_wheel(self, name, text):
        return harness.make_wheel(self.scratch / name, "#!/bin/sh\n" + text)

    def run_with(self, bundles, home=None, cell=None, join=None):
        with WebServer(bundles, self.coordinator.certificate()) as server:
            join = with_address(join or self.coordinator.join, server.port)
            output = run_cell(cell or self.coordinator.cell(), home or self.new_home(), join)[1]
            self.assert_no_secret(output)
            return output, server.requests

    def test_the_program_gets_the_join_string_and_the_flags(self):
        wheel = self.script_wheel("echo", 'echo "$@"; echo "${POTLUCK_JOIN#*#}" > "$HOME/got"; echo "$POTLUCK_OWNER" >&2\n')
        home = self.new_home()
        cell = self.coordinator.cell("--exit-when-idle", "7").replace("RULES_CONFIRMED = False", "RULES_CONFIRMED = True")
        output, _ = self.run_with(Bundles(wheel), home, cell)
        self.assertIn("join --single --exit-when-idle 7 --confirm-platform-rules\n", output)
        self.assertEqual((home / "got").read_text().strip(), self.coordinator.join.partition("#")[2])

    def test_what_was_downloaded_is_kept_and_used_again(self):
        wheel = self.script_wheel("kept", "echo worked\n")
        home = self.new_home()
        first, requests = self.run_with(Bundles(wheel), home)
        self.assertIn("downloading potluck-0.1.0.whl", first)
        folder = home / ".cache/potluck" / ("bundle-" + hashlib.sha256(wheel.read_bytes()).hexdigest())
        self.assertTrue(os.access(folder / "potluck/bin/potluck", os.X_OK))
        self.assertEqual([path.name for path in folder.parent.iterdir()], [folder.name])
        second, requests = self.run_with(Bundles(wheel), home)
        self.assertEqual(second, "worked\n")
        self.assertEqual([path for path, _ in requests], ["/bundle/cell.py", "/bundle"])

    def test_a_download_that_breaks_off_goes_on_where_it_was(self):
        wheel = self.script_wheel("cut", f"# {os.urandom(200_000).hex()}\necho worked\n")
        output, requests = self.run_with(Bundles(wheel, cut=100_000))
        self.assertIn("the download broke off at", output)
        self.assertTrue(output.endswith("worked\n"), output)
        self.assertEqual([headers["Range"] for _, headers in requests[2:]], ["bytes=0-", "bytes=100000-"])

    def test_a_bundle_with_another_digest_is_not_run(self):
        wheel = self.script_wheel("other", "echo worked\n")
        home = self.new_home()
        output, _ = self.run_with(Bundles(wheel, claimed="0" * 64), home)
        self.assert_one_sentence(without_progress(output), "arrived with another SHA-256 than was announced")
        self.assertEqual(list((home / ".cache/potluck").iterdir()), [])

    def test_another_version_is_fetched_when_the_worker_says_so(self):
        old = self.script_wheel("old", "echo old; exit 4\n")
        new = self.script_wheel("new", "echo new\n")
        output, _ = self.run_with(Bundles(old, new))
        self.assertIn("old\npotluck: the coordinator has another version by now", output)
        self.assertTrue(output.endswith("new\n"), output)

    def test_how_the_worker_ended_is_said(self):
        rules = self.script_wheel("rules", 'echo "potluck: the rule"; exit 6\n')
        output, _ = self.run_with(Bundles(rules))
        self.assertTrue(output.endswith("set RULES_CONFIRMED = True above and run the cell again\n"), output)
        killed = self.script_wheel("killed", "kill -9 $$\n")
        self.assert_one_sentence(without_progress(self.run_with(Bundles(killed))[0]), "ended by SIGKILL (out of memory?)")
        alien = harness.make_wheel(self.scratch / "alien", "\x7fELF of another machine")
        self.assert_one_sentence(without_progress(self.run_with(Bundles(alien))[0]), "it needs Linux on x86-64")
        empty = self.scratch / "empty.whl"
        empty.write_bytes(b"no zip")
        self.assert_one_sentence(without_progress(self.run_with(Bundles(empty))[0]), "holds no program")

    def test_the_next_address_is_tried(self):
        wheel = self.script_wheel("next", "echo worked\n")
        with WebServer(Bundles(wheel), self.coordinator.certificate()) as server:
            join = with_address(self.coordinator.join, harness.free_port(), server.port)
            output = run_cell(self.coordinator.cell(), self.new_home(), join)[1]
        self.assertTrue(output.endswith("worked\n"), output)

    def test_the_secrets_of_colab_and_kaggle_are_read(self):
        wheel = self.script_wheel("secret", "echo worked\n")
        for module, text in (
            ("google/colab/userdata.py", "def get(name): return __import__('os').environ['HIDDEN'] if name == 'POTLUCK_JOIN' else 1"),
            ("kaggle_secrets.py", "class UserSecretsClient:\n def get_secret(self, name): return __import__('os').environ['HIDDEN']"),
        ):
            home = self.new_home()
            (home / "modules" / module).parent.mkdir(parents=True)
            (home / "modules" / module).write_text(text)
            with WebServer(Bundles(wheel), self.coordinator.certificate()) as server:
                join = with_address(self.coordinator.join, server.port)
                output = run_cell(self.coordinator.cell(), home, None, HIDDEN=join, PYTHONPATH=home / "modules")[1]
            self.assertTrue(output.endswith("worked\n"), output)

    # ---- Without a pinned key: TLS ends at somebody else's, whose certificate the system trusts.

    def unpinned(self, wheel, bundles, trusted=True):
        certificate = harness.make_certificate(self.scratch)
        with WebServer(bundles, certificate) as server:
            vouched = "bundle~" + base64_url(hashlib.sha256(wheel.read_bytes()).digest())
            join = join_string(f"127.0.0.1:{server.port}", "", "x" * 32, vouched)
            home = self.new_home()
            (home / "given.join").write_text(join)
            cell = self.coordinator.cell(coordinator=home / "given.join")
            roots = {"SSL_CERT_FILE": certificate[0]} if trusted else {}
            output = run_cell(cell, home, join, **roots)[1]
            self.assertNotIn("x" * 32, output)
            return output, server.requests

    def test_without_a_key_the_join_string_vouches_for_the_bundle(self):
        wheel = self.script_wheel("vouched", "echo worked\n")
        other = self.script_wheel("swapped", "echo swapped\n")
        output, _ = self.unpinned(wheel, Bundles(wheel))
        self.assertTrue(output.endswith("worked\n"), output)
        output, _ = self.unpinned(wheel, Bundles(other))
        self.assert_one_sentence(output, "is not the one that the join string names")
        output, _ = self.unpinned(wheel, Bundles(wheel, program=CELL_PROGRAM.read_bytes() + b"\nprint('swapped')\n"))
        self.assert_one_sentence(output, "this cell is out of date: make it anew")

    def test_without_a_key_a_portal_is_no_coordinator(self):
        wheel = self.script_wheel("portal", "echo worked\n")
        page = (200, {"Content-Type": "text/html"}, b"<html>log in</html>")
        output, _ = self.unpinned(wheel, lambda path, headers: page)
        self.assert_one_sentence(output, "HTTP 200, but from no coordinator", "install the wheel instead")
        output, requests = self.unpinned(wheel, lambda path, headers: page, trusted=False)
        self.assert_one_sentence(output, "certificate verify failed", "are you online and logged in?")
        self.assertEqual(requests, [])


class ServingBundles(harness.TestCase):
    """Where `potluck serve` finds the wheel."""

    def alone(self):
        """A copy of the program with nothing beside it, in no checkout."""
        folder = self.new_home() / "deep/down/here"
        folder.mkdir(parents=True)
        shutil.copy2(harness.PROGRAM, folder / "potluck")
        return folder

    def serve(self, folder, *flags):
        coordinator = harness.Coordinator(self.new_home(), program=folder / "potluck", flags=flags)
        self.addCleanup(coordinator.stop)
        return coordinator.start()

    def test_without_one_it_starts_and_says_so_once(self):
        coordinator = self.serve(self.alone())
        output = run_cell(coordinator.cell(), self.new_home(), coordinator.join)[1]
        self.assert_one_sentence(output, "this coordinator has no worker bundle: whoever runs it makes one")
        coordinator.stop()
        self.assertEqual(coordinator.log.read_text().count("there is no worker bundle for notebooks"), 1)

    def test_the_one_beside_the_program_is_found(self):
        folder = self.alone()
        harness.make_wheel(folder, "#!/bin/sh\necho worked\n")
        coordinator = self.serve(folder)
        output = run_cell(coordinator.cell(), self.new_home(), coordinator.join)[1]
        self.assertTrue(output.endswith("worked\n"), output)

    def test_a_named_folder_without_exactly_one_is_refused(self):
        folder = self.new_home()
        arguments = ("serve", "--state", folder / "state", "--listen", "127.0.0.1:0", "--bundle", folder)
        refused = harness.potluck(self.new_home(), *arguments, check=False)
        self.assertEqual(refused.returncode, 2)
        self.assert_one_sentence(refused.stderr, "holds no wheel; it must hold one")
        wheel = harness.make_wheel(folder, "x")
        shutil.copy(wheel, folder / "potluck-9.9.9-py3-none-any.whl")
        refused = harness.potluck(self.new_home(), *arguments, check=False)
        self.assertEqual(refused.returncode, 2)
        self.assert_one_sentence(refused.stderr, "holds 2 wheels (", "potluck-9.9.9-py3-none-any.whl")
        self.assertFalse((folder / "state").exists())


class RealCoordinator(harness.TestCase):
    def test_the_cell_works_and_leaves_when_idle(self):
        client = self.coordinator.count(14)
        code, output = run_cell(self.coordinator.cell("--exit-when-idle", "2"), self.new_home(), self.coordinator.join)
        self.assertEqual(code, 0, output)
        self.assertEqual(json.loads(client.communicate(timeout=harness.PATIENCE)[0])["solutions"], "365596", output)
        self.assert_no_secret(output)

    def test_a_platform_that_restricts_asks_for_confirmation(self):
        home = self.new_home()
        cell = self.coordinator.cell("--platform", "colab", "--exit-when-idle", "1")
        output = run_cell(cell, home, self.coordinator.join, COLAB_RELEASE_TAG="release")[1]
        self.assertIn("running distributed computing workers", output)
        self.assertTrue(output.endswith("set RULES_CONFIRMED = True above and run the cell again\n"), output)
        confirmed = cell.replace("RULES_CONFIRMED = False", "RULES_CONFIRMED = True")
        output = run_cell(confirmed, home, self.coordinator.join, COLAB_RELEASE_TAG="release")[1]
        self.assertIn("running distributed computing workers", output)
        self.assertNotIn("RULES_CONFIRMED", output)


if __name__ == "__main__":
    unittest.main()
