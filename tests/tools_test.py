"""What the scripts in tools/ read out of other programs' output."""
import contextlib
import hashlib
import importlib.machinery
import importlib.util
import io
import json
import os
import pathlib
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile
from unittest import mock

TOOLS = pathlib.Path(__file__).resolve().parent.parent / "tools"
sys.dont_write_bytecode = True
sys.path += [str(TOOLS), str(TOOLS / "bench/peers")]

import measure  # noqa: E402: lies in tools/
from gpu_check import benches, bundle, commands, correctness, machine, profilers, schedule, tables  # noqa: E402
from gpu_check import main as check_main  # noqa: E402


def script(name):
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(TOOLS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def is_running(identity):
    try:
        status = pathlib.Path(f"/proc/{identity}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"  # dead, and not yet asked about by whoever inherits it


def has_ended(identity):
    """A process that was told to end needs a moment for it."""
    end = time.monotonic() + 10
    while is_running(identity) and time.monotonic() < end:
        time.sleep(0.01)
    return not is_running(identity)


class DecodingTable(unittest.TestCase):
    def test_shows_splits_beside_the_means_and_leaves_failed_runs_out(self):
        def run(split, error, **more):
            scores = {part: {"position_error_cm": error, "total_r2": error / 100} for part in ("valid", "test")}
            return {
                "run": f"a-f{split}",
                "model": "a",
                "split": split,
                "subject": "x",
                "sees_labels": False,
                "training": {"nonfinite_steps": 0},
                "metrics": {"encoder": {"euclidean": scores, "cosine": scores}},
                **more,
            }

        study = {
            "runs": [run(0, 10), run(0, 14), run(1, 20), run(1, 90, failed=True, reason="diverged")],
            "baselines": [],
            "consistency": {
                "runs": [
                    {
                        "model": "a",
                        "encoder_train": 0.75,
                        "encoder_train_lowest_loss": 0.875,
                        "splits": [{"encoder": 0.5}],
                    }
                ]
            },
        }
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "metrics.json").write_text(json.dumps(study))
            table = subprocess.run(
                [sys.executable, TOOLS / "decoding-table", "--by-split", folder],
                capture_output=True,
                text=True,
                check=True,
            )
        rows = [line for line in table.stdout.splitlines() if line.startswith("| a |")]
        self.assertIn("| 16.0 ± 5.7 |", rows[0])
        self.assertEqual(rows[1], "| a | 12.0, 0.12 | 20.0, 0.20 | 16.0, 0.16 | 0.75 (half of lowest loss: 0.88) |")
        self.assertEqual(table.stderr, "a-f1 failed: diverged\n")


class GpuCheck(unittest.TestCase):
    def test_reads_the_card(self):
        card = machine.parse_card("NVIDIA H100 80GB HBM3, 580.159.04, 9.0, 81559")
        self.assertEqual(
            card,
            {
                "device": "NVIDIA H100 80GB HBM3",
                "driver": "580.159.04",
                "compute_capability": "9.0",
                "memory_mib": 81559,
            },
        )

    def test_counts_what_the_sanitizer_found(self):
        self.assertEqual(profilers.parse_sanitizer("========= ERROR SUMMARY: 0 errors\n"), 0)
        self.assertEqual(profilers.parse_sanitizer("========= ERROR SUMMARY: 12 errors\n"), 12)
        self.assertEqual(
            profilers.parse_sanitizer("========= RACECHECK SUMMARY: 3 hazards displayed (3 errors, 0 warnings)\n"), 3
        )
        self.assertIsNone(profilers.parse_sanitizer("Device not supported"))

    def test_counts_tests(self):
        report = {
            "testsuites": [
                {
                    "testsuite": [
                        {"classname": "A", "name": "a", "result": "COMPLETED", "time": "0.25s"},
                        {"classname": "A", "name": "b", "result": "SKIPPED", "time": "0s"},
                        {"classname": "A", "name": "c", "result": "COMPLETED", "time": "1s", "failures": [{}]},
                    ]
                }
            ]
        }
        self.assertEqual(correctness.parse_tests(report), {"passed": 1, "skipped": 1, "failed": ["A.c"]})
        self.assertEqual(correctness.parse_seconds(report), {"A.a": 0.25})

    def test_reads_the_suites(self):
        listing = (
            "Running main() from gtest_main.cc\nA.\n  a\n  b\n"
            "All/B.  # of values\n  a/0  # GetParam() = 1.5\nT/0.  # TypeParam = float\n  a\n"
        )
        self.assertEqual(correctness.parse_listing(listing), {"A": ["a", "b"], "All/B": ["a/0"], "T/0": ["a"]})

    def test_tells_time_out_from_failure(self):
        self.assertEqual(
            [commands.status_of(code) for code in (0, 1, 77, None)], ["passed", "failed", "skipped", "out of time"]
        )

    def ncu_step(self, reads):
        """Status and figures of the step by a profiler and a program that are none. reads: what `idem profile ncu`
        does."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            for name, text in (
                ("ncu", "while [ $1 != bench ]; do shift; done; echo ==PROF== Connected"),
                ("idem", f'[ "$1 $2" = "profile ncu" ] && grep -q PROF $3 && {reads}'),
            ):
                (path / name).write_text(f"#!/bin/sh\n{text}\n")
                (path / name).chmod(0o755)
            settings = schedule.Settings(budgets={"ncu": 60}, once=("step/a/1",))
            check = schedule.Check(path, path, path, settings, facts={})
            check.environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
            with mock.patch("builtins.print"):
                check.step("ncu", profilers.ncu)
        return check.steps[0]["status"], check.steps[0]["figures"]

    def test_reads_the_kernels_of_the_profiler(self):
        kernels = [{"step": "step/a/1", "kernel": "adam", "time": "2 us"}]
        reads = """echo '[{"kernel": "adam", "time": "2 us"}]'"""
        self.assertEqual(self.ncu_step(reads), ("passed", {"kernels": kernels}))

    def test_kernels_that_the_program_cannot_read_fail_with_what_it_said(self):
        status, figures = self.ncu_step("{ echo holds no table of ncu; exit 3; }")
        self.assertEqual((status, figures), ("failed", {"kernels": [], "last line": "holds no table of ncu"}))

    def test_the_budgets_are_nine_minutes_of_all_steps_in_order(self):
        self.assertEqual(sum(schedule.BUDGETS.values()), 540)
        self.assertEqual(list(schedule.BUDGETS), list(check_main.STEPS))

    def test_ends_a_program_and_what_it_started_when_its_time_is_up(self):
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "log"
            ended = commands.run(["sh", "-c", "tail -f /dev/null & echo $! $$; wait"], log, seconds=3)
            self.assertIsNone(ended.code)
            identities = [int(line) for line in ended.output.split()]
            self.assertEqual(len(identities), 2)
            for identity in identities:
                self.assertTrue(has_ended(identity), identity)

    def test_ends_a_program_that_says_that_it_refuses(self):
        with tempfile.TemporaryDirectory() as folder:
            says = "import signal; print('==ERROR== ERR_NVGPUCTRPERM: no permission', flush=True); signal.pause()"
            ended = commands.run(
                [sys.executable, "-c", says], pathlib.Path(folder) / "log", seconds=60, refusal=profilers.NCU_REFUSAL
            )
            self.assertEqual(ended.refused, "==ERROR== ERR_NVGPUCTRPERM: no permission")

    def test_a_step_that_runs_out_of_time_or_faults_leaves_the_rest_to_run_and_what_was_found_written(self):
        with tempfile.TemporaryDirectory() as folder:
            out, scratch = pathlib.Path(folder) / "out", pathlib.Path(folder) / "scratch"
            out.mkdir()
            scratch.mkdir()
            settings = schedule.Settings(budgets={"tests": 3, "peers": 5, "ncu": 40, "bench in fp32": 5, "study": 5})
            check = schedule.Check(out, out, scratch, settings, facts={"device": "a card", "driver": 1, "commit": 2})

            def endless(check):
                check.command([sys.executable, "-c", "print('well')"], "well.log")
                says = "import signal; print('first\\nlast', flush=True); signal.pause()"
                ended = check.command([sys.executable, "-c", says], "endless.log")
                return commands.status_of(ended.code), {}

            def faulty(check):
                raise ValueError("no number")

            def written(check):
                self.assertEqual([step["status"] for step in json.loads((out / "gpu-check.json").read_text())["steps"]],
                                 ["out of time", "failed", "skipped"])
                self.assertIn("peers           failed", (out / "table.txt").read_text())
                self.assertEqual(sorted(path.name for path in out.iterdir()), ["gpu-check.json", "table.txt"])
                return "passed", {"results": {"cases": [{"name": "step/a/1"}]}}

            with mock.patch("builtins.print"):
                for name, work in (
                    ("tests", endless),
                    ("peers", faulty),
                    ("ncu", lambda check: ("skipped", {})),
                    ("bench in fp32", written),
                    ("study", lambda check: ("passed", {})),
                ):
                    check.step(name, work)
            statuses = ["out of time", "failed", "skipped", "passed", "passed"]
            self.assertEqual([step["status"] for step in check.steps], statuses)
            self.assertEqual((out / "table.txt").read_text(), "no table: KeyError: 'median_s'\n")
            self.assertEqual(check.steps[0]["logs"], {"endless.log": "first\nlast"})
            self.assertEqual(check.steps[1]["figures"], {"fault": "ValueError: no number"})

    def test_a_step_has_its_own_time_and_what_those_before_left_of_theirs(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            settings = schedule.Settings(budgets={"tests": 10, "ncu": 40, "study": 5})
            check = schedule.Check(path, path, path, settings, facts={})
        began = check.end - 55
        self.assertAlmostEqual(check.end_of("tests", began), began + 10)
        self.assertAlmostEqual(check.end_of("ncu", began + 2), began + 50)
        self.assertAlmostEqual(check.end_of("study", began + 2), began + 55)
        self.assertAlmostEqual(check.end_of("ncu", began + 20), began + 60)
        self.assertAlmostEqual(check.end_of("study", began + 60), began + 65)

    def test_keeps_the_end_of_what_failed_programs_said(self):
        def ended(code, *said, **more):
            return commands.Ended(code, "".join(f"{line}\n" for line in said), **more)

        told = [("a", ended(0, "well")), ("b", ended(None)), ("c", ended(1, *range(99), errors="why\n"))]
        self.assertEqual(list(schedule.tails(told)), ["c"])
        self.assertEqual(schedule.tails(told)["c"].splitlines(), [*map(str, range(60, 99)), "why"])
        self.assertEqual(schedule.tails(told[:2]), {"a": "well"})

    def test_brings_home_two_files_and_leaves_none_elsewhere(self):
        with tempfile.TemporaryDirectory() as folder:
            build, out, scratch = (pathlib.Path(folder) / name for name in ("build", "out", "scratch"))
            (build / "tests").mkdir(parents=True)
            scratch.mkdir()
            for program in ("idem", schedule.REHEARSAL.tests):
                (build / program).write_text("#!/bin/sh\necho broken; touch left; exit 1\n")
                (build / program).chmod(0o755)
            command = [sys.executable, TOOLS / "gpu-check", "--rehearse", "short", "--build", build, "--out", out]
            run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(scratch)})
            self.assertEqual((run.returncode, run.stderr), (1, ""))
            self.assertEqual(sorted(path.name for path in out.iterdir()), ["gpu-check.json", "table.txt"])
            self.assertEqual([*scratch.iterdir()], [])
            self.assertIn((out / "table.txt").read_text(), run.stdout)
            limits = json.loads((out / "gpu-check.json").read_text())["steps"][0]
            self.assertEqual((limits["status"], limits["logs"]), ("failed", {"limits-fp32.log": "broken"}))

    def test_says_in_one_line_what_is_missing(self):
        with tempfile.TemporaryDirectory() as folder:
            empty = pathlib.Path(folder) / "build"
            (empty / "tests").mkdir(parents=True)
            command = [sys.executable, TOOLS / "gpu-check", "--build", empty, "--out", pathlib.Path(folder) / "out"]
            run = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual((run.returncode, run.stderr.count("\n")), (1, 1))
            self.assertIn("has no idem and no tests/idem_cuda_tests; make it by", run.stderr)
            self.assertIn("--bundle DIR and name it, --build DIR", run.stderr)  # this one would be refused
            if machine.find_card()[0]:
                self.skipTest("this machine has a GPU")
            for program in ("idem", "tests/idem_cuda_tests"):
                (empty / program).touch()
            run = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual((run.returncode, run.stderr.count("\n")), (4, 1))
            self.assertIn("no GPU on this machine", run.stderr)


    def run_check(self, *arguments):
        """(exit code, what it says on stderr)"""
        run = subprocess.run([sys.executable, TOOLS / "gpu-check", *arguments], capture_output=True, text=True)
        self.assertEqual(run.stdout, "")
        return run.returncode, run.stderr

    def test_says_by_which_commands_a_rehearsals_programs_are_made(self):
        if platform.machine() not in ("x86_64", "AMD64"):
            self.skipTest("rehearsals need an x86-64 processor")
        with tempfile.TemporaryDirectory() as folder:
            code, said = self.run_check("--rehearse", "--build", folder, "--out", f"{folder}/out")
        self.assertEqual((code, said.count("\n")), (1, 1))
        self.assertNotIn("--bundle", said)
        source = os.path.relpath(TOOLS.parent)
        target = re.fullmatch(
            rf".* has no idem and no tests/(\w+); make it by cmake -S {re.escape(source)} -B {folder} "
            rf"-DBUILD_TESTING=ON && cmake --build {folder} --target idem (\w+)\n",
            said,
        )
        self.assertTrue(target, said)
        self.assertEqual(target[1], target[2])
        self.assertIn(f"add_executable({target[2]} ", (TOOLS.parent / "tests/CMakeLists.txt").read_text())

    def test_says_in_one_line_where_it_cannot_write_and_which_facts_it_cannot_read(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "tests").mkdir()
            for program in ("idem", schedule.REHEARSAL.tests):
                (folder / program).touch()
            (folder / "file").touch()
            for out, why in ((folder / "file", "File exists"), ("/proc/out", "No such file or directory")):
                code, said = self.run_check("--rehearse", "--build", folder, "--out", out)
                self.assertEqual(code, 1, said)
                self.assertEqual(said, f"gpu-check: --out {out}: cannot be written ({why}); name another folder\n")
            for broken in ("{", "[]", '{"commit": 1}', "\xff"):
                (folder / "facts.json").write_bytes(broken.encode("latin-1"))
                code, said = self.run_check("--rehearse", "--build", folder, "--out", folder / "out")
                self.assertEqual((code, said.count("\n")), (1, 1), said)
                self.assertIn("facts.json: does not say what was built", said)
                self.assertFalse((folder / "out").exists())
            (folder / "facts.json").unlink()
            (folder / "tests/idem_cuda_tests").touch()
            (folder / bundle.PACKED).write_text("cut")
            said = io.StringIO()
            card = {"device": "a card", "driver": 1}
            with (
                mock.patch.object(machine, "find_card", return_value=(card, "")),
                mock.patch.object(sys, "argv", ["gpu-check", "--build", name, "--out", f"{name}/out"]),
                contextlib.redirect_stderr(said),
            ):
                self.assertEqual(check_main.main(""), 1)
            self.assertIn("else make a new bundle\n", said.getvalue())
            self.assertEqual(said.getvalue().count("\n"), 1)

    def test_makes_a_bundle_and_nothing_else(self):
        with tempfile.TemporaryDirectory() as folder:
            for more in (("--out", f"{folder}/out"), ("--rehearse",)):
                code, said = self.run_check("--bundle", f"{folder}/bundle", *more)
                self.assertEqual(code, 2)
                self.assertIn("error: --bundle makes the folder and nothing else", said)
            self.assertEqual(os.listdir(folder), [])


class GpuCheckSanitizers(unittest.TestCase):
    def suites(self):
        """Of the sources: {suite: its tests}."""
        suites = {}
        for path in sorted((TOOLS.parent / "tests/kernels").glob("*_twins_test.cpp")):
            for suite, test in re.findall(r"^TEST\((\w+Twins), (\w+)\)", path.read_text(), re.MULTILINE):
                suites.setdefault(suite, []).append(test)
        return suites

    def test_every_suite_is_looked_at_by_one_test_that_compares_twins(self):
        chosen = profilers.smallest_tests(self.suites(), {})
        self.assertEqual(list(chosen), list(self.suites()))
        for suite, test in chosen.items():
            self.assertTrue(test.startswith(f"{suite}.Agree"), test)
        suites = {"A": ["RefuseC", "AgreeA", "AgreeB"], "B": ["Passes"]}
        seconds = {"A.RefuseC": 0.1, "A.AgreeA": 2, "A.AgreeB": 0.5}
        self.assertEqual(profilers.smallest_tests(suites, seconds), {"A": "A.AgreeB", "B": "B.Passes"})

    def test_all_suites_under_memcheck_and_those_with_barriers_under_racecheck_rewritten_kernels_first(self):
        suites = list(self.suites())
        jobs = list(profilers.sanitizer_jobs(suites))
        turns = {tool: [suite for of, some in jobs if of == tool for suite in some] for tool in profilers.SANITIZERS}
        self.assertEqual(sorted(turns["memcheck"]), sorted(suites))
        rows = ["RowChainForwardTwins", "RowChainBackwardTwins", "RowChainTensorTwins"]
        for tool in profilers.SANITIZERS:
            self.assertEqual(sorted(turns[tool][:3]), sorted(rows))
        for kernel in profilers.kernels_with_barriers():
            self.assertTrue([suite for suite in turns["racecheck"] if suite.startswith(kernel)], kernel)
        for suite in ("AdamTwins", "CopyValuesTwins", "DrawnPlacesTwins"):
            self.assertNotIn(suite, turns["racecheck"])
        for name in profilers.LOOKED_AT_FIRST:
            self.assertTrue([suite for suite in suites if suite.startswith(name)], name)
        rewritten = [suite.startswith(profilers.LOOKED_AT_FIRST) for _, some in jobs for suite in some]
        self.assertEqual(rewritten, sorted(rewritten, reverse=True))
        self.assertLess(len(jobs), len(suites) / 2)

    def run_step(self, sanitizer, seconds=20):
        """With a sanitizer that is a shell script, and tests that list three suites and pass what they are asked."""
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "tests").mkdir()
            programs = {
                "compute-sanitizer": sanitizer,
                "tests/idem_cuda_tests": """case "$1" in
--gtest_list_tests) printf "AdamTwins.\\n  Agree\\nRowChainTwins.\\n  Agree\\nScaleRowsTwins.\\n  Agree\\n" ;;
*) for test in $(echo "${1#*=}" | tr : " "); do echo "[       OK ] $test (1 ms)"; done ;;
esac""",
            }
            for program, text in programs.items():
                (folder / program).write_text(f"#!/bin/sh\n{text}\n")
                (folder / program).chmod(0o755)
            settings = schedule.Settings(budgets={"sanitizers": seconds})
            with mock.patch.dict(os.environ, {"PATH": f"{folder}:{os.environ['PATH']}"}):
                check = schedule.Check(folder, folder, folder, settings, facts={})
            with mock.patch("builtins.print"):
                check.step("sanitizers", profilers.sanitizers)
            return check.steps[0]

    def test_tells_how_many_suites_were_looked_at_and_what_was_found(self):
        passes = 'tool=$2; shift 4; "$@"; echo "========= ERROR SUMMARY: 0 errors"'
        step = self.run_step(passes)
        figures = {"memcheck": "3 of 3 suites, 0 findings", "memcheck missed": []}
        figures.update({"racecheck": "1 of 1 suites, 0 findings", "racecheck missed": []})
        self.assertEqual((step["status"], step["figures"]), ("passed", figures))
        finds = passes.replace("0 errors", "2 errors") + '; [ "$tool" = memcheck ] && exit 9'
        step = self.run_step(finds)
        self.assertEqual((step["status"], step["figures"]["memcheck"]), ("failed", "3 of 3 suites, 4 findings"))
        self.assertIn("2 errors", step["logs"]["memcheck-RowChainTwins.log"])

    def test_counts_what_was_seen_of_a_process_that_was_ended(self):
        hangs = """echo "[       OK ] RowChainTwins.Agree (1 ms)"
[ "$2" = racecheck ] && exit 0
echo "========= Invalid __global__ read of size 4 bytes"
sleep 600"""
        step = self.run_step(hangs, seconds=1)
        self.assertEqual(step["figures"]["memcheck missed"], ["AdamTwins", "ScaleRowsTwins"])
        self.assertEqual((step["status"], step["figures"]["memcheck"]), ("failed", "1 of 3 suites, 2 findings"))
        step = self.run_step(hangs.replace("Invalid", "Saw an"), seconds=1)
        self.assertEqual((step["status"], step["figures"]["memcheck"]), ("out of time", "1 of 3 suites, 0 findings"))

    def test_is_skipped_where_the_machine_refuses(self):
        step = self.run_step('echo "========= Error: Device not supported"; sleep 600')
        reason = "========= Error: Device not supported"
        self.assertEqual((step["status"], step["figures"]), ("skipped", {"reason": reason}))


class GpuCheckBenches(unittest.TestCase):
    """With a program in idem's place that writes the results which lie beside it, and then ends or does not."""

    copy = {"name": "operation/copy", "bytes": 3e9, "flops": 0, "median_s": 0.001}
    product = {"name": "operation/product/large", "bytes": 1, "flops": 5e12, "median_s": 0.1}
    step = {"name": "step/pi-vae-60/16", "bytes": 1, "flops": 1, "median_s": 0.002, "floor_s": 0.0005}

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "idem").write_text(f"""#!/bin/sh
for out; do :; done
of="{self.folder}/of-$(basename "$out" .json)"
cat "$of.json" >"$out"
echo "so far"
[ -e "$of.hangs" ] && sleep 600
exit $(cat "$of.code" || echo 0)
""")
        (self.folder / "idem").chmod(0o755)

    def write(self, log, *cases, hangs=False, code=None):
        of = self.folder / f"of-{log}"
        of.with_suffix(".json").write_text(json.dumps({"cases": cases}))
        if hangs:
            of.with_suffix(".hangs").touch()
        if code:
            of.with_suffix(".code").write_text(str(code))

    def checked(self, **budgets):
        """The steps' results, all steps one after the other."""
        budgets = {name.replace("_", " "): seconds for name, seconds in budgets.items()}
        settings = schedule.Settings(budgets=budgets)
        check = schedule.Check(self.folder, self.folder, self.folder, settings, facts={})
        with mock.patch("builtins.print"):
            for name in budgets:
                check.step(name, check_main.STEPS[name])
        return check.steps

    def test_keep_the_rows_of_a_bench_that_was_ended(self):
        self.write("bench-tf32", self.copy, self.product, self.step, hangs=True)
        steps = self.checked(bench_in_tf32=1)
        self.assertEqual((steps[0]["status"], steps[0]["figures"]["last line"]), ("out of time", "so far"))
        self.assertEqual([rate for *_, rate, _, _ in tables.step_rows(steps)], [8000])
        self.write("bench-bf16")
        (self.folder / "of-bench-bf16.json").write_text('{"cases": [')
        self.write("bench-fp32", self.copy, code=3)
        steps = self.checked(bench_in_bf16=5, bench_in_fp32=5)
        self.assertEqual([step["status"] for step in steps], ["passed", "failed"])
        self.assertEqual(steps[0]["figures"], {})
        self.assertEqual(len(steps[1]["figures"]["results"]["cases"]), 1)

    def test_roofs_come_from_the_benches_where_the_limits_took_too_long(self):
        self.write("limits-fp32", self.copy, self.product)
        self.write("limits-tf32", self.copy, hangs=True)
        self.write("bench-fp32", self.copy, {**self.product, "median_s": 1})
        self.write("bench-tf32", self.copy, {**self.product, "median_s": 0.01}, hangs=True)
        self.write("bench-bf16", self.copy)
        steps = self.checked(limits=1, bench_in_fp32=1, bench_in_tf32=1, bench_in_bf16=1)
        self.assertEqual([step["status"] for step in steps], ["out of time", "passed", "out of time", "passed"])
        self.assertEqual(tables.roofs(steps), {"fp32": (3000, 50, "limits"), "tf32": (3000, 500, "bench in tf32")})
        self.assertEqual(
            [row.split() for row in tables.roofs_table(steps).splitlines()[1:]],
            [["fp32", "3000.0", "50.00", "limits"], ["tf32", "3000.0", "500.00", "bench", "in", "tf32"]],
        )
        for precision in schedule.GPU.precisions:
            asked = mock.Mock(settings=schedule.GPU, left_s=lambda: 9)
            with mock.patch.object(benches, "bench") as bench:
                benches.steps_in(precision)(asked)
            pattern = bench.call_args.args[bench.call_args.args.index("--filter") + 1]
            for name in (self.copy["name"], self.product["name"], self.step["name"]):
                self.assertRegex(name, pattern)

    def test_a_part_of_the_operations_that_did_not_end_is_told(self):
        def statuses(step):
            return step["status"], *(of["status"] for of in step["figures"].values() if "status" in of)

        for log in ("operations", "cudnn", "alone", "again"):
            self.write(log, self.copy)
        step = self.checked(operations=60)[0]
        self.assertEqual(statuses(step), ("passed", "passed", "passed", "passed"))
        self.write("again", self.copy, code=3)
        self.assertEqual(statuses(self.checked(operations=60)[0]), ("failed", "passed", "passed", "failed"))
        self.write("alone", self.copy, self.step, hangs=True)
        step = self.checked(operations=1)[0]
        self.assertEqual(statuses(step), ("out of time", "passed", "out of time"))
        self.assertEqual(len(step["figures"]["alone"]["results"]["cases"]), 2)
        self.assertIn("cudnn passed, alone out of time", tables.step_line(step))

    def test_the_worst_part_decides(self):
        for statuses, status in (
            (["passed", "skipped"], "passed"),
            (["passed", "out of time", "passed"], "out of time"),
            (["out of time", "failed"], "failed"),
            (["skipped"], "skipped"),
        ):
            self.assertEqual(commands.worst(statuses), status)


class GpuCheckTables(unittest.TestCase):
    bench = {
        "name": "bench in tf32",
        "status": "passed",
        "seconds": 1.0,
        "figures": {
            "results": {
                "cases": [
                    {"name": "operation/copy", "median_s": 1},
                    {"name": "step/pi-vae-60/16", "median_s": 0.002, "floor_s": 0.0005},
                ]
            }
        },
    }
    peers = {
        "name": "peers",
        "status": "passed",
        "seconds": 2.0,
        "figures": {
            "lines": [
                {"name": "step/pi-vae-60/1", "form": "torch eager", "precision": "fp32", "step_s": 0.01},
                {"name": "step/pi-vae-60/1", "form": "jax vmap scan", "precision": "fp32", "step_s": 0.5},
                {"name": "step/pi-vae-60/16", "form": "jax vmap scan", "precision": "fp32", "step_s": 0.006},
                {
                    "name": "step/pi-vae-60/1",
                    "form": "torch compile",
                    "precision": "fp32",
                    "failed": "took longer than 15 s",
                },
                {"name": "step/ci-ivae-60/1", "form": "torch eager", "precision": "fp32", "step_s": 7},
            ]
        },
    }

    def test_a_peer_trains_as_many_members_at_once_or_one_after_another(self):
        self.assertEqual(
            tables.peers_of("step/pi-vae-60/16", self.peers["figures"]["lines"]),
            {"torch eager": 0.16, "jax vmap scan": 0.006},
        )
        rows = list(tables.step_rows([self.bench, self.peers]))
        self.assertEqual(
            rows, [("pi-vae-60", "16", "tf32", 2000.0, 8000.0, "25", {"torch eager": 80.0, "jax vmap scan": 3.0})]
        )
        line = tables.steps_table([self.bench, self.peers]).splitlines()[1]
        self.assertEqual(
            line.split(),
            ["pi-vae-60", "16", "tf32", "2000.0", "8000", "25", "jax", "vmap", "scan", "3,", "torch", "eager", "80"],
        )

    def test_a_peer_that_trains_all_at_once_is_left_out_where_it_failed(self):
        def line(members, form, **more):
            return {"name": f"step/pi-vae-60/{members}", "form": form, "precision": "fp32", **more}

        alone, failed = {"step_s": 0.01}, {"failed": "OutOfMemoryError"}
        lines = [line(1, form, **alone) for form in ("torch graph", "torch vmap", "jax vmap scan", "torch vmap graph")]
        lines += [line(132, "jax vmap scan", **failed), line(132, "torch vmap", step_s=0.1)]
        self.assertEqual(tables.peers_of("step/pi-vae-60/132", lines), {"torch graph": 1.32, "torch vmap": 0.1})
        self.assertEqual(set(tables.peers_of("step/pi-vae-60/1", lines).values()), {0.01})

    def test_a_kernel_is_told_by_its_rates_and_its_share_of_the_roof(self):
        adam = {"name": "adam", "seconds": [9e-6, 1e-5, 2e-5], "calls": 3, "bytes": 1e7, "flops": 5e6}
        adam["roof_fraction"] = 0.5
        step = {
            "name": "operations",
            "figures": {"results": {"cases": [{"name": "step/pi-vae-60/132", "profile": {"operations": [adam]}}]}},
        }
        self.assertEqual(
            tables.kernels_table([step]).splitlines()[2].split(), ["adam", "3", "10.0", "1000.0", "500.0", "50"]
        )

    def test_prints_one_line_for_each_step(self):
        step = {"name": "tests", "status": "failed", "seconds": 2.0, "figures": {"passed": 3, "failed": ["A.c"]}}
        self.assertEqual(tables.step_line(step).split(), ["tests", "failed", "2.0", "s", "passed", "3"])


class GpuBundle(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name).resolve()

    def make(self, target, fill=None, built=None):
        """(exit code, what is said, whether it came to build) where nothing is compiled."""

        def filled(made, build_folder, libraries):
            (made / "tests").mkdir()
            for program in bundle.PROGRAMS:
                (made / program).write_text("new")
            (made / "facts.json").write_text(json.dumps(machine.facts_of_checkout()))
            for name, source in bundle.COPIED.items():
                shutil.copytree(TOOLS.parent / source, made / name)

        said = io.StringIO()
        with (
            mock.patch.object(bundle, "build", side_effect=built) as build,
            mock.patch.object(bundle, "fill", side_effect=fill or filled),
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(said),
        ):
            code = bundle.make(target, self.folder / "programs", [])
        return code, said.getvalue(), build.called

    def files(self, folder):
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def assert_refused(self, target, why):
        code, said, came_to_build = self.make(target)
        self.assertEqual((code, said.count("\n"), came_to_build), (1, 1, False), said)
        self.assertIn(f"gpu-check: --bundle {target}: {why}", said)

    def test_takes_the_place_of_an_earlier_bundle_alone(self):
        target = self.folder / "a/b/bundle"
        self.assertEqual(self.make(target)[0], 0)
        (target / "idem").write_text("old")
        (target / "peers/__pycache__").mkdir()
        (target / "peers/__pycache__/measure.cpython-312.pyc").touch()  # left by a run
        self.assertEqual(self.make(target)[0], 0)
        self.assertEqual((target / "idem").read_text(), "new")
        self.assertEqual(os.listdir(target.parent), ["bundle"])
        facts = json.loads((target / "facts.json").read_text())

        def unmarked():
            (target / "facts.json").unlink()

        def of_others():
            (target / "facts.json").write_text('{"commit": 1}')

        def broken():
            (target / "facts.json").write_text("{")

        def linked():
            (target / "idem").unlink()
            (target / "idem").symlink_to("/bin/true")

        def replaced():
            (target / "idem").unlink()
            (target / "idem").mkdir()
            (target / "idem/main.cpp").touch()

        def with_results():
            (target / "gpu-check.json").touch()

        def with_a_study():
            (target / "configs/mine.json").touch()

        for change in (unmarked, of_others, broken, linked, replaced, with_results, with_a_study):
            with self.subTest(change.__name__):
                shutil.rmtree(target)
                self.make(target)
                change()
                before = self.files(target)
                self.assert_refused(target, "is neither empty nor an earlier bundle and nothing else")
                self.assertEqual(self.files(target), before)
        self.assertEqual(set(facts), set(machine.FACTS))

    def test_a_folder_with_a_checkout_called_idem_is_left_alone(self):
        (self.folder / "code/idem").mkdir(parents=True)
        (self.folder / "code/idem/work.txt").write_text("mine")
        self.assert_refused(self.folder / "code", "is neither empty")
        self.assertEqual((self.folder / "code/idem/work.txt").read_text(), "mine")

    def test_looks_at_the_place_before_it_builds(self):
        (self.folder / "file").touch()
        self.assert_refused(self.folder / "file", "is no folder")
        self.assert_refused(self.folder / "file/bundle", "cannot be made (File exists)")
        self.assert_refused(pathlib.Path("/proc/bundle"), "cannot be made (No such file or directory)")
        self.assert_refused(self.folder / "programs", "programs are built there")

    def test_leaves_the_earlier_bundle_where_the_new_one_was_not_completed(self):
        target = self.folder / "bundle"
        self.make(target)
        before = self.files(target)

        def breaks(*arguments):
            raise bundle.BundleError("broken")

        def half(made, build_folder, libraries):
            (made / "idem").write_text("half")
            breaks()

        def adds(*arguments):
            (target / "note.txt").write_text("mine")

        for more, why in (({"built": breaks}, "broken"), ({"fill": half}, "broken"), ({"built": adds}, "nothing else")):
            code, said, _ = self.make(target, **more)
            self.assertEqual(code, 1)
            self.assertIn(why, said)
            self.assertEqual(os.listdir(self.folder), ["bundle"])
            self.assertEqual(self.files(target).keys() - before.keys() - {pathlib.Path("note.txt")}, set())
            self.assertEqual((target / "idem").read_text(), "new")
        self.assertEqual((target / "note.txt").read_text(), "mine")

    def test_travels_beside_the_checkout(self):
        root = TOOLS.parent
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
        if listed.returncode != 0:
            self.skipTest("this is no checkout")
        tracked = sum((root / name).lstat().st_size for name in listed.stdout.split("\0") if (root / name).is_file())
        self.assertLess(bundle.LIMIT_MIB + tracked / 2**20, 64)

    def test_reads_what_is_needed_and_what_is_found(self):
        self.assertEqual(
            bundle.parse_needed(
                " 0x01 (NEEDED)  Shared library: [libzip.so.4]\n 0x0e (SONAME) Library soname: [libx.so]\n"
            ),
            ["libzip.so.4"],
        )
        self.assertEqual(
            bundle.parse_found(
                "\tlinux-vdso.so.1 (0x7f)\n\tliba.so.1 => /lib/liba.so.1 (0x7f)\n\tlibb.so => not found\n"
            ),
            {"liba.so.1": "/lib/liba.so.1", "libb.so": None},
        )

    def test_leaves_to_the_machine_what_every_machine_with_a_gpu_has(self):
        names = ("libc.so.6", "libcublasLt.so.13", "libcudnn.so.9", "libzip.so.4", "libcrypto.so.3", "libstdc++.so.6")
        self.assertEqual(
            [bool(bundle.OF_THE_MACHINE.match(name)) for name in names], [True, True, True, False, False, False]
        )

    def test_complains_of_a_folder_that_is_too_large_and_of_a_library_that_is_nowhere(self):
        with tempfile.TemporaryDirectory() as folder:
            made = pathlib.Path(folder)
            (made / "large.npz").write_bytes(bytes(3 << 20))
            self.assertEqual(bundle.check_size(made), 3.0)
            with self.assertRaisesRegex(
                bundle.BundleError, "holds 3.0 MiB, 2 are the limit; its largest file is large.npz of 3.0 MiB"
            ):
                bundle.check_size(made, limit_mib=2)
            for program in bundle.PROGRAMS:
                (made / program).parent.mkdir(exist_ok=True)
                (made / program).touch()
            needs = " (NEEDED) Shared library: [libnowhere.so.1]\n (NEEDED) Shared library: [libc.so.6]\n"
            libraries = made / "lib"
            libraries.mkdir()
            with mock.patch.object(bundle, "output_of", return_value=needs):
                with self.assertRaisesRegex(
                    bundle.BundleError, "^idem needs libnowhere.so.1, which is neither in the bundle"
                ):
                    bundle.check_libraries(made, libraries)
                (libraries / "libnowhere.so.1").write_text("a library")
                bundle.check_libraries(made, libraries)
            bundle.pack(made, libraries)
            self.assertEqual((bundle.unpack(made, made / "unpacked") / "libnowhere.so.1").read_text(), "a library")


class Peers(unittest.TestCase):
    def test_a_peer_that_gets_not_ready_is_left_out_and_one_that_fails_says_why(self):
        chosen = mock.Mock(seconds=0.05)

        def never(chosen, precision):
            while True:
                pass

        def wraps(chosen, precision):
            try:
                never(chosen, precision)
            except measure.TooLong as error:
                raise RuntimeError("no compiler") from error

        def faulty(chosen, precision):
            raise ValueError("no\nsuch kernel")

        give_up = mock.Mock()
        for peer in (never, wraps):
            failed = measure.measured(peer, chosen, "fp32", 0.2, give_up)
            self.assertEqual(failed, {"failed": "took longer than 0.2 s"})
        failed = measure.measured(faulty, chosen, "fp32", 0.2, give_up)
        self.assertEqual(failed, {"failed": "ValueError: no such kernel"})
        ten = measure.measured(lambda chosen, precision: (lambda: None, lambda: None, 10), chosen, "fp32", 5, give_up)
        self.assertGreater(ten["step_s"], 0)
        give_up.assert_not_called()

    def test_a_peer_that_could_not_be_interrupted_and_is_ready_before_it_is_ended_is_kept(self):
        began = time.perf_counter()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 100000)
        rounds = int(100000 * 0.8 / (time.perf_counter() - began))  # one call of 0.8 s

        def late(chosen, precision):
            hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)
            return lambda: None, lambda: None, 1

        give_up = mock.Mock()
        kept = measure.measured(late, mock.Mock(seconds=0.05), "fp32", 0.05, give_up)
        self.assertGreater(kept.get("ready_s", 0), 0.3, kept)
        give_up.assert_not_called()

        def late_and_endless(chosen, precision):
            hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)
            end = time.perf_counter() + 5
            while time.perf_counter() < end:
                pass
            return lambda: None, lambda: None, 1

        with mock.patch.object(measure, "GRACE_S", 1.5):
            failed = measure.measured(late_and_endless, mock.Mock(seconds=0.05), "fp32", 0.05, give_up)
        self.assertEqual(failed, {"failed": "took longer than 0.05 s"})
        give_up.assert_not_called()

    def test_large_fleets_that_train_at_once_may_compile_for_longer(self):
        cases = [(of[0], of[1]) for of in measure.peers([1, 16, 132]) if measure.limit_of(*of[:2], 15) == 30]
        forms = ("jax vmap scan", "torch vmap", "torch vmap graph")
        names = ("step/pi-vae-60/132", "step/ci-ivae-60/132")
        self.assertEqual(cases, [(name, form) for name in names for form in forms])
        self.assertEqual(measure.limit_of("step/pi-vae-60/16", "jax vmap scan", 15), 15)
        self.assertEqual(measure.limit_of("step/pi-vae-60/132", "jax vmap scan", 120), 120)

    def test_each_is_named_once_and_what_matters_most_comes_first(self):
        all_peers = [tuple(of[:3]) for of in measure.peers([1, 16, 132])]
        self.assertEqual(len(set(all_peers)), len(all_peers))
        self.assertEqual([name for name, *_ in all_peers[:3]], ["step/pi-vae-60/1"] * 3)
        for form in ("torch eager", "torch compile", "torch graph", "jax jit", "jax vmap scan"):
            self.assertIn(("step/ci-ivae-60/1", form, "fp32"), all_peers)
        for n_members in (16, 132):
            for form in ("torch vmap", "jax vmap scan"):
                self.assertIn((f"step/pi-vae-60/{n_members}", form, "fp32"), all_peers)
        of_vmap = [int(name.rsplit("/", 1)[1]) for name, form, _ in all_peers if "vmap" in form]
        self.assertEqual(of_vmap, [132] * 6 + [16] * 6 + [1] * 2)
        self.assertEqual([form for _, form, _ in all_peers[-3:]], ["jax vmap scan", "torch compile", "torch compile"])

    def test_says_in_a_line_for_each_that_a_program_is_missing(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "torch.py").write_text("raise ImportError('not installed')\n")
            run = subprocess.run(
                [sys.executable, TOOLS / "bench/peers/measure.py", "--filter", "pi-vae-60/1 torch (eager|graph)"],
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": folder},
                check=True,
            )
        lines = [json.loads(line) for line in run.stdout.splitlines()]
        self.assertEqual([line["skipped"] for line in lines], ["no torch on this machine"] * 2)


class Build(unittest.TestCase):
    def test_is_configured_below_a_folder_called_cuda(self):
        root = TOOLS.parent
        with tempfile.TemporaryDirectory() as folder:
            checkout = pathlib.Path(folder) / "cuda/idem"
            for part in ("kernels", "engine", "host", "tests", "configs", "tools/cmake"):
                shutil.copytree(root / part, checkout / part)
            shutil.copy(root / "CMakeLists.txt", checkout)
            configure = ["cmake", "-S", checkout, "-B", checkout / "build", "-G", "Ninja"]
            configure += ["-DCUDA_BACKEND=OFF", "-DBUILD_TESTING=OFF"]
            run = subprocess.run(configure, capture_output=True, text=True)
            self.assertEqual(run.returncode, 0, run.stderr)


class PtxasCheck(unittest.TestCase):
    check = script("ptxas-check")

    def test_says_in_one_line_that_a_program_is_no_nvcc(self):
        with tempfile.TemporaryDirectory() as folder:
            other = pathlib.Path(folder) / "other"
            for text, mode in (
                ("exit 0", 0o755),
                ("exit 1", 0o755),
                ("echo V1", 0o755),
                ("printf '\\377V1'", 0o755),
                ("", 0o644),
            ):
                other.write_text(f"#!/bin/sh\n{text}\n")
                other.chmod(mode)
                run = subprocess.run([sys.executable, TOOLS / "ptxas-check", other], capture_output=True, text=True)
                said = f"ptxas-check: {other} is no nvcc; name CUDA's, as /usr/local/cuda/bin/nvcc\n"
                self.assertEqual((run.returncode, run.stdout, run.stderr), (2, "", said))
            run = subprocess.run([sys.executable, TOOLS / "ptxas-check", f"{folder}/none"], capture_output=True)
            self.assertEqual(run.returncode, 77)

    said = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z1av' for 'sm_90'
ptxas info    : Function properties for _Z1av
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 38 registers, used 1 barriers, 256 bytes smem
ptxas info    : Compiling entry function '_Z1bv' for 'sm_90'
ptxas info    : Function properties for _Z1bv
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers, 8 bytes cumulative stack size
"""

    def test_reads_every_kernel(self):
        self.assertEqual(
            self.check.parse(self.said),
            {
                "_Z1av": {"registers": 38, "stack": 0, "spilled": 0, "shared": 256},
                "_Z1bv": {"registers": 10, "stack": 8, "spilled": 16, "shared": 0},
            },
        )

    def test_reads_every_kernel_of_a_library(self):
        said = """member libidem_kernels.a:a.cu.o:
Fatbin elf code:
 Function _Z1av:
  REG:38 STACK:0 SHARED:1280 LOCAL:0 CONSTANT[0]:752 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _Z1bv:
  REG:10 STACK:8 SHARED:0 LOCAL:0 CONSTANT[0]:752 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
        self.assertEqual(
            self.check.parse_usage(said),
            {
                "_Z1av": {"registers": 38, "stack": 0, "spilled": 0, "shared": 256},
                "_Z1bv": {"registers": 10, "stack": 8, "spilled": 0, "shared": 0},
            },
        )

    def test_reads_the_threads_of_a_block(self):
        ptx = """.visible .entry _Z1av(
	.param .u64 _Z1av_param_0
)
.maxntid 64, 2, 1
.minnctapersm 3
{
	ret;
}
.visible .entry _Z1bv(
	.param .u64 _Z1bv_param_0
)
{
	ret;
}
"""
        self.assertEqual(self.check.parse_threads(ptx), {"_Z1av": 128, "_Z1bv": 256})

    def test_counts_the_blocks_that_a_multiprocessor_holds(self):
        cases = {(32, 0, 256): 8, (80, 0, 256): 3, (86, 0, 256): 2, (123, 0, 256): 2, (255, 0, 256): 1, (86, 0, 128): 5,
                 (32, 0, 32): 32, (16, 8192, 128): 16, (56, 100 * 1024, 256): 2}
        for kernel, blocks in cases.items():
            self.assertEqual(self.check.blocks_per_multiprocessor(*kernel), blocks, kernel)

    # Of two kernels: one with a loop in a loop, and one with code behind its end, from where a branch leads back.
    sass = """
	code for sm_90
	.target	sm_90

		Function : _Z1aPK6float4PS_i
	.headerflags	@"EF_CUDA_SM90 EF_CUDA_VIRTUAL_SM(EF_CUDA_SM90)"
        /*0030*/                   ISETP.LT.AND P0, PT, RZ, UR4, PT ;    /* 0x00000004ff007c0c */
                                                                         /* 0x000fda0003f06300 */
        /*0040*/               @P0 BRA 0x90 ;                            /* 0x0000000000100947 */
        /*0080*/                   BRA 0x280 ;                           /* 0x00000000007c7947 */
        /*0090*/                   S2R R13, SR_TID.X ;                   /* 0x00000000000d7919 */
        /*00e0*/                   LDC.64 R8, c[0x0][0x210] ;            /* 0x00008400ff087b82 */
        /*0150*/                   LDG.E.128 R8, desc[UR6][R8.64] ;      /* 0x0000000608087981 */
        /*01b0*/                   STS.128 [R2], R8 ;                    /* 0x0000000802007388 */
        /*01c0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;         /* 0x0000000000007b1d */
        /*01d0*/                   LDS.128 R8, [UR5] ;                   /* 0x00000005ff087984 */
        /*0230*/                   FFMA R3, R8, R9, R3 ;                 /* 0x0000000908037223 */
        /*0240*/                   HMMA.1688.F32.TF32 R4, R8, R16, R4 ;  /* 0x000000100804723c */
        /*0260*/              @!P0 BRA 0x1d0 ;                           /* 0xfffffffc00d88947 */
        /*0270*/              @!P1 BRA 0xe0 ;                            /* 0xfffffffc00989947 */
        /*0280*/                   S2R R9, SR_TID.X ;                    /* 0x0000000000097919 */
        /*0310*/                   STG.E.128 desc[UR6][R2.64], R4 ;      /* 0x0000000402007986 */
        /*0320*/                   EXIT ;                                /* 0x000000000000794d */
        /*0330*/                   BRA 0x330;                            /* 0xfffffffc00fc7947 */
		..........

		Function : _Z1bv
        /*1ef0*/                   BRA.DIV UR6, 0xb1c0 ;
        /*1f00*/                   SHFL.BFLY PT, R31, R52, 0x10, 0x1f ;
        /*1f90*/                   FADD R31, R31, R52 ;
        /*2020*/              @!P0 LDG.E R28, desc[UR32][R4.64] ;
        /*b1b0*/                   EXIT ;
        /*b1c0*/                   HFMA2.MMA R36, -RZ, RZ, 0, 9.5367431640625e-07 ;
        /*b3f0*/                   WARPSYNC.COLLECTIVE R34, 0xb420 ;
        /*b410*/                   ENDCOLLECTIVE ;
        /*b420*/                   BRA 0x1f90 ;
"""

    def test_counts_instructions(self):
        kernels = self.check.parse_sass(self.sass)
        self.assertEqual(list(kernels), ["_Z1aPK6float4PS_i", "_Z1bv"])
        first, second = map(self.check.count, kernels.values())
        self.assertEqual(first, {kind: 1 for kind in self.check.COUNTED})
        self.assertEqual({kind for kind, n in second.items() if n}, {"LDG"})  # HFMA2.MMA is no HMMA

    def test_finds_innermost_loops_alone(self):
        loops, none = map(self.check.innermost_loops, self.check.parse_sass(self.sass).values())
        self.assertEqual(none, [])
        self.assertEqual([[address for address, *_ in loop] for loop in loops], [[0x1d0, 0x230, 0x240, 0x260]])
        self.assertEqual(self.check.loop_line(loops[0]).split(), ["1d0", "4", "1", "1", "0", "1", "4.00", "-"])

    good = {"registers": 38, "stack": 0, "spilled": 0, "shared": 256, "blocks": 6,
            "LDG": 8, "LDG.128": 4, "STG": 2, "STG.128": 0, "HMMA": 2}

    def test_complains_of_spills_growth_and_the_unknown_alone(self):
        golden = {"a": self.good}
        self.assertEqual(self.check.compare(golden, golden), [])
        better = {**self.good, "registers": 30, "shared": 0, "blocks": 8, "HMMA": 4}
        self.assertEqual(self.check.compare(golden, {"a": better}), [])
        grown = {"a": {**self.good, "registers": 39, "stack": 8, "spilled": 16}, "b": self.good}
        self.assertEqual(
            self.check.compare(golden, grown),
            [
                "a spills 16 bytes of registers",
                "a takes 39 of registers, 38 before",
                "a takes 8 of stack, 0 before",
                "b is not in the golden file",
            ],
        )

    def test_complains_of_fewer_blocks_tensor_products_and_wide_accesses(self):
        def complaints(**changed):
            return self.check.compare({"a": self.good}, {"a": {**self.good, **changed}})
        self.assertEqual(complaints(blocks=5, HMMA=0), ["a has 5 blocks, 6 before", "a has 0 HMMA, 2 before"])
        self.assertEqual(complaints(**{"LDG": 9}), [])  # one more of 4 bytes takes none of 16 away
        self.assertEqual(complaints(**{"LDG": 4, "LDG.128": 2}), [])  # the same loop, unrolled half as far
        self.assertEqual(complaints(**{"LDG": 20, "LDG.128": 0}), ["a has 0 LDG.128 of 20 LDG, 4 of 8 before"])
        self.assertEqual(complaints(**{"LDG": 5, "LDG.128": 2}), ["a has 2 LDG.128 of 5 LDG, 4 of 8 before"])

    def test_compares_the_rest_where_the_machine_code_was_not_read(self):
        unread = {name: value for name, value in self.good.items() if name not in self.check.KEPT}
        complaints = self.check.compare({"a": self.good}, {"a": {**unread, "registers": 40}})
        self.assertEqual(complaints, ["a takes 40 of registers, 38 before"])


class MutateBarriers(unittest.TestCase):
    mutate = script("mutate-barriers")

    def test_the_table_names_every_barrier_of_the_kernels(self):
        section = (TOOLS.parent / "tests/README.md").read_text().split("\n## Barriers\n")[1].split("\n## ")[0]
        rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        command = [sys.executable, TOOLS / "mutate-barriers", "--list"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        self.assertEqual(rows, listed)
        self.assertIn(f" of {len(rows)} are noticed, ", section)

    def test_refuses_a_kernel_without_tests_of_its_own(self):
        source = pathlib.Path("kernels/layers/row_chain.cu")
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder) / "tests"

            def chosen(listing):
                program.write_text(f"#!{sys.executable}\nprint({listing!r})\n")
                program.chmod(0o755)
                return self.mutate.own_tests(program, source)

            self.assertEqual(chosen("RowChainForwardTwins.\n  Agree\n"), "--gtest_filter=RowChain*Twins.*")
            with self.assertRaisesRegex(SystemExit, "no test of kernels/layers/row_chain.cu"):
                chosen("Running main() from gtest_main.cc\n")


class HouseCensus(unittest.TestCase):
    """tools/house-census: this tree keeps to its rules, and a planted breach of each is told."""

    def faults(self, tree):
        said = subprocess.run([TOOLS / "house-census", "--check", str(tree)], capture_output=True, text=True)
        self.assertEqual(said.returncode, 1 if said.stdout else 0, said.stderr)
        return said.stdout.splitlines()

    def test_this_tree_has_no_fault(self):
        self.assertEqual(self.faults(TOOLS.parent), [])

    def test_every_breach_is_told(self):
        planted = {
            "kernels/layers/a.h": '#include "engine/device/device.h"\n',
            "engine/families/one/a.h": '#include "engine/families/other/b.h"\n',
            "engine/device/a.h": '#include "kernels/layers/a.h"\n',
            "host/support/a.h": '#include "host/study/b.h"\n',
            "host/study/a.cpp": '#include "tests/support/b.h"\n#include "host/study/c.h"\n#include "host/support/d.h"\n',
            "host/report/a.cpp": "int f() {\n" + "  g();\n" * 100 + "}\n",
            "host/report/b.cpp": "// a line\n" * 501,
            "tests/a.cpp": "const char* text = R\"(\n{\n)\";\nint f() { return 1; }\n" + "// a line\n" * 490,
        }
        with tempfile.TemporaryDirectory() as folder:
            for name, text in planted.items():
                path = pathlib.Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            self.assertEqual(sorted(self.faults(folder)), [
                "engine/families/one/a.h includes engine/families/other/b.h, which lies above it",
                "host/report/a.cpp: f has 102 lines",
                "host/report/b.cpp: 501 lines",
                "host/study/a.cpp includes tests/support/b.h, which lies above it",
                "host/support/a.h includes host/study/b.h, which lies above it",
                "kernels/layers/a.h includes engine/device/device.h, which lies above it",
            ])


class Pages(unittest.TestCase):
    """The READMEs and the pages they lead to."""

    ROOT = TOOLS.parent
    FOLDERS = ("kernels", "engine", "host", "configs", "tools", "tests")

    def test_every_folder_has_one(self):
        for folder in self.FOLDERS:
            self.assertTrue((self.ROOT / folder / "README.md").exists(), folder)

    def pages(self):
        below = [page for folder in self.FOLDERS for page in sorted((self.ROOT / folder).rglob("*.md"))]
        return [*sorted(self.ROOT.glob("*.md")), *below]

    def blocks(self, page):
        """(language, text) of every fenced block."""
        return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)

    @staticmethod
    def anchors(page):
        """As GitHub makes them of headings."""
        headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def test_no_line_of_the_readme_is_long(self):
        lines = (self.ROOT / "README.md").read_text().splitlines()
        self.assertEqual([line for line in lines if len(line) > 140], [])

    def test_every_link_leads_somewhere(self):
        n_links = 0
        for page in self.pages():
            text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
            for link in re.findall(r"\]\(([^)]+)\)", text):
                if re.match(r"https?:", link):
                    continue
                with self.subTest(page=str(page.relative_to(self.ROOT)), link=link):
                    path, _, anchor = link.partition("#")
                    target = (page.parent / path).resolve() if path else page
                    self.assertTrue(target.exists())
                    if anchor:
                        self.assertIn(anchor, self.anchors(target))
                    n_links += 1
        self.assertGreater(n_links, 40)

    def test_every_file_and_symbol_that_a_page_names_is_there(self):
        known = set()
        for folder in self.FOLDERS:
            for path in (self.ROOT / folder).rglob("*"):
                if path.is_file() and path.suffix in (".h", ".cpp", ".cu", ".py", ".json", ".m", ".txt", ""):
                    known |= set(re.findall(r"\w+", path.read_text()))
        for page in self.pages():
            if page.name in ("CHANGELOG.md", "FORMATS.md"):  # what changed may be gone; keys are held against the files
                continue
            for words in re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)):
                with self.subTest(page=str(page.relative_to(self.ROOT)), words=words):
                    if re.fullmatch(rf"(?:{'|'.join(self.FOLDERS)})/[\w./-]+", words):
                        self.assertTrue((self.ROOT / words).exists() or re.search("[A-Z]{4}", words))  # NAME and FOLDER are anybody's
                    elif re.fullmatch(r"\w+(?:::\w+)?", words) and re.search(r"_|[a-z][A-Z]", words) and not re.search("[A-Z]{4}", words):
                        for word in words.split("::"):
                            self.assertTrue(word in known, word)

    def test_commands_shown_are_commands(self):
        n_commands = 0
        for page in self.pages():
            for language, text in self.blocks(page):
                with self.subTest(page=str(page.relative_to(self.ROOT)), text=text):
                    if language == "python":
                        compile(text, page, "exec")
                    if language or text.startswith("idem "):  # the synopsis is compared with the program's help
                        continue
                    self.assertEqual(subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr, "")
                    for line in filter(None, re.split(r"\n|&&", text)):
                        word = line.split()[0]
                        n_commands += 1
                        if word.startswith("tools/"):
                            self.assertTrue(os.access(self.ROOT / word, os.X_OK), word)
                        else:
                            self.assertIn(word, ("build/cpu/idem", "cmake", "ctest"))
        self.assertGreater(n_commands, 20)

    def test_the_host_lists_its_rooms_as_the_census_does(self):
        rooms = [" ".join(line) for line in script("house-census").ROOMS]
        listed = re.findall(r"^\| ((?:`[\w/*]+`(?:, )?)+) \|", (self.ROOT / "host/README.md").read_text(), re.MULTILINE)
        self.assertEqual([line.replace("`", "").replace(",", "") for line in listed], [room for room in rooms if room.startswith("host")])

    def test_every_study_and_every_tool_has_its_row(self):
        for folder, names in (("configs", self.ROOT.glob("configs/*.json")), ("tools", TOOLS.iterdir())):
            text = (self.ROOT / folder / "README.md").read_text()
            for path in names:
                if path.name in ("README.md", "gpu_check", "__pycache__"):
                    continue
                with self.subTest(path=str(path.relative_to(self.ROOT))):
                    self.assertRegex(text, rf"{re.escape(path.name)}\b")


class ReadNpz(unittest.TestCase):
    """tools/read_npz.m, in Octave, where there is one."""

    @unittest.skipUnless(shutil.which("octave-cli") and shutil.which("unzip"), "Octave is not installed")
    def test_reads_numbers_and_texts_with_numpys_axes(self):
        def header(kind, shape, order="False"):
            text = f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
            return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text

        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(f"{folder}/latents.npz", "w", zipfile.ZIP_DEFLATED) as file:
                file.writestr("mean.npy", header("<f4", "(2, 3)") + struct.pack("<6f", 0, 1, 2, 3, 4, 5.5))
                file.writestr("turned.npy", header("<f8", "(2, 3)", "True") + struct.pack("<6d", 0, 1, 2, 3, 4, 5))
                file.writestr("deep.npy", header("<i4", "(2, 1, 3)") + struct.pack("<6i", 0, 1, 2, 3, 4, -5))
                file.writestr("split.npy", header("|i1", "(3,)") + struct.pack("<3b", 0, 1, -1))
                file.writestr("names.npy", header("<U3", "(2,)") + "x\0\0yµz".encode("utf-32-le"))
            program = """z = read_npz('latents.npz'); disp(mat2str(z.mean)), disp(mat2str(z.turned)), disp(mat2str(z.deep(:, 1, 3)))
                disp(mat2str(z.split)), disp(size(z.names)), disp(z.names{1}), disp(double(z.names{2}))"""
            command = ["octave-cli", "--no-init-file", "--path", str(TOOLS), "--eval", program]
            output = subprocess.run(command, capture_output=True, text=True, cwd=folder).stdout.split("\n")
            self.assertEqual(output[:4], ["[0 1 2;3 4 5.5]", "[0 2 4;1 3 5]", "[2;-5]", "[0;1;-1]"])
            self.assertEqual([line.split() for line in output[4:7]], [["2", "1"], ["x"], ["121", "181", "122"]])


class StepModel(unittest.TestCase):
    model = script("bench/step_model.py")

    def test_holds_the_totals_that_were_estimated(self):
        totals = {("pi-vae-60", 1): 89, ("pi-vae-60", 132): 580, ("pi-vae-60-tf32", 132): 510,
                  ("ci-ivae-60", 16): 104, ("conv-ci-ivae-32", 1): 88, ("cebra-512", 132): 2995,
                  ("cebra-20000", 1): 155, ("pi-vae-60-mlp", 132): 271, ("cebra-512-64", 1): 101,
                  ("ci-ivae-4096-fp32", 1): 1863, ("ci-ivae-4096-tf32", 1): 464, ("ci-ivae-4096-bf16", 1): 388}
        self.assertEqual({case: round(self.model.step_time(*case, "H200")[0]) for case in totals}, totals)
        self.assertEqual(round(self.model.step_time("pi-vae-60", 132, "H100")[0]), 648)

    def test_prints_launches_and_whether_goals_are_met(self):
        command = [sys.executable, TOOLS / "bench/step_model.py", "--card", "H200", "cebra-512"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        self.assertIn("### CEBRA offset10, 512 draws of 4200 bins, width 32, E=132, H200", lines)
        self.assertEqual(sum(line.split()[1:2] == ["uniformity_forward"] for line in lines), 3)
        self.assertEqual([line.split()[:2] for line in lines[-2:]], [["cebra-512", "1"], ["cebra-512", "132"]])

    def test_counts_the_operations_of_the_models_that_goals_are_stated_for(self):
        def mega_flops(case):
            return round(sum(launch.kernel.flops for launch in self.model.CASES[case].launches(1)) / 1e6)
        self.assertEqual([mega_flops(case) for case in ("pi-vae-60-mlp", "ci-ivae-4096-tf32")], [25, 62051])


class SkippedTests(unittest.TestCase):
    def test_are_counted_by_reason_in_one_line(self):
        told = "a_test.cpp:7: Skipped\n{}\n\n[  SKIPPED ] A.b (0 ms)\n"
        outputs = [told.format("no Chromium here"), told.format('"/home/a/shared/a.npz" is not on this machine'), "first\n[  SKIPPED ] no GPU\n", "",
                   told.format("no shared cases here"), told.format('"/tmp/b.npz" is not on this machine')]
        cases = "".join(f'<testcase name="{i}"><skipped message="x"/><system-out>{text}</system-out></testcase>' for i, text in enumerate(outputs))
        for cases, want in ((cases, "2 no ../shared; 1 a file is not on this machine; 1 no Chromium here; 1 no GPU; 1 no reason given"), ("", "none")):
            with tempfile.TemporaryDirectory() as folder:
                report = pathlib.Path(folder) / "report.xml"
                report.write_text(f'<testsuite>{cases}<testcase name="ran"><system-out>a: Skipped\nb</system-out></testcase></testsuite>')
                said = subprocess.run([sys.executable, TOOLS / "skipped-tests", report], capture_output=True, text=True, check=True).stdout
            self.assertEqual(said, f"Skipped: {want}\n")


if __name__ == "__main__":
    unittest.main()
