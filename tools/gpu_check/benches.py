"""How fast operations and steps are, by idem bench."""

import json

from gpu_check.commands import status_of, worst
from gpu_check.tables import limits_of

LIMITS = r"operation/(copy|product/large)$"


def rows_of(path):
    """What a bench has written so far, which it does after each case; {} where that can't be read."""
    try:
        return {"results": json.loads(path.read_text())}
    except (OSError, json.JSONDecodeError):
        return {}


def bench(check, log, *options):
    """(status, figures): the results, those of a bench that was ended too, and what it said last where it did not
    pass."""
    results = check.scratch / f"{log}.json"
    floors = check.bundle / "floors.json"
    ended = check.idem(
        [
            "bench",
            "--device",
            check.settings.device,
            *(("--floors", floors) if floors.exists() else ()),  # else counted anew
            *options,
            "--out",
            results,
        ],
        f"{log}.log",
    )
    status = "skipped" if ended.code == 4 and "cuDNN" in ended.output else status_of(ended.code)
    return status, {**rows_of(results), **({} if status == "passed" else ended.why)}


def limits(check):
    """The roofs: a copy by a kernel of this project's own, large products in each precision."""
    statuses, figures = [], {}
    for precision in check.settings.precisions:
        status, found = bench(
            check, f"limits-{precision}", "--precision", precision, "--filter", LIMITS, "--repetitions", "3"
        )
        statuses.append(status)
        measured = limits_of(found.pop("results", {}))
        if "product" in measured:
            figures[f"product in {precision}, TFLOP/s"] = round(measured["product"] / 1e12, 2)
        if "copy" in measured:
            figures["copy, GB/s"] = round(measured["copy"] / 1e9, 1)
        figures.update(found)
    return worst(statuses), figures


def steps_in(precision):
    def work(check):
        if precision not in check.settings.precisions:
            return "skipped", {"reason": f"the CPU does not multiply in {precision}"}
        return bench(
            check,
            f"bench-{precision}",
            "--precision",
            precision,
            "--filter",
            f"{LIMITS}|{check.settings.steps}",
            "--repetitions",
            check.settings.repetitions,
        )

    return work


def operations(check):
    """Each operation of a step by the device's own clock, which asks for no privileges; then what time is left:
    convolutions by cuDNN, operations alone, and, in what time all steps left, steps again with more repetitions."""
    status, figures = bench(
        check,
        "operations",
        "--filter",
        check.settings.profiled,
        "--profile",
        check.scratch / "profile",
        "--repetitions",
        check.settings.repetitions,
    )
    if check.settings.device != "cuda":
        return status, figures
    statuses = [status]
    cudnn = ("--filter", "step/conv", "--precision", "tf32", "--convolutions", "cudnn")
    for name, options in (("cudnn", cudnn), ("alone", ("--filter", "operation/"))):
        status, found = bench(check, name, *options, "--repetitions", "3")
        figures[name] = {"status": status, **found}
        statuses.append(status)
    if check.left_s() > 5:
        # Nothing is missing where these are ended: they fill what time there is.
        status, found = bench(check, "again", "--filter", check.settings.steps, "--repetitions", "15")
        figures["again"] = {"status": status, **found}
        statuses += ["failed"] if status == "failed" else []
    return worst(statuses), figures
