"""What the scripts in tools/ read out of other programs' output."""
import fnmatch
import importlib.machinery
import importlib.util
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

TOOLS = pathlib.Path(__file__).resolve().parent.parent / "tools"
sys.dont_write_bytecode = True


def script(name):
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(TOOLS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class DecodingTable(unittest.TestCase):
    def test_shows_splits_beside_the_means_and_leaves_failed_runs_out(self):
        def run(split, error, **more):
            scores = {part: {"position_error_cm": error, "total_r2": error / 100} for part in ("valid", "test")}
            return {"run": f"a-f{split}", "model": "a", "split": split, "subject": "x", "sees_labels": False, "training": {"nonfinite_steps": 0},
                    "metrics": {"encoder": {"euclidean": scores, "cosine": scores}}, **more}

        study = {"runs": [run(0, 10), run(0, 14), run(1, 20), run(1, 90, failed=True, reason="diverged")],
                 "baselines": [], "consistency": {"runs": [{"model": "a", "encoder_train": 0.75, "encoder_train_lowest_loss": 0.875, "splits": [{"encoder": 0.5}]}]}}
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "metrics.json").write_text(json.dumps(study))
            table = subprocess.run([sys.executable, TOOLS / "decoding-table", "--by-split", folder], capture_output=True, text=True, check=True)
        rows = [line for line in table.stdout.splitlines() if line.startswith("| a |")]
        self.assertIn("| 16.0 ± 5.7 |", rows[0])
        self.assertEqual(rows[1], "| a | 12.0, 0.12 | 20.0, 0.20 | 16.0, 0.16 | 0.75 (half of lowest loss: 0.88) |")
        self.assertEqual(table.stderr, "a-f1 failed: diverged\n")


class GpuCheck(unittest.TestCase):
    check = script("gpu-check")

    def test_reads_the_card(self):
        card = self.check.parse_card("NVIDIA H100 80GB HBM3, 580.159.04, 9.0, 81559")
        self.assertEqual(card, {"device": "NVIDIA H100 80GB HBM3", "driver": "580.159.04", "compute_capability": "9.0", "memory_mib": 81559})

    def test_counts_what_the_sanitizer_found(self):
        self.assertEqual(self.check.parse_sanitizer("========= ERROR SUMMARY: 0 errors\n"), 0)
        self.assertEqual(self.check.parse_sanitizer("========= ERROR SUMMARY: 12 errors\n"), 12)
        self.assertEqual(self.check.parse_sanitizer("========= RACECHECK SUMMARY: 3 hazards displayed (3 errors, 0 warnings)\n"), 3)
        self.assertIsNone(self.check.parse_sanitizer("Device not supported"))

    def test_counts_tests(self):
        report = {"testsuites": [{"testsuite": [{"classname": "A", "name": "a", "result": "COMPLETED"},
                                                {"classname": "A", "name": "b", "result": "SKIPPED"},
                                                {"classname": "A", "name": "c", "result": "COMPLETED", "failures": [{}]}]}]}
        self.assertEqual(self.check.parse_tests(report), {"passed": 1, "skipped": 1, "failed": ["A.c"]})

    def test_finds_a_suite_for_every_kernel_with_barriers(self):
        tests = "\n".join(path.read_text() for path in (TOOLS.parent / "tests").glob("emulated_*_test.cpp"))
        suites = re.findall(r"^TEST\((\w+Twins),", tests, re.MULTILINE)
        patterns = self.check.suites_of_kernels_with_barriers()
        self.assertIn("RowChain*Twins.*", patterns)
        for pattern in patterns:
            self.assertTrue(fnmatch.filter(suites, pattern[: -len(".*")]), pattern)

    def test_reads_the_suites(self):
        listing = "Running main() from gtest_main.cc\nA.\n  a\n  b\nAll/B.  # of values\n  a/0  # GetParam() = 1.5\nT/0.  # TypeParam = float\n  a\n"
        self.assertEqual(self.check.parse_suites(listing), ["A", "All/B", "T/0"])

    def test_tells_time_out_from_failure(self):
        self.assertEqual([self.check.outcome(code) for code in (0, 1, 77, None)], ["passed", "failed", "skipped", "out of time"])

    def test_prints_one_line_for_each_step(self):
        steps = [{"name": "build", "status": "passed", "seconds": 61.25, "figures": {}},
                 {"name": "tests", "status": "failed", "seconds": 2.0, "figures": {"passed": 3, "failed": ["A.c"]}}]
        self.assertEqual(self.check.table(steps), "build  passed         61.2 s\ntests  failed          2.0 s  passed 3")

    def test_names_the_programs_that_a_build_made_elsewhere_lacks(self):
        with tempfile.TemporaryDirectory() as folder:
            out, build = pathlib.Path(folder) / "out", pathlib.Path(folder) / "build"
            (build / "tests").mkdir(parents=True)

            def check():
                return subprocess.run([sys.executable, TOOLS / "gpu-check", "--out", out, "--build", build], capture_output=True, text=True)
            missing = {}
            for program in ("idem", "tests/idem_cuda_tests"):
                run = check()
                self.assertEqual((run.returncode, run.stderr.count("\n"), run.stdout), (1, 1, ""))
                missing[program] = run.stderr
                (build / program).touch()
            self.assertIn("has no idem and no tests/idem_cuda_tests;", missing["idem"])
            self.assertIn("has no tests/idem_cuda_tests;", missing["tests/idem_cuda_tests"])
            self.assertFalse(out.exists())

            card = {"device": "a card", "driver": "1", "compute_capability": "9.0"}
            arguments = ["gpu-check", "--out", str(out), "--build", str(build)]
            ran = []
            with mock.patch.object(self.check, "find_card", return_value=(card, "")), mock.patch.object(sys, "argv", arguments), \
                    mock.patch("builtins.print"), mock.patch.object(self.check.Check, "step", lambda check, name, work: ran.append((check, name))), \
                    mock.patch.object(self.check, "table"):
                self.assertEqual(self.check.main(), 0)
            self.assertEqual([name for _, name in ran][-1], "sanitizers")
            self.assertEqual({"build", *(name for _, name in ran)}, set(self.check.BUDGETS))
            self.assertLessEqual(sum(self.check.BUDGETS[name] for _, name in ran), 540)
            ran[0][0].write()
            self.assertEqual(json.loads((out / "gpu-check.json").read_text())["built"], "elsewhere")

    def test_stops_a_step_that_takes_longer_than_its_own_time_and_writes_after_each(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder)
            check = self.check.Check(out, minutes=9, facts={"device": "a card"})

            def endless():
                code, _ = check.command([sys.executable, "-c", "import signal; signal.pause()"], "endless.log")
                return self.check.outcome(code), {}

            def faulty():
                raise ValueError("no number")

            def written():
                self.assertEqual([step["status"] for step in json.loads((out / "gpu-check.json").read_text())["steps"]], ["out of time", "failed"])
                return "passed", {}

            with mock.patch.object(self.check, "BUDGETS", {"tests": 1, "bench": 5, "sanitizers": 5}), mock.patch("builtins.print"):
                self.assertFalse(check.step("tests", endless))
                self.assertFalse(check.step("bench", faulty))
                self.assertTrue(check.step("sanitizers", written))
            self.assertEqual(check.steps[1]["figures"], {"fault": "ValueError: no number"})

    def test_says_in_one_line_that_there_is_no_gpu(self):
        if self.check.find_card()[0]:
            self.skipTest("this machine has a GPU")
        run = subprocess.run([sys.executable, TOOLS / "gpu-check", "--out", "unused"], capture_output=True, text=True)
        self.assertEqual(run.returncode, 4)
        self.assertEqual(run.stderr.count("\n"), 1)
        self.assertIn("no GPU on this machine", run.stderr)


class Build(unittest.TestCase):
    def test_is_configured_below_a_folder_called_cuda(self):
        root = TOOLS.parent
        with tempfile.TemporaryDirectory() as folder:
            checkout = pathlib.Path(folder) / "cuda/idem"
            for part in ("kernels", "engine", "host", "tests", "configs", "tools/cmake"):
                shutil.copytree(root / part, checkout / part)
            shutil.copy(root / "CMakeLists.txt", checkout)
            configure = ["cmake", "-S", checkout, "-B", checkout / "build", "-G", "Ninja", "-DCUDA_BACKEND=OFF", "-DBUILD_TESTING=OFF"]
            run = subprocess.run(configure, capture_output=True, text=True)
            self.assertEqual(run.returncode, 0, run.stderr)


class PtxasCheck(unittest.TestCase):
    check = script("ptxas-check")
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
        self.assertEqual(self.check.parse(self.said), {"_Z1av": {"registers": 38, "stack": 0, "spilled": 0, "shared": 256},
                                                       "_Z1bv": {"registers": 10, "stack": 8, "spilled": 16, "shared": 0}})

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
        self.assertEqual(self.check.compare(golden, grown), ["a spills 16 bytes of registers", "a takes 39 of registers, 38 before",
                                                             "a takes 8 of stack, 0 before", "b is not in the golden file"])

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


class StepModel(unittest.TestCase):
    model = script("bench/step_model.py")

    def test_holds_the_totals_that_were_estimated(self):
        totals = {("pi-vae-60", 1): 95, ("pi-vae-60", 132): 968, ("ci-ivae-60", 16): 137, ("conv-ci-ivae-32", 1): 120,
                  ("cebra-512", 132): 5417, ("cebra-20000", 1): 416, ("pi-vae-60-mlp", 132): 428,
                  ("cebra-512-64", 1): 146, ("ci-ivae-4096-fp32", 1): 1923, ("ci-ivae-4096-tf32", 1): 510, 
                  ("ci-ivae-4096-bf16", 1): 421}
        self.assertEqual({case: round(self.model.step_time(*case, "H200")[0]) for case in totals}, totals)
        self.assertEqual(round(self.model.step_time("pi-vae-60", 132, "H100")[0]), 1046)

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


if __name__ == "__main__":
    unittest.main()
