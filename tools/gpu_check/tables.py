"""What was found, as lines to read."""

import statistics


def step_line(step):
    told = {key: of["status"] if isinstance(of, dict) and "status" in of else of for key, of in step["figures"].items()}
    figures = ", ".join(f"{key} {value}" for key, value in told.items() if isinstance(value, (int, float, str)))
    return f"{step['name']:<14}  {step['status']:<11}  {step['seconds']:6.1f} s  {figures}".rstrip()


def cases_of(step):
    return ((step["figures"].get("results") or {}).get("cases", [])) if step else []


def limits_of(results):
    """{copy: bytes/s, product: FLOP/s} of a bench, as far as it came."""
    kinds = {"operation/copy": ("copy", "bytes"), "operation/product/large": ("product", "flops")}
    cases = [case for case in results.get("cases", []) if case["name"] in kinds]
    return {kinds[case["name"]][0]: case[kinds[case["name"]][1]] / case["median_s"] for case in cases}


def roofs(steps):
    """Of each precision: (GB/s of a copy, TFLOP/s of a large product, the step that measured them): "limits", and the
    bench in that precision where that one did not come so far."""
    found = {}
    for step in steps:
        if step["name"].startswith("bench in "):
            measured = limits_of(step["figures"].get("results") or {})
            if len(measured) == 2:
                found[step["name"].removeprefix("bench in ")] = (
                    measured["copy"] / 1e9,
                    measured["product"] / 1e12,
                    step["name"],
                )
    figures = next((step["figures"] for step in steps if step["name"] == "limits"), {})
    for precision in ("fp32", "tf32", "bf16"):
        product, copy = figures.get(f"product in {precision}, TFLOP/s"), figures.get("copy, GB/s")
        if product and copy:
            found[precision] = (copy, product, "limits")
    return found


def roofs_table(steps):
    rows = [f"{'roofs':5} {'copy, GB/s':>10} {'product, TFLOP/s':>16}   by"]
    for precision, (copy, product, step) in roofs(steps).items():
        rows.append(f"{precision:5} {copy:10.1f} {product:16.2f}   {step}")
    return "\n".join(rows) if len(rows) > 1 else ""


def peers_of(name, lines):
    """{form: seconds of a step of as many members} for one of our cases. Forms that train one model after another count
    once for each; those that train all at once (vmap) only where they were measured with as many."""
    model, members = name.rsplit("/", 1)
    ratios = {}
    for line in lines:
        if "step_s" not in line:
            continue
        of_model, of_members = line["name"].rsplit("/", 1)
        if of_model == model and (of_members == members or (of_members == "1" and "vmap" not in line["form"])):
            label = f"{line['form']} in {line['precision']}" if line["precision"] != "fp32" else line["form"]
            if of_members == members or label not in ratios:
                ratios[label] = line["step_s"] * (1 if of_members == members else int(members))
    return ratios


def step_rows(steps):
    """Of each benched step: (step, E, precision, us, model-steps/s, % of its floor, ratios to peers)."""
    lines = next((step["figures"].get("lines", []) for step in steps if step["name"] == "peers"), [])
    for step in steps:
        if not step["name"].startswith("bench in "):
            continue
        for case in cases_of(step):
            if not case["name"].startswith("step/"):
                continue
            model, members = case["name"].removeprefix("step/").rsplit("/", 1)
            seconds = case["median_s"]
            floor = f"{100 * case['floor_s'] / seconds:.0f}" if "floor_s" in case else ""
            ratios = {form: theirs / seconds for form, theirs in peers_of(case["name"], lines).items()}
            yield model, members, step["name"].removeprefix("bench in "), 1e6 * seconds, int(
                members
            ) / seconds, floor, ratios


def steps_table(steps):
    rows = [f"{'step':30} {'E':>4} {'':5} {'us':>10} {'model-steps/s':>14} {'% floor':>8}   times faster than"]
    for model, members, precision, us, rate, floor, ratios in step_rows(steps):
        told = ", ".join(f"{form} {ratio:.3g}" for form, ratio in sorted(ratios.items()))
        rows.append(f"{model:30} {members:>4} {precision:5} {us:10.1f} {rate:14.0f} {floor:>8}   {told}".rstrip())
    return "\n".join(rows) if len(rows) > 1 else ""


def kernels_table(steps):
    rows = [f"{'operation':34} {'calls':>5} {'us':>10} {'GB/s':>8} {'GFLOP/s':>9} {'% roof':>7}"]
    for step in steps:
        for case in cases_of(step) if step["name"] == "operations" else []:
            operations = case.get("profile", {}).get("operations", [])
            if operations:
                rows.append(f"{case['name']}")
            for of in operations:
                seconds = statistics.median(of["seconds"])
                if seconds > 0:
                    rows.append(
                        f"  {of['name']:32} {of['calls']:5g} {1e6 * seconds:10.1f} {of['bytes'] / seconds / 1e9:8.1f} "
                        f"{of['flops'] / seconds / 1e9:9.1f} {100 * of['roof_fraction']:7.0f}"
                    )
    return "\n".join(rows) if len(rows) > 1 else ""


def whole(facts, steps):
    parts = [
        f"{facts['device']}, driver {facts['driver']}, commit {facts['commit']}",
        "\n".join(map(step_line, steps)),
        roofs_table(steps),
        steps_table(steps),
        kernels_table(steps),
    ]
    return "\n\n".join(part for part in parts if part)
