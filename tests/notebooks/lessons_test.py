"""The lessons of deploy/notebooks/: what is committed, and each executed from begin to end with the real program.

    POTLUCK_BINARY=build/release/potluck python3 tests/notebooks/lessons_test.py [TEST...]

What executes them is in build/python-notebooks, which deploy/setup.sh --ci makes. Lessons run in small sizes (POTLUCK_LESSON=quick), on loopback, in folders of their own. POTLUCK_KEEP=DIR keeps the
executed notebooks there, to look at.
"""

import ast
import base64
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "deploy" / "notebooks"
PLATFORMS = ("colab", "kaggle", "jupyter")  # Of worker_*.ipynb.
LESSONS = ("lesson_1_nqueens", "lesson_2_cnn", "lesson_3_availability")
CELL_SECONDS = 300  # A guard against hanging, not a measurement.
LARGEST = 200_000  # Bytes of a committed notebook.

try:
    import nbclient
    import nbformat
except ImportError:
    nbclient = nbformat = None
    python = ROOT / "build" / "python-notebooks" / "bin" / "python"
    if python.is_file() and Path(sys.executable) != python:
        os.execv(python, [str(python), *sys.argv])


def texts(notebook):
    """All that a person reads in the outputs; pictures are left out."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            yield output.get("text", "")
            for kind, content in output.get("data", {}).items():
                if kind.startswith("text/"):
                    yield content


def pictures(notebook):
    return sum(
        "image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())
    )


class CommittedTest(unittest.TestCase):
    """Without any tool: what lies in the repository."""

    def each_notebook(self, check):
        found = sorted(NOTEBOOKS.glob("*.ipynb"))
        self.assertTrue(found)
        for path in found:
            with self.subTest(path.name):
                check(path, json.loads(path.read_text()))

    def test_every_lesson_is_there(self):
        for name in LESSONS:
            self.assertTrue((NOTEBOOKS / f"{name}.ipynb").is_file(), name)

    def test_notebooks_hold_no_outputs_and_are_small(self):
        def check(path, notebook):
            self.assertLess(path.stat().st_size, LARGEST)
            for cell in notebook["cells"]:
                self.assertFalse(cell.get("outputs"), cell.get("id"))
                self.assertIsNone(cell.get("execution_count"), cell.get("id"))

        self.each_notebook(check)

    def test_cells_have_names_that_stay(self):
        def check(path, notebook):
            self.assertEqual((notebook["nbformat"], notebook["nbformat_minor"]), (4, 5))
            names = [cell["id"] for cell in notebook["cells"]]
            self.assertEqual(len(names), len(set(names)))
            if path.stem in LESSONS:
                for name in names:
                    self.assertRegex(name, rf"^l{LESSONS.index(path.stem) + 1}-[a-z0-9-]+$")

        self.each_notebook(check)

    def test_code_is_python_3_9(self):
        def check(_, notebook):
            for cell in notebook["cells"]:
                if cell["cell_type"] == "code":
                    ast.parse("".join(cell["source"]), feature_version=(3, 9))

        self.each_notebook(check)

    def test_every_question_of_a_lesson_has_an_answer_and_a_place(self):
        for name in LESSONS:
            notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())
            text = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
            questions = re.findall(r"\*\*Question (\d+)\.\*\*", text)
            answers = re.findall(r"<details><summary><b>(\d+)\. ", text)
            self.assertEqual(questions, [str(i + 1) for i in range(len(questions))], name)
            self.assertEqual(answers, questions, name)
            self.assertGreaterEqual(len(questions), 10, name)
            self.assertEqual(text.count("<details>"), text.count("</details>"), name)
            for part in ("**Goal.**", "**You need**", "**Time.**"):
                self.assertIn(part, text, name)

    def test_every_worker_notebook_is_there(self):
        for platform in PLATFORMS:
            self.assertTrue((NOTEBOOKS / f"worker_{platform}.ipynb").is_file(), platform)

    def test_no_notebook_holds_a_secret(self):
        def check(_, notebook):
            for cell in notebook["cells"]:
                self.assertNotRegex("".join(cell["source"]), r"potluck://[^'\"\s]*#\d")

        self.each_notebook(check)


@unittest.skipIf(nbclient is None, "nbclient is not installed: deploy/setup.sh --ci makes build/python-notebooks")
@unittest.skipIf(not os.environ.get("POTLUCK_BINARY"), "POTLUCK_BINARY does not name the program")
class LessonTest(unittest.TestCase):
    def execute(self, name, look):
        """Executes a lesson and then the expression `look` in it; the notebook, and what that gave."""
        scratch = tempfile.TemporaryDirectory(prefix="potluck-lesson-")
        self.addCleanup(scratch.cleanup)
        folder = Path(scratch.name)
        environment = {
            **os.environ,
            "POTLUCK_LESSON": "quick",
            "POTLUCK_BINARY": str(Path(os.environ["POTLUCK_BINARY"]).resolve()),
            "PYTHONPATH": str(ROOT / "deploy" / "python"),
            "HOME": scratch.name,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "MPLCONFIGDIR": str(folder / "matplotlib"),
            "IPYTHONDIR": str(folder / "ipython"),
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        nbformat.validate(notebook)
        # Not print(): what a lesson prints is for people.
        after = nbformat.v4.new_code_cell(f"__import__('IPython').display.JSON({look})")
        notebook.cells.append(after)
        client = nbclient.NotebookClient(
            notebook, timeout=CELL_SECONDS, kernel_name="python3", resources={"metadata": {"path": scratch.name}}
        )
        client.create_kernel_manager()
        client.km.transport, client.km.ip = "ipc", str(folder / "kernel")  # Nobody else can listen or speak.
        try:
            client.execute(env=environment)
        finally:
            keep = os.environ.get("POTLUCK_KEEP")
            if keep:
                nbformat.write(notebook, Path(keep) / f"{name}.ipynb")
        notebook.cells.remove(after)
        for text in texts(notebook):
            self.assertNotIn("potluck://", text)
            self.assertNotRegex(text, r"[A-Za-z0-9_-]{32}", "a token would look like this")
            self.assertNotIn("Warning", text)
        return notebook, after.outputs[0].data["application/json"]

    def test_lesson_1(self):
        notebook, found = self.execute(
            "lesson_1_nqueens",
            """dict(
                T=T, S=S, E=E, karp_flatt=karp_flatt, one_worker=len(results[1].contributions),
                board=N_KILL, solutions=str(outcome.solutions), verified=outcome.verified,
                victim=[each.slices for each in outcome.contributions if each.worker == "victim"],
                workers=len(outcome.contributions), killed_before_the_end=killed_at < outcome.seconds,
                nodes=sum(coarse), fine=sum(fine), balance=bounds, rates=rate, no_gpu=no_gpu,
            )""",
        )
        self.assertEqual(pictures(notebook), 5)
        published = {12: 14200, 13: 73712, 14: 365596, 15: 2279184, 16: 14772512, 17: 95815104, 18: 666090624}
        self.assertEqual(int(found["solutions"]), published[found["board"]])
        self.assertIs(found["verified"], True)
        self.assertTrue(found["killed_before_the_end"])
        self.assertEqual(found["workers"], 2)
        self.assertGreaterEqual(found["victim"][0], 1)
        self.assertEqual(found["one_worker"], 1)
        for p, seconds in found["T"].items():
            self.assertAlmostEqual(found["S"][p], found["T"]["1"] / seconds)
            self.assertAlmostEqual(found["E"][p], found["S"][p] / int(p))
            if p != "1":
                expected = (1 / found["S"][p] - 1 / int(p)) / (1 - 1 / int(p))
                self.assertAlmostEqual(found["karp_flatt"][p], expected)
        self.assertEqual(found["nodes"], 8393)  # Of n = 9.
        self.assertEqual(found["fine"], 8393 - 9)
        blocks, cyclic, dynamic, fine = found["balance"].values()
        for p in range(1, 13):
            for policy in (blocks, cyclic, dynamic, fine):
                self.assertLessEqual(policy[str(p)], p + 1e-9)
        # Exact: these are counts of nodes, not times.
        self.assertGreater(fine["7"], dynamic["7"])
        self.assertGreater(dynamic["4"], blocks["4"])
        self.assertTrue(found["no_gpu"] or "GPU" in found["rates"])
        for rate in found["rates"].values():
            self.assertGreater(rate, 0)

    def test_lesson_2(self):
        notebook, found = self.execute(
            "lesson_2_cnn",
            """dict(
                parameters=parameters, forward=forward, step=step_flop, same=same, images=images,
                steps={f"{w} {b}": run.steps for (w, b), run in runs.items()}, batches=BATCHES,
                plan=[[each["method"], each["workers"], each["epoch_seconds"]] for each in plan["plans"]],
                advice=plan["advice"], sent=[run.bytes_sent for run in methods.values()],
                received=[run.bytes_received for run in methods.values()],
                right=[run.test_accuracy for run in methods.values()], local=[LOCAL_STEPS, REPLICAS, EPOCHS],
                slow=epoch_seconds(2, 1000, 128, 1, 0), fast=epoch_seconds(2, 1000, 128, 1e9, 0),
                alone=epoch_seconds(1, 1000, 128, 1, 0), even=break_even(1000, 128, 0), never=break_even(1e9, 128, 1),
            )""",
        )
        self.assertEqual(pictures(notebook), 5)
        self.assertEqual(found["parameters"], 1_199_882)
        self.assertAlmostEqual(found["forward"] / 1e6, 24.0, places=1)
        self.assertAlmostEqual(found["step"] / 1e6, 71.6, places=1)
        self.assertIs(found["same"], True)
        for key, steps in found["steps"].items():
            self.assertEqual(steps, -(-found["images"] // int(key.split()[1])))
        self.assertEqual(
            sorted((method, workers) for method, workers, _ in found["plan"]),
            [("local", 1), ("local", 2), ("synchronous", 1), ("synchronous", 2)],
        )
        self.assertTrue(found["advice"])
        for _, _, seconds in found["plan"]:
            self.assertGreater(seconds, 0)
        synchronous, plain, compressed = found["sent"]
        # A gradient of 4.8 MB a worker and step; uncompressed and ternary replicas send less in this order.
        epochs = found["local"][2]
        self.assertGreaterEqual(synchronous, epochs * found["steps"]["2 128"] * 4 * found["parameters"])
        self.assertGreater(synchronous, 2 * plain)
        self.assertGreater(plain, 4 * compressed)
        for right in found["right"]:
            self.assertGreater(right, 0.2)  # Guessing gives 0.1.
        self.assertGreater(found["slow"], found["alone"])
        self.assertAlmostEqual(found["fast"], found["alone"] / 2, places=3)
        self.assertAlmostEqual(found["even"], 2 * 4 * 1_199_882 / (128 / 2000) / 1e6)
        self.assertIsNone(found["never"])

    def test_lesson_3(self):
        notebook, found = self.execute(
            "lesson_3_availability",
            """dict(
                timetable=TIMETABLE, truth=truth, start=start, expected=expected, counted=len(counted),
                stays=[[each["worker"], each["from"], each["to"], each["end"]] for each in stays],
                availability=availability, mtbf=mtbf, best=best, naive=naive, estimate=estimate,
                simulated=list(simulated), binomial=binomial, enough=enough,
            )""",
        )
        self.assertEqual(pictures(notebook), 3)
        for name, spans in found["timetable"].items():
            reported = sorted(each[1:] for each in found["stays"] if each[0] == name)
            happened = sorted(each[1:] for each in found["truth"] if each[0] == name)
            self.assertEqual(len(reported), len(spans), name)
            self.assertEqual(len(happened), len(spans), name)
            for i, ((began, ended, how), (since, until)) in enumerate(zip(reported, happened)):
                self.assertLessEqual(since, began + 0.01)
                self.assertLessEqual(began, ended)
                if i + 1 < len(happened):
                    self.assertLessEqual(ended, happened[i + 1][1])
                if i + 1 == len(happened) and how == "still here":
                    continue  # Not noticed yet.
                self.assertEqual(how, "drained" if name == "laptop" else "lost, and back")
        self.assertGreater(found["counted"], 0)
        self.assertAlmostEqual(found["availability"], 0.75)
        self.assertAlmostEqual(found["mtbf"], 7.5)
        self.assertAlmostEqual(found["best"], (2 * 30 * 7.5 * 3600) ** 0.5)
        self.assertEqual(found["enough"], 4)
        # Fixed seeds: the same numbers everywhere.
        self.assertAlmostEqual(found["estimate"], 7.5, delta=0.4)
        self.assertLess(found["naive"], 6.5)
        self.assertAlmostEqual(sum(found["simulated"]), 1)
        for simulated, binomial in zip(found["simulated"], found["binomial"]):
            self.assertAlmostEqual(simulated, binomial, delta=0.06)


@unittest.skipIf(not os.environ.get("POTLUCK_BINARY"), "POTLUCK_BINARY does not name the program")
class WrittenTest(unittest.TestCase):
    """worker_*.ipynb are what the program writes."""

    def write(self, file, *flags):
        command = [os.environ["POTLUCK_BINARY"], "notebook", "--any-coordinator", *flags, "-o", file]
        return subprocess.run(command, capture_output=True, text=True)

    def test_the_committed_notebooks_are_those_that_the_command_writes(self):
        with tempfile.TemporaryDirectory() as scratch:
            for platform in PLATFORMS:
                file = Path(scratch) / f"worker_{platform}.ipynb"
                self.assertEqual(self.write(file, "--platform", platform).returncode, 0)
                remedy = f"potluck notebook --any-coordinator --platform {platform} -o {file.name} writes it anew"
                self.assertEqual((NOTEBOOKS / file.name).read_text(), file.read_text(), remedy)

    def test_one_coordinator_and_any_exclude_each_other(self):
        done = self.write("never.ipynb", "--embed-token")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--any-coordinator is given together with --embed-token", done.stderr)


@unittest.skipIf(nbclient is None, "nbclient is not installed: deploy/setup.sh --ci makes build/python-notebooks")
@unittest.skipIf(not os.environ.get("POTLUCK_BINARY"), "POTLUCK_BINARY does not name the program")
class WorkerTest(harness.TestCase):
    """The committed worker_*.ipynb, each executed against a real coordinator, of which they know nothing before."""

    def environment(self, home, **more):
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        return harness.environment(home, PATH=path, IPYTHONDIR=home / "ipython", **more)

    def execute(self, platform, join):
        home = self.new_home()
        notebook = nbformat.read(NOTEBOOKS / f"worker_{platform}.ipynb", as_version=4)
        client = nbclient.NotebookClient(
            notebook, timeout=CELL_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(home)}}
        )
        client.create_kernel_manager()
        client.km.transport, client.km.ip = "ipc", str(home / "kernel")
        client.execute(env=self.environment(home, POTLUCK_JOIN=join))
        self.assert_no_secret(nbformat.writes(notebook))
        return "".join(texts(notebook))

    def test_each_joins_works_and_leaves_when_it_is_sent_home(self):
        for platform in PLATFORMS:
            with self.subTest(platform), concurrent.futures.ThreadPoolExecutor() as background:
                running = background.submit(self.execute, platform, self.coordinator.join)

                def here():
                    if running.done():
                        raise AssertionError(f"the cell ended: {running.result()}")
                    return [worker["name"] for worker in self.coordinator.workers() if worker["state"] == "here"]

                names = harness.wait_until("the worker of the cell", here)
                count = self.coordinator.count(10)
                self.assertEqual(json.loads(count.communicate(timeout=harness.PATIENCE)[0])["solutions"], "724")
                harness.potluck(
                    self.scratch, "workers", "drain", names[0], "--coordinator", self.coordinator.state / "admin.join"
                )
                self.assertIn("potluck: ", running.result(timeout=harness.PATIENCE))
                harness.wait_until("nobody is here", lambda: not here_now(self.coordinator))

    def test_a_join_string_that_is_none_or_has_no_key_is_told(self):
        fragment = "1.." + harness.secret_of(self.coordinator.join) + "."
        check = base64_of_sha256(fragment)[:4]
        for join in ("potluck://127.0.0.1:1#1.abc", "nonsense", f"potluck://127.0.0.1:1#{fragment}{check}"):
            self.assertIn("the join string is cut short, mistyped or without a key", self.execute("jupyter", join))

    def test_another_coordinators_key_is_refused_before_anything_is_sent(self):
        certificate = harness.make_certificate(self.new_home())
        with harness.WebServer(lambda path, headers: (200, {"Potluck": "1"}, b""), certificate) as portal:
            output = self.execute("jupyter", harness.with_address(self.coordinator.join, portal.port))
        self.assertIn("another key", output)
        self.assertEqual(portal.requests, [])


def here_now(coordinator):
    return [worker for worker in coordinator.workers() if worker["state"] == "here"]


def base64_of_sha256(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()


if __name__ == "__main__":
    program = unittest.main(exit=False, verbosity=2)
    result = program.result
    if result.testsRun and len(result.skipped) == result.testsRun:
        sys.exit(harness.SKIPPED)
    sys.exit(not result.wasSuccessful())
