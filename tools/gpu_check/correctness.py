"""Whether the GPU computes what it should: all tests, the same bytes again, a study as on the CPU."""

import concurrent.futures
import json
import os
import re

from gpu_check.commands import status_of

SLOT_TESTS = "FleetSlot.*"


def parse_tests(report):
    """Figures of a GoogleTest JSON report."""
    outcomes = [test for suite in report["testsuites"] for test in suite["testsuite"]]
    failed = [f"{test['classname']}.{test['name']}" for test in outcomes if test.get("failures")]
    skipped = sum(test.get("result") == "SKIPPED" for test in outcomes)
    return {"passed": len(outcomes) - len(failed) - skipped, "skipped": skipped, "failed": failed}


def parse_seconds(report):
    """{suite.test: seconds} of a GoogleTest JSON report."""
    return {
        f"{test['classname']}.{test['name']}": float(test["time"].rstrip("s"))
        for suite in report["testsuites"]
        for test in suite["testsuite"]
        if test.get("result") == "COMPLETED" and not test.get("failures")
    }


def parse_listing(listing):
    """{suite: names of its tests} of what --gtest_list_tests lists."""
    suites = {}
    for line in listing.splitlines():
        if re.match(r"\S+\.(\s|$)", line):
            tests = suites.setdefault(line.split()[0].rstrip("."), [])
        elif line.startswith("  ") and suites:
            tests.append(line.split()[0])
    return suites


def listed(check, test_filter):
    listing = check.command(
        [check.bundle / check.settings.tests, "--gtest_list_tests", f"--gtest_filter={test_filter}"], "suites.log"
    )
    return parse_listing(listing.output)


def added(of_suites):
    return {
        "passed": sum(of["passed"] for of in of_suites),
        "skipped": sum(of["skipped"] for of in of_suites),
        "failed": [test for of in of_suites for test in of["failed"]],
    }


def run_suite(check, suite):
    """Each suite in a process of its own: a fault on the device takes the rest of its process with it."""
    name = suite.replace("/", "-")
    report = check.scratch / f"tests-{name}.json"
    ended = check.command(
        [
            check.bundle / check.settings.tests,
            "--gtest_brief=1",
            f"--gtest_filter={suite}.*",
            f"--gtest_output=json:{report}",
        ],
        f"tests-{name}.log",
    )
    if not report.exists() or ended.code not in (0, 1):
        return {"passed": 0, "skipped": 0, "failed": [f"{suite}: {status_of(ended.code)}, exit code {ended.code}"]}, {}
    read = json.loads(report.read_text())
    return parse_tests(read), parse_seconds(read)


def tests(check):
    suites = listed(check, check.settings.test_filter)
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count())) as pool:
        of_suites = list(pool.map(lambda suite: run_suite(check, suite), suites))
    figures = added([of for of, _ in of_suites])
    figures["seconds_of_tests"] = {test: seconds for _, of in of_suites for test, seconds in of.items()}
    return "passed" if figures["passed"] and not figures["failed"] else "failed", figures


def trained(check, name, device, *more):
    """(how it ended, folder) of a study."""
    folder = check.scratch / name
    ended = check.idem(
        ["run", check.bundle / "configs/quickstart.json", "--device", device, "--quiet", *more, "--out", folder],
        f"{name}.log",
    )
    return ended, folder


def repeatability(check):
    """A short training twice, and a member alone against the same one in a fleet: by bytes."""
    contents = []
    for name in ("first", "second"):
        ended, folder = trained(check, name, check.settings.device, *check.settings.repeated)
        if ended.code != 0:
            return status_of(ended.code), ended.why
        contents.append(
            {path.relative_to(folder): path.read_bytes() for path in sorted(folder.glob("runs/*/latents.npz"))}
        )
    different = [str(name) for name in contents[0] if contents[0][name] != contents[1].get(name)]
    ended = check.command(
        [check.bundle / check.settings.tests, "--gtest_brief=1", f"--gtest_filter={SLOT_TESTS}"], "slots.log"
    )
    figures = {
        "runs": len(contents[0]),
        "runs that differ": len(different),
        "a member alone and in the last slot of a fleet": status_of(ended.code),
    }
    return (
        "passed"
        if contents[0] and not different and ended.code == 0
        else status_of(ended.code) if ended.code != 0 else "failed"
    ), figures


def parse_metrics(study):
    """{what: error} of a study's metrics.json: the mean over runs of each error of position."""
    errors = {}

    def walk(value, path):
        if isinstance(value, dict):
            for key, below in value.items():
                walk(below, (*path, key))
        elif path[-1] == "position_error_cm" and isinstance(value, (int, float)):
            errors.setdefault(path, []).append(value)

    for run in study["runs"]:
        if not run.get("failed"):
            walk(run["metrics"], (run["model"],))
    return {" ".join(path): sum(values) / len(values) for path, values in errors.items()}


def farthest(ours, theirs):
    """The largest relative difference of two studies' errors, and of what."""
    differences = {
        what: abs(error - theirs[what]) / max(error, theirs[what], 1e-9) if what in theirs else float("inf")
        for what, error in ours.items()
    }
    return max(((difference, what) for what, difference in differences.items()), default=(float("inf"), "nothing"))


# Two devices round otherwise, which training makes grow: the errors of position may differ by this share, means over
# the seeds of a model.
TOLERANCE = 0.15


def study(check):
    """The whole way on the GPU and on this machine's CPU."""
    figures, errors = {}, []
    for name, device in (("study-device", check.settings.device), ("study-cpu", "cpu")):
        left = check.left_s()
        ended, folder = trained(check, name, device, *check.settings.study)
        figures[f"{name}_s"] = round(left - check.left_s(), 1)
        if ended.code != 0:
            return status_of(ended.code), {**figures, **ended.why}
        errors.append(parse_metrics(json.loads((folder / "metrics.json").read_text())))
    difference, what = farthest(*errors)
    figures.update({"metrics": len(errors[0]), "farthest apart": f"{100 * difference:.1f} % ({what})"})
    return "passed" if errors[0] and difference <= TOLERANCE else "failed", figures
