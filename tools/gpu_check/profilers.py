"""NVIDIA's profiler and sanitizers, where the machine lets them."""

import concurrent.futures
import csv
import os
import re
import shutil

from gpu_check.commands import status_of
from gpu_check.machine import ROOT

NCU_REFUSAL = r"ERR_NVGPUCTRPERM|==ERROR==|not supported on|No kernels were profiled"
SANITIZER_REFUSAL = r"Device not supported|Error: (?:Target|Failed|No|Unable)|Unable to find|not supported on this"
SECTIONS = ("SpeedOfLight", "MemoryWorkloadAnalysis", "Occupancy")
KERNELS = "regex:row_chain|narrow_convolution|weight_gradients|adam|uniformity|ci_ivae_bound"
# Figures of a kernel, of many more that ncu tells.
COLUMNS = {
    "gpu__time_duration.sum": "time",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "% of compute",
    "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed": "% of memory",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "% of DRAM",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "% of warps",
    "launch__registers_per_thread": "registers",
    "launch__grid_size": "blocks",
}
# Not initcheck: arrays are cleared when they are allocated, so that everything counts as written.
SANITIZERS = ("memcheck", "racecheck")


def parse_ncu(text):
    """Rows of ncu --csv --page raw: a line of names, one of units, one for each kernel."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if '"Kernel Name"' in line), None)
    if start is None:
        return []
    rows = list(csv.DictReader(lines[start:]))
    units = rows[0] if rows else {}
    kernels = []
    for row in rows[1:]:
        figures = {
            label: f"{row[name]} {units.get(name) or ''}".strip() for name, label in COLUMNS.items() if row.get(name)
        }
        kernels.append({"kernel": re.sub(r"\(.*", "", row["Kernel Name"]), **figures})
    return kernels


def parse_sanitizer(text):
    """Findings that compute-sanitizer counts in its last summary; None when it wrote none."""
    counts = re.findall(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard)", text)
    return int("".join(counts[-1])) if counts else None


def suites_of_kernels_with_barriers():
    """The tests of kernels/STAGE/some_kernel.cu are in suites named SomeKernel...Twins; patterns of those names."""
    files = sorted(
        path for path in ROOT.glob("kernels/**/*.cu") if re.search(r"\b__sync(threads|warp)\(", path.read_text())
    )
    return [path.stem.title().replace("_", "") + r"\w*Twins" for path in files]


def smallest_tests(seconds_of_tests, suites):
    """Of each suite the test that took the least time, of those that compare twins."""
    chosen = []
    for suite in suites:
        of_suite = {test: seconds for test, seconds in seconds_of_tests.items() if re.match(rf"{suite}\.Agree", test)}
        if of_suite:
            chosen.append(min(of_suite, key=of_suite.get))
    return chosen


def ncu(check):
    """One run of a step by the profiler. In rehearsals the same run without it."""
    path = shutil.which("ncu", path=check.environment["PATH"])
    is_rehearsal = check.settings.device == "cpu"
    if not path and not is_rehearsal:
        return "skipped", {"reason": "there is no ncu"}
    prefix = (
        []
        if is_rehearsal
        else [
            path,
            "--profile-from-start",
            "off",
            "--clock-control",
            "none",
            "--graph-profiling",
            "node",
            "--csv",
            "--page",
            "raw",
            "--kernel-name",
            KERNELS,
            "--launch-count",
            "16",
        ]
    )
    for section in () if is_rehearsal else SECTIONS:
        prefix += ["--section", section]
    kernels = []
    for i, case in enumerate(check.settings.once):
        ended = check.command(
            [*prefix, check.bundle / "idem", "bench", "--device", check.settings.device, "--once", case],
            f"ncu-{case.replace('/', '-')}.log",
            at_most=check.left_s() / (len(check.settings.once) - i),
            refusal=None if is_rehearsal else NCU_REFUSAL,
        )
        if ended.refused:
            return "skipped", {"reason": ended.refused, "kernels": kernels}
        if ended.code != 0:
            return status_of(ended.code), {"kernels": kernels, **ended.why}
        kernels += [{"step": case, **kernel} for kernel in parse_ncu(ended.output)]
    if is_rehearsal:
        return "skipped", {"reason": "ncu profiles GPUs alone; the steps ran without it"}
    return "passed" if kernels else "failed", {"kernels": kernels}


def sanitizers(check):
    """Each kernel with barriers by its smallest test: first all under memcheck, then under racecheck."""
    tests = smallest_tests(check.figures("tests").get("seconds_of_tests", {}), suites_of_kernels_with_barriers())
    path = shutil.which("compute-sanitizer", path=check.environment["PATH"])
    if check.settings.device == "cpu":
        return "skipped", {"reason": "the sanitizers look at GPUs alone"}
    if not path or not tests:
        return "skipped", {
            "reason": "no test of a kernel with barriers passed" if path else "there is no compute-sanitizer"
        }

    def one(job):
        tool, test = job
        ended = check.command(
            [
                path,
                "--tool",
                tool,
                "--error-exitcode",
                "9",
                check.bundle / check.settings.tests,
                "--gtest_brief=1",
                f"--gtest_filter={test}",
            ],
            f"{tool}-{test}.log",
            refusal=SANITIZER_REFUSAL,
        )
        return ended.refused, status_of(ended.code), parse_sanitizer(ended.output)

    refused = one((SANITIZERS[0], tests[0]))[0]
    if refused:
        return "skipped", {"reason": refused}
    jobs = [(tool, test) for tool in SANITIZERS for test in tests]
    with concurrent.futures.ThreadPoolExecutor(min(4, os.cpu_count())) as pool:
        results = list(pool.map(one, jobs))
    return summary(jobs, results)


def summary(jobs, results):
    figures = {}
    for tool in SANITIZERS:
        of_tool = [(status, found) for (job, _), (_, status, found) in zip(jobs, results) if job == tool]
        n_run = sum(status != "out of time" for status, _ in of_tool)
        figures[tool] = f"{n_run} of {len(of_tool)} kernels, {sum(found or 0 for _, found in of_tool)} findings"
    statuses = {status for _, status, _ in results}
    return "failed" if "failed" in statuses else "out of time" if "out of time" in statuses else "passed", figures
