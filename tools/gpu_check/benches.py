"""How fast operations and steps are, by idem bench."""

import json

from gpu_check.commands import status_of

LIMITS = r"operation/(copy|product/large)$"


def bench(check, log, *options):
    """(status, results, or where there are none what the program said last)"""
    results = check.scratch / f"{log}.json"
    ended = check.idem(
        [
            "bench",
            "--device",
            check.settings.device,
            "--floors",
            check.bundle / "floors.json",
            *options,
            "--out",
            results,
        ],
        f"{log}.log",
    )
    status = "skipped" if ended.code == 4 and "cuDNN" in ended.output else status_of(ended.code)
    return status, json.loads(results.read_text()) if status == "passed" else ended.why


def limits(check):
    """The roofs: a copy by a kernel of this project's own, large products in each precision."""
    figures = {}
    for precision in check.settings.precisions:
        status, results = bench(
            check, f"limits-{precision}", "--precision", precision, "--filter", LIMITS, "--repetitions", "3"
        )
        if status != "passed":
            return status, {**figures, **results}
        figures[f"product in {precision}, TFLOP/s"] = round(results["product_flops_per_s"] / 1e12, 2)
        figures["copy, GB/s"] = round(results["copy_bytes_per_s"] / 1e9, 1)
    return "passed", figures


def steps_in(precision):
    def work(check):
        if precision not in check.settings.precisions:
            return "skipped", {"reason": f"the CPU does not multiply in {precision}"}
        status, results = bench(
            check,
            f"bench-{precision}",
            "--precision",
            precision,
            "--filter",
            check.settings.steps,
            "--repetitions",
            check.settings.repetitions,
        )
        return status, {"results": results} if status == "passed" else results

    return work


def operations(check):
    """Each operation of a step by the device's own clock, which asks for no privileges; then what time is left:
    convolutions by cuDNN, operations alone, and, in what time all steps left, steps again with more repetitions."""
    status, results = bench(
        check,
        "operations",
        "--filter",
        check.settings.profiled,
        "--profile",
        check.scratch / "profile",
        "--repetitions",
        check.settings.repetitions,
    )
    if status != "passed":
        return status, results
    figures = {"results": results}
    if check.settings.device == "cuda":
        figures["cudnn"] = bench(
            check,
            "cudnn",
            "--filter",
            "step/conv",
            "--precision",
            "tf32",
            "--convolutions",
            "cudnn",
            "--repetitions",
            "3",
        )[1]
        figures["alone"] = bench(check, "alone", "--filter", "operation/", "--repetitions", "3")[1]
    if check.left_s() > 5 and check.settings.device == "cuda":
        figures["again"] = bench(check, "again", "--filter", check.settings.steps, "--repetitions", "15")[1]
    return "passed", figures
