#!/usr/bin/env python3
"""measure.py [--device cpu|cuda] [--threads N] [--seconds S] [--limit S] [--members E ...] [--filter REGEX] [--after
LINES]: training steps of other programs.

All in this one process, a JSON line for each as soon as it is measured: name (as idem's bench: step/MODEL/E), form,
precision, seconds of one step of all members, seconds until the first one had ended (compilation); or why it failed. A
peer that does not get ready within the limit (a vmap of 100 members and more: within 30 s) is left out; where that
cannot be done from inside, the process ends with code 75 and goes on with the next one when it is called with the lines
so far (--after FILE).
"""

import argparse
import contextlib
import json
import os
import re
import resource
import signal
import statistics
import sys
import threading
import time
import warnings
from functools import partial

PROGRAMS = ("torch", "jax", "cebra")  # in the order in which they share a process best: torch finds its own libraries
OVERRUN = 75
GRACE_S = 3
LATE_S = 0.25  # an alarm that Python hears so late came while it could not be interrupted
LARGE_FLEET, LARGE_FLEET_S = 100, 30


class TooLong(Exception):
    pass


class Clock:
    rang = False  # the time was up
    interrupted = False  # and TooLong was raised


@contextlib.contextmanager
def limited(seconds, give_up):
    """Raises TooLong after that time. Where Python can't be interrupted then, as in a compilation, what comes of it is
    kept if it is ready a little later; when that is over calls give_up, which ends the process."""
    end, clock = time.monotonic() + seconds, Clock()

    def ring(*_):
        late = time.monotonic() - end
        clock.interrupted = clock.rang or late < LATE_S
        clock.rang = True
        if clock.interrupted:
            raise TooLong
        signal.setitimer(signal.ITIMER_REAL, max(0.01, GRACE_S - LATE_S - late))

    hard = threading.Timer(seconds + GRACE_S, give_up)
    hard.daemon = True
    hard.start()
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield clock
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        hard.cancel()


def imported(chosen):
    """Which of the programs are here. Imported beforehand and without a limit: torch can't be imported again where that
    was cut off."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ["JAX_PLATFORMS"] = chosen.device
    here = {}
    for name in PROGRAMS:
        if not any(
            chosen.filter.search(f"{of[0]} {of[1]}") and of[1].split()[0] == name for of in peers(chosen.members)
        ):
            continue
        began = time.perf_counter()
        try:
            here[name] = f"{name} {__import__(name).__version__}"
            print(
                f"measure: {here[name]} was imported in {time.perf_counter() - began:.1f} s",
                file=sys.stderr,
                flush=True,
            )
        except ImportError as error:
            print(f"measure: no {name} ({error})", file=sys.stderr, flush=True)
    return here


def torch_peer(chosen, precision, make):
    """(a step, waiting for it, steps of a call)"""
    import torch

    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    wait = torch.cuda.synchronize if chosen.device != "cpu" else lambda: None
    return make(chosen.device), wait, 1


def jax_peer(chosen, precision, make):
    import jax
    import jax_forms

    jax_forms.set_precision(precision)
    run, last = make(), [None]

    def step():
        last[0] = run()

    return step, lambda: jax.block_until_ready(last[0]), jax_forms.STEPS_OF_SCAN if make.is_scan else 1


# Imported when they are asked for: one of the programs may be missing.
def torch_model(name, **options):
    if name.startswith("cebra"):
        from cebra_model import Cebra

        return Cebra(name)
    if name == "pi-vae-60":
        from pi_vae import PiVae

        return PiVae()
    from ci_ivae import CiIvae

    return CiIvae(name, **options)


def torch_form(form, name, device, **options):
    import torch_forms

    return getattr(torch_forms, form)(torch_model(name, **options), device)


def torch_vmap(name, n_members, is_captured, device):
    import torch_forms

    step = torch_forms.vmap_step(partial(torch_model, name), n_members, device)
    return torch_forms.captured(step) if is_captured else step


def cebra_program(name, device):
    from cebra_model import program_step

    return program_step(name, device)


def jax_form(form, *arguments):
    def make():
        import jax_forms

        return getattr(jax_forms, form)(*arguments)

    make.is_scan = form == "vmap_scan"
    return make


def one_at_a_time(name):
    """Forms that train one model, and need little compiling."""
    one = f"step/{name}/1"
    yield one, "torch eager", "fp32", partial(torch_peer, make=partial(torch_form, "eager", name))
    if name.startswith("ci"):
        yield one, "torch eager, one alpha after the other", "fp32", partial(
            torch_peer, make=partial(torch_form, "eager", name, loop=True)
        )
    yield one, "torch graph", "fp32", partial(torch_peer, make=partial(torch_form, "graph", name))
    yield one, "jax jit", "fp32", partial(jax_peer, make=jax_form("jit", name))


def wide_and_contrastive():
    for precision in ("fp32", "tf32"):
        for form in ("eager", "graph"):
            yield "step/ci-ivae-4096/1", f"torch {form}", precision, partial(
                torch_peer, make=partial(torch_form, form, "ci-ivae-4096")
            )
    yield (
        "step/ci-ivae-4096/1",
        "torch eager, one alpha after the other",
        "fp32",
        partial(torch_peer, make=partial(torch_form, "eager", "ci-ivae-4096", loop=True)),
    )
    for name in ("cebra-offset10-512", "cebra-offset10-512-of-6577", "cebra-offset10-512-of-100000"):
        for form in ("eager", "graph"):
            yield f"step/{name}/1", f"torch {form}", "fp32", partial(torch_peer, make=partial(torch_form, form, name))
        yield f"step/{name}/1", "cebra", "fp32", partial(torch_peer, make=partial(cebra_program, name))


def all_at_once(name, n_members):
    of = f"step/{name}/{n_members}"
    yield of, "jax vmap scan", "fp32", partial(jax_peer, make=jax_form("vmap_scan", name, n_members))
    if n_members > 1:
        for form, is_captured in (("torch vmap", False), ("torch vmap graph", True)):
            yield of, form, "fp32", partial(torch_peer, make=partial(torch_vmap, name, n_members, is_captured))


def peers(members):
    """All that can be measured, for whoever has not the time for all: (name, form, precision, how it is prepared). What
    is ready at once, then the largest fleets, and last what compiles longest."""
    names = ("pi-vae-60", "ci-ivae-60")
    for name in names:
        yield from one_at_a_time(name)
    yield from wide_and_contrastive()
    for n_members in sorted(members, reverse=True):
        for name in names:
            yield from all_at_once(name, n_members)
    for name in names:
        yield f"step/{name}/1", "torch compile", "fp32", partial(torch_peer, make=partial(torch_form, "compiled", name))


def limit_of(name, form, limit):
    """Seconds until a peer has to be ready: more for large fleets that train at once."""
    return max(limit, LARGE_FLEET_S) if "vmap" in form and int(name.rsplit("/", 1)[1]) >= LARGE_FLEET else limit


def seconds_per_step(step, wait, steps_of_call, budget_s):
    """Calls follow each other without waiting, as in training; the median over blocks of some milliseconds."""

    def block(n_calls):
        began = time.perf_counter()
        for _ in range(n_calls):
            step()
        wait()
        return (time.perf_counter() - began) / n_calls

    n_calls = max(1, min(1000, int(0.02 / block(1))))
    end, times = time.perf_counter() + budget_s, []
    while time.perf_counter() < end or len(times) < 3:
        times.append(block(n_calls) / steps_of_call)
    return statistics.median(times)


def measured(prepare, chosen, precision, limit, give_up):
    began, clock = time.perf_counter(), Clock()
    try:
        with limited(limit, give_up) as clock:
            step, wait, steps_of_call = prepare(chosen, precision)
            for _ in range(2):
                step()
            wait()
        ready_s = time.perf_counter() - began
        with limited(limit + chosen.seconds, give_up) as clock:
            step_s = seconds_per_step(step, wait, steps_of_call, chosen.seconds)
    except Exception as error:  # of whatever kind: the other peers are still to be measured
        if clock.interrupted:  # a program may turn TooLong into an error of its own
            return {"failed": f"took longer than {limit:g} s"}
        return {"failed": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    return {"step_s": step_s, "ready_s": round(ready_s, 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1, help="of timing for each peer")
    parser.add_argument(
        "--limit",
        type=float,
        default=15,
        help=f"seconds until a peer has to be ready; a vmap of {LARGE_FLEET} members: at least {LARGE_FLEET_S}",
    )
    parser.add_argument("--members", type=int, nargs="+", default=[1, 16, 132], help="of fleets that train at once")
    parser.add_argument(
        "--filter", type=re.compile, default=re.compile(""), help="of 'NAME FORM', as 'step/pi-vae.*torch'"
    )
    parser.add_argument("--after", help="file of the lines that an earlier call left")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = open(chosen.after).read().splitlines() if chosen.after and os.path.exists(chosen.after) else []
    done = {(line["name"], line["form"], line["precision"]) for line in map(json.loads, lines)}

    def tell(of, result):
        name, form, precision = of
        print(
            json.dumps(
                {
                    "name": name,
                    "form": form,
                    "precision": precision,
                    "device": chosen.device,
                    **result,
                    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                }
            ),
            flush=True,
        )

    def give_up(of, limit):
        tell(of, {"failed": f"took longer than {limit:g} s, and the process had to be ended"})
        os._exit(OVERRUN)

    here = imported(chosen)
    for *of, prepare in peers(chosen.members):
        if tuple(of) in done or not chosen.filter.search(f"{of[0]} {of[1]}"):
            continue
        program = of[1].split()[0]
        if program not in here:
            tell(of, {"skipped": f"no {program} on this machine"})
        elif chosen.device == "cpu" and ("graph" in of[1] or of[2] != "fp32"):
            tell(of, {"skipped": "CUDA graphs and other products than fp32 need a GPU"})
        else:
            limit = limit_of(*of[:2], chosen.limit)
            result = measured(prepare, chosen, of[2], limit, partial(give_up, of, limit))
            tell(of, {"version": here[program], **result})


if __name__ == "__main__":
    sys.exit(main())
