"""NVIDIA's profiler and sanitizers, where the machine lets them."""

import concurrent.futures
import json
import os
import re
import shutil

from gpu_check.commands import status_of, worst
from gpu_check.correctness import listed
from gpu_check.machine import ROOT

NCU_REFUSAL = r"ERR_NVGPUCTRPERM|==ERROR==|not supported on|No kernels were profiled"
SANITIZER_REFUSAL = r"Device not supported|Error: (?:Target|Failed|No|Unable)|Unable to find|not supported on this"
SECTIONS = ("SpeedOfLight", "MemoryWorkloadAnalysis", "Occupancy")
KERNELS = "regex:row_chain|narrow_convolution|weight_gradients|adam|uniformity|ci_ivae_bound"
# Not initcheck: arrays are cleared when they are allocated, so that everything counts as written.
SANITIZERS = ("memcheck", "racecheck")
SUITES_OF_A_PROCESS = 3  # starting one under a sanitizer takes seconds
# Suites of the kernels that are new or rewritten, by how their names begin; then all others.
LOOKED_AT_FIRST = (
    "RowChain",
    "NarrowConvolution",
    "WeightGradients",
    "Uniformity",
    "CiIvaeBound",
    "DrawnRows",
    "DrawnPlaces",
    "Adam",
    "Gather",
    "LatentSample",
    "Draw",
)


def parse_sanitizer(text):
    """Findings that compute-sanitizer counts in its last summary, or that it told before it was ended; None when it
    wrote none."""
    counts = re.findall(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard)", text)
    told = re.findall(r"^========= (?:Invalid|Misaligned|Program hit|(?:Error|Warning): Race)", text, re.MULTILINE)
    return int("".join(counts[-1])) if counts else len(told) or None


def parse_ended_tests(text):
    """Suites of which GoogleTest told how a test ended."""
    return set(re.findall(r"^\[ +(?:OK|FAILED|SKIPPED) +\] (\S+)\.\w", text, re.MULTILINE))


def kernels_with_barriers():
    """Of kernels/STAGE/some_kernel.cu: SomeKernel, with which the names of its tests' suites begin."""
    files = sorted(
        path for path in ROOT.glob("kernels/**/*.cu") if re.search(r"\b__sync(threads|warp)\(", path.read_text())
    )
    return tuple(path.stem.title().replace("_", "") for path in files)


def smallest_tests(suites, seconds_of_tests):
    """{suite: SUITE.TEST}, of the tests that compare twins the one that took the least time."""
    chosen = {}
    for suite, tests in suites.items():
        names = [f"{suite}.{test}" for test in tests]
        compare = [name for name in names if ".Agree" in name] or names
        chosen[suite] = min(compare, key=lambda name: seconds_of_tests.get(name, float("inf")))
    return chosen


def sanitizer_jobs(suites):
    """(tool, suites that share a process) in the order of their turns: all suites under memcheck, those of kernels with
    barriers under racecheck too."""
    places = {
        suite: next((i for i, name in enumerate(LOOKED_AT_FIRST) if suite.startswith(name)), len(LOOKED_AT_FIRST))
        for suite in suites
    }
    first = sorted((suite for suite in suites if places[suite] < len(LOOKED_AT_FIRST)), key=places.get)
    with_barriers = kernels_with_barriers()
    for group in (first, [suite for suite in suites if suite not in first]):
        for tool in SANITIZERS:
            of_tool = [suite for suite in group if tool == "memcheck" or suite.startswith(with_barriers)]
            for i in range(0, len(of_tool), SUITES_OF_A_PROCESS):
                yield tool, of_tool[i : i + SUITES_OF_A_PROCESS]


def ncu_command(path):
    """Of the kernels that take most time, one run of a step."""
    options = ["--profile-from-start", "off", "--clock-control", "none", "--graph-profiling", "node"]
    options += ["--csv", "--page", "raw", "--kernel-name", KERNELS, "--launch-count", "16"]
    return [path, *options, *(word for section in SECTIONS for word in ("--section", section))]


def kernels_of(check, log):
    """What ncu counted, as the program reads it, and how that program ended."""
    ended = check.idem(["profile", "ncu", check.scratch / log], f"kernels-of-{log}")
    return json.loads(ended.output) if ended.code == 0 else [], ended


def ncu(check):
    """One run of a step by the profiler. In rehearsals the same run without it."""
    path = shutil.which("ncu", path=check.environment["PATH"])
    is_rehearsal = check.settings.device == "cpu"
    if not path and not is_rehearsal:
        return "skipped", {"reason": "there is no ncu"}
    prefix = [] if is_rehearsal else ncu_command(path)
    kernels = []
    for i, case in enumerate(check.settings.once):
        log = f"ncu-{case.replace('/', '-')}.log"
        ended = check.command(
            [*prefix, check.bundle / "idem", "bench", "--device", check.settings.device, "--once", case],
            log,
            at_most=check.left_s() / (len(check.settings.once) - i),
            refusal=None if is_rehearsal else NCU_REFUSAL,
        )
        if ended.refused:
            return "skipped", {"reason": ended.refused, "kernels": kernels}
        if ended.code != 0:
            return status_of(ended.code), {"kernels": kernels, **ended.why}
        if is_rehearsal:
            continue
        counted, ended = kernels_of(check, log)
        if ended.code != 0:
            return status_of(ended.code), {"kernels": kernels, **ended.why}
        kernels += [{"step": case, **kernel} for kernel in counted]
    if is_rehearsal:
        return "skipped", {"reason": "ncu profiles GPUs alone; the steps ran without it"}
    return "passed" if kernels else "failed", {"kernels": kernels}


def sanitizers(check):
    """Of every kernel the smallest test."""
    path = shutil.which("compute-sanitizer", path=check.environment["PATH"])
    if check.settings.device == "cpu":
        return "skipped", {"reason": "the sanitizers look at GPUs alone"}
    if not path:
        return "skipped", {"reason": "there is no compute-sanitizer"}
    tests = smallest_tests(listed(check, "*Twins.*"), check.figures("tests").get("seconds_of_tests", {}))

    def one(job):
        tool, suites = job
        return check.command(
            [
                path,
                "--tool",
                tool,
                "--error-exitcode",
                "9",
                check.bundle / check.settings.tests,
                f"--gtest_filter={':'.join(tests[suite] for suite in suites)}",
            ],
            f"{tool}-{suites[0]}.log",
            refusal=SANITIZER_REFUSAL,
        )

    jobs = list(sanitizer_jobs(tests))
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count())) as pool:
        results = list(pool.map(one, jobs))
    refused = [ended.refused for ended in results if ended.refused]
    if refused and not any(parse_ended_tests(ended.output) for ended in results):
        return "skipped", {"reason": refused[0]}
    return summary(jobs, results)


def summary(jobs, results):
    figures, statuses = {}, [status_of(ended.code) for ended in results]
    for tool in SANITIZERS:
        of_tool = [(suites, ended) for (of, suites), ended in zip(jobs, results) if of == tool]
        missed = [
            suite for suites, ended in of_tool for suite in suites if suite not in parse_ended_tests(ended.output)
        ]
        found = sum(parse_sanitizer(ended.output) or 0 for _, ended in of_tool)
        n_suites = sum(len(suites) for suites, _ in of_tool)
        figures[tool] = f"{n_suites - len(missed)} of {n_suites} suites, {found} findings"
        figures[f"{tool} missed"] = missed
        statuses += ["failed"] if found or not n_suites else []
    return worst(statuses), figures
