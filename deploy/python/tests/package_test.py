"""The Python package against a program that stands in for `potluck` (fake_potluck.py). Run by ctest."""

import contextlib
import dataclasses
import datetime
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import types
import unittest
from pathlib import Path
from unittest import mock

import potluck
from potluck import _binary, _bundle, _display, _main, _process

HERE = Path(__file__).resolve().parent


class PackageTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        program = self.folder / "potluck"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "fake_potluck.py"} "$@"\n')
        program.chmod(0o755)
        environment = {"POTLUCK_BINARY": str(program), "FAKE_POTLUCK_LOG": str(self.folder / "log")}
        patch = mock.patch.dict(os.environ, environment)
        patch.start()
        self.addCleanup(patch.stop)
        for name in ("POTLUCK_JOIN", "FAKE_POTLUCK"):
            os.environ.pop(name, None)

    def behave(self, how):
        os.environ["FAKE_POTLUCK"] = how

    def calls(self):
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]


class NQueensTest(PackageTest):
    def test_the_result_has_types_and_unknown_fields_are_left_out(self):
        result = potluck.nqueens(8, progress=False)
        self.assertEqual((result.n, result.solutions, result.nodes, result.unique), (8, 92, 2056, 12))
        self.assertEqual(result.checksum, 2**64 - 1)
        self.assertIs(result.verified, True)
        self.assertEqual(result.contributions[0].worker, "local-1")
        with self.assertRaises(dataclasses.FrozenInstanceError):
            result.n = 9

    def test_options_become_flags(self):
        potluck.nqueens(8, algorithm="backtracking", local_workers=2, verify=0.5, nodes=True, name=None, progress=False)
        expected = [
            "nqueens",
            "8",
            "--algorithm=backtracking",
            "--local-workers=2",
            "--verify=0.5",
            "--nodes",
            "--json",
        ]
        self.assertEqual(self.calls()[0]["args"], expected)

    def test_a_join_string_travels_by_standard_input_and_never_as_an_argument(self):
        potluck.nqueens(8, coordinator=" potluck://host:1#secret\n", progress=False)
        call = self.calls()[0]
        self.assertEqual(call["stdin"], "potluck://host:1#secret\n")
        self.assertEqual(call["args"], ["nqueens", "8", "--coordinator=-", "--json"])

    def test_a_file_that_holds_one_is_named(self):
        potluck.nqueens(8, coordinator=Path("admin.join"), progress=False)
        call = self.calls()[0]
        self.assertEqual((call["args"][2], call["stdin"]), ("--coordinator=admin.join", ""))

    def test_a_join_string_among_the_options_is_refused_without_showing_it(self):
        with self.assertRaises(potluck.PotluckError) as caught:
            potluck.nqueens(8, certificate="potluck://host:1#secret", progress=False)
        self.assertIn("certificate holds a join string", str(caught.exception))
        self.assertNotIn("#secret", str(caught.exception))

    def test_a_coordinator_that_is_standard_input_or_empty_is_refused(self):
        for text in ("-", ""):
            with self.assertRaisesRegex(potluck.PotluckError, "allowed is a join string"):
                potluck.nqueens(8, coordinator=text, progress=False)

    def test_a_failure_is_the_last_sentence_and_the_exit_code(self):
        self.behave("fail")
        with self.assertRaises(potluck.PotluckError) as caught:
            potluck.nqueens(99, progress=False)
        self.assertEqual(str(caught.exception), "N is 99; allowed is a whole number from 1 to 32")
        self.assertEqual(caught.exception.code, 2)

    def test_a_program_that_was_killed_is_told(self):
        self.behave("killed")
        with self.assertRaisesRegex(potluck.PotluckError, "ended by signal 9"):
            potluck.nqueens(8, progress=False)

    def test_what_is_no_json_is_told(self):
        self.behave("garbage")
        with self.assertRaisesRegex(potluck.PotluckError, "wrote no JSON object"):
            potluck.nqueens(8, progress=False)

    def test_progress_comes_line_by_line(self):
        self.behave("progress")
        lines = []
        potluck.nqueens(8, progress=lines.append)
        self.assertEqual(lines, ["1 % done", "50 % done", "potluck: half of it", "99 % done"])

    def test_an_interrupt_is_handed_on_and_waits_for_the_program_to_leave(self):
        self.behave("wait")
        lines = []

        def line(text):
            lines.append(text)
            if text == "potluck: running":
                signal.raise_signal(signal.SIGINT)

        with self.assertRaises(KeyboardInterrupt):
            potluck.nqueens(8, progress=line)
        self.assertEqual(lines, ["potluck: running", "potluck: left at signal 2"])

    def test_it_works_in_a_thread_and_after_a_fork(self):
        results = []
        thread = threading.Thread(target=lambda: results.append(potluck.nqueens(8, progress=False)))
        thread.start()
        thread.join()
        self.assertEqual(results[0].solutions, 92)
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                code = 0 if potluck.nqueens(8, progress=False).solutions == 92 else 2
            os._exit(code)
        self.assertEqual(os.waitpid(child, 0)[1], 0)


class TrainTest(PackageTest):
    def test_the_result_has_types(self):
        result = potluck.train("mnist-cnn", "images", output=self.folder / "run", epochs=1, progress=False)
        self.assertEqual(result.test_accuracy, 0.98)
        self.assertIsNone(result.test_loss)
        self.assertEqual(result.history[0].epoch, 1)
        self.assertEqual(result.files, ("model.safetensors",))
        expected = ["train", "mnist-cnn", "--data=images", f"--out={self.folder}/run", "--epochs=1", "--json"]
        self.assertEqual(self.calls()[0]["args"], expected)

    def test_a_span_of_time_is_an_option(self):
        potluck.train("m", "d", time_limit=datetime.timedelta(minutes=2), overwrite=True, progress=False)
        self.assertEqual(self.calls()[0]["args"][3:5], ["--time-limit=120s", "--overwrite"])

    def test_a_model_that_looks_like_a_flag_is_refused(self):
        with self.assertRaisesRegex(potluck.PotluckError, 'model is "--plan"; allowed is a name or a path'):
            potluck.train("--plan", "d", progress=False)


class JoinTest(PackageTest):
    def test_the_join_string_travels_by_the_environment(self):
        potluck.join("potluck://host:1#secret", exit_when_idle=5, confirm_platform_rules=True, progress=False)
        call = self.calls()[0]
        self.assertEqual(call["args"], ["join", "--exit-when-idle=5", "--confirm-platform-rules"])
        self.assertEqual(call["environment"]["POTLUCK_JOIN"], "potluck://host:1#secret")
        self.assertEqual(call["environment"]["POTLUCK_OWNER"], str(os.getpid()))

    def test_a_worker_that_leaves_after_an_interrupt_is_no_error(self):
        self.behave("drain")
        potluck.join("x.join", progress=lambda text: text.endswith("running") and signal.raise_signal(signal.SIGINT))

    def test_a_worker_that_was_stopped_at_once_is_an_interrupt(self):
        self.behave("wait")
        with self.assertRaises(KeyboardInterrupt):
            potluck.join(
                "x.join", progress=lambda text: text.endswith("running") and signal.raise_signal(signal.SIGINT)
            )


class ServeTest(PackageTest):
    def test_the_handle_has_both_secrets_and_stops_the_program(self):
        with potluck.serve(lease=30) as table:
            state = table.state
            self.assertEqual(table.join_string, "potluck://127.0.0.1:1#secret")
            self.assertEqual(Path(table.admin_join).read_text(), "potluck://127.0.0.1:1#admin.join")
            self.assertNotIn("secret", repr(table))
            self.assertTrue(table.running)
            potluck.nqueens(8, coordinator=table, progress=False)
            potluck.join(table, progress=False)
        self.assertFalse(table.running)
        self.assertFalse(state.exists())
        self.assertIn("potluck: left at signal 15", table.log)
        serve, nqueens, join = self.calls()
        self.assertEqual(serve["args"], ["serve", f"--state={state}", "--listen=127.0.0.1:0", "--lease=30"])
        self.assertEqual(nqueens["args"][2], f"--coordinator={table.admin_join}")
        self.assertEqual(join["environment"]["POTLUCK_JOIN"], table.worker_join)

    def test_a_state_folder_of_ones_own_stays(self):
        table = potluck.serve(self.folder)
        table.stop()
        table.stop()
        self.assertTrue((self.folder / "admin.join").exists())

    def test_a_coordinator_that_does_not_start_is_an_error(self):
        self.behave("fail")
        with self.assertRaises(potluck.PotluckError) as caught:
            potluck.serve()
        self.assertEqual(caught.exception.code, 2)

    def test_a_coordinator_ends_with_the_interpreter(self):
        code = "import potluck; t = potluck.serve(); print(t._command.process.pid)"
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True, timeout=60
        )
        with self.assertRaises(ProcessLookupError):
            os.kill(int(done.stdout), 0)


class BinaryTest(PackageTest):
    def test_the_version_is_the_programs(self):
        self.assertEqual(potluck.version(), "1.2.3")
        self.assertEqual(potluck.__version__, "1.2.3")

    def test_without_a_program_the_sentence_says_what_to_do(self):
        del os.environ["POTLUCK_BINARY"]
        with self.assertRaisesRegex(potluck.PotluckError, "there is no program at .*; install Potluck's wheel"):
            potluck.version()
        os.environ["POTLUCK_BINARY"] = "/nowhere/potluck"
        with self.assertRaisesRegex(potluck.PotluckError, "POTLUCK_BINARY is /nowhere/potluck, where there is no file"):
            potluck.version()

    def test_a_program_that_is_not_executable_is_made_so(self):
        path = Path(os.environ["POTLUCK_BINARY"])
        path.chmod(0o644)
        self.assertEqual(potluck.program(), str(path))
        self.assertTrue(path.stat().st_mode & stat.S_IXUSR)

    def test_a_program_of_another_kind_is_told(self):
        path = self.folder / "not-a-program"
        path.write_bytes(b"\x00\x01")
        path.chmod(0o755)
        os.environ["POTLUCK_BINARY"] = str(path)
        with self.assertRaisesRegex(potluck.PotluckError, "cannot be started: Exec format error"):
            potluck.version()

    def test_the_loaders_refusal_is_recognised(self):
        self.behave("loader")
        with self.assertRaisesRegex(potluck.PotluckError, r"needs glibc 2\.35 or later, and this system has"):
            potluck.nqueens(8, progress=False)

    def test_a_library_that_is_missing_is_recognised(self):
        output = "potluck: error while loading shared libraries: libgcc_s.so.1: cannot open shared object file"
        self.assertIn("the library libgcc_s.so.1 is missing", _binary.loader_sentence(output))
        self.assertIsNone(_binary.loader_sentence("potluck: N is 99"))


class MachineTest(unittest.TestCase):
    def check(self, system="Linux", machine="x86_64", glibc="glibc 2.36"):
        with (
            mock.patch.object(_binary, "packaged", return_value=Path("/p")),
            mock.patch("platform.system", return_value=system),
            mock.patch("platform.machine", return_value=machine),
            mock.patch("os.confstr", return_value=glibc),
        ):
            _binary.check_machine()

    def test_machines_that_can_run_it_pass(self):
        self.check()
        self.check(glibc="glibc 2.35")

    def test_an_old_glibc_is_told_with_its_version(self):
        with self.assertRaisesRegex(
            potluck.PotluckError, r"needs glibc 2\.35 or later, and this system has 2\.31; build"
        ):
            self.check(glibc="glibc 2.31")

    def test_another_c_library_is_told(self):
        with self.assertRaisesRegex(potluck.PotluckError, "another C library"):
            self.check(glibc=None)

    def test_other_machines_and_systems_are_told(self):
        with self.assertRaisesRegex(potluck.PotluckError, "for Linux on x86_64, and this machine is Linux on aarch64"):
            self.check(machine="aarch64")
        with self.assertRaisesRegex(potluck.PotluckError, "on Windows use WSL2"):
            self.check(system="Windows", machine="AMD64")

    def test_import_says_the_same(self):
        code = (
            "import os, pathlib; os.confstr = lambda name: 'glibc 2.31'\n"
            "is_file = pathlib.Path.is_file\n"
            "pathlib.Path.is_file = lambda path: path.name == 'potluck' or is_file(path)\n"
            "import potluck\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True, timeout=60
        )
        last = done.stderr.splitlines()[-1]
        self.assertRegex(
            last, r"^ImportError: this package's program needs glibc 2\.35 or later, and this system has 2\.31"
        )


class DisplayTest(unittest.TestCase):
    def test_a_notebook_shows_what_was_said_and_the_newest_progress_in_one_place(self):
        shown = []
        handle = types.SimpleNamespace(update=lambda bundle, raw: shown.append(bundle["text/plain"]))

        def display(bundle, raw, display_id):
            shown.append(bundle["text/plain"])
            return handle

        notebook = _display._Notebook(display)
        for line in ("1 % done", "potluck: a worker joined", "2 % done"):
            notebook.line(line)
        notebook.close()
        self.assertEqual(
            shown, ["1 % done", "a worker joined\n1 % done", "a worker joined\n2 % done", "a worker joined"]
        )

    def test_a_terminal_writes_progress_over_and_takes_it_away(self):
        with mock.patch("sys.stderr", io.StringIO()) as errors:
            terminal = _display._Terminal()
            terminal.line("1 % done")
            terminal.line("potluck: a worker joined")
            terminal.line("2 % done")
            terminal.close()
        self.assertEqual(
            errors.getvalue(), "\r1 % done\x1b[K\rpotluck: a worker joined\x1b[K\n\r2 % done\x1b[K\r\x1b[K"
        )

    def test_elsewhere_progress_is_rare_and_what_is_said_is_all_there(self):
        with (
            mock.patch("sys.stderr", io.StringIO()) as errors,
            mock.patch("time.monotonic", side_effect=[0, 1, 3, 4, 9]),
        ):
            plain = _display._Plain()
            for line in ("1 %", "2 %", "potluck: said", "9 %"):
                plain.line(line)
        self.assertEqual(errors.getvalue(), "2 %\npotluck: said\n9 %\n")

    def test_a_line_that_comes_in_pieces_is_one(self):
        lines = []
        cutter = _process._Lines(lines.append)
        for piece in (b"50 \xc3", b"\xa4 done\x1b", b"[K\rpot", b"luck: x\nrest"):
            cutter.feed(piece)
        cutter.finish()
        self.assertEqual(lines, ["50 \u00e4 done", "potluck: x", "rest"])


class ConsoleTest(unittest.TestCase):
    def test_serve_is_told_where_the_bundle_lies_unless_it_is_given(self):
        with mock.patch.object(_bundle, "folder", return_value="/cache/x"):
            self.assertEqual(
                _main._with_bundle(["serve", "--state", "s"]), ["serve", "--state", "s", "--bundle=/cache/x"]
            )
            for args in (
                ["serve", "--bundle", "d"],
                ["serve", "--bundle=d"],
                ["serve", "--help"],
                ["nqueens", "8"],
                [],
            ):
                self.assertEqual(_main._with_bundle(args), args)
        with mock.patch.object(_bundle, "folder", return_value=None):
            self.assertEqual(_main._with_bundle(["serve"]), ["serve"])

    def test_the_script_becomes_the_program_or_says_why_not(self):
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "POTLUCK_BINARY": "/bin/echo"}
        command = [sys.executable, "-m", "potluck", "a", "b c"]
        self.assertEqual(subprocess.run(command, env=environment, stdout=subprocess.PIPE).stdout, b"a b c\n")
        environment["POTLUCK_BINARY"] = "/nowhere"
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(
            done.stderr,
            b"potluck: POTLUCK_BINARY is /nowhere, where there is no file; allowed is the path of a program potluck\n",
        )


if __name__ == "__main__":
    unittest.main()
