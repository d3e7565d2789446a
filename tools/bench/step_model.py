#!/usr/bin/env python3
"""step_model.py [--card H100|H200] [CASE]: an estimate, from first principles, of the training steps' times on a GPU.

Nothing here is measured. For every launch of a step it takes the bytes, the floating-point operations and the
instructions that the kernel issues - counted in the sm_90 machine code, see tools/ptxas-check --loops - and divides
them by what the card can do; the largest of these times, or that of a block from start to end, is the launch's. A
launch that waits for another costs DEPENDENT_START more; what runs beside on the second stream counts in fleets only,
which fill the card. Good to a factor of about 1.5; of use for what a change of a kernel, or a launch less, would bring.

Prints for 1, 16 and 132 members each launch with what limits it (lat: latency, issue: instructions, lds: shared memory,
mul: multiplication in a library's products, l2, hbm: memory, min: the shortest kernel), the step's time, and last a
table of the goals.
"""
import argparse
import collections
import dataclasses
import math

# ---- What a card can do: clock in Hz, bytes per second. These and the latencies stay as they are when kernels change.
CARDS = {"H100": {"clock": 1.755e9, "hbm": 2.6e12}, "H200": {"clock": 1.83e9, "hbm": 4.3e12}}
L2_RATE = 5.5e12
MULTIPROCESSORS = 132
FITS_L2 = 40e6  # bytes: what is smaller is taken to stay there from one kernel to the next
DEPENDENT_START = 1.3  # us: from the end of a kernel to the start of the next inside a graph (assumed)
SHORTEST_KERNEL = 1.7  # us
ISSUE_RATE = 0.75  # instructions per clock of each of the four schedulers of a multiprocessor that is full
SHARED_RATE = 0.85  # of the clocks of shared memory
FEW_WARPS_ISSUE = {"stage": 0.6, "product": 0.7}  # per scheduler, where few warps hide no latency
OVERLAP_OF_WAVES = 0.75
PRODUCT_FLOPS = {"fp32": 256, "tf32": 2048, "bf16": 4096}  # at most, of a multiprocessor in a clock
PRODUCT_SUSTAINED = 0.81  # of that, over a whole card: 50, 400 and 800 TFLOP/s

# ---- Instructions of a warp, read off the machine code, and blocks that a multiprocessor holds.
COUNTS = {
    # Of blocks of few rows and of many. Per 16 bytes of weights and of rows staged; per 16 multiplications of a lane,
    # in clocks of shared memory too (a 128-bit load takes one for every 8 different quads); per 4 values finished,
    # without their activation; per step without layer.
    "row_chain_forward": {"weights": 39.5, "stage": 29.5, "epilogue": 90, "other_step": 120,
                          "few": {"product": 23.5, "shared": 9, "blocks": 2},
                          "many": {"product": 21, "shared": 3, "blocks": 3},
                          "many tf32": {"product": 10.6, "shared": 1.5, "blocks": 3}},
    # The same; gradients before the activation, per 4 values, are made while they are staged, and are all there is of a
    # layer whose input needs none; the epilogue is per 4 values of the input's gradient.
    "row_chain_backward": {"weights": 29.5, "epilogue": 56, "other_step": 120,
                           "few": {"stage": 100, "product": 26.5, "shared": 9, "blocks": 2},
                           "many": {"stage": 150, "product": 21, "shared": 3, "blocks": 3},
                           "many tf32": {"stage": 150, "product": 8.5, "shared": 1.5, "blocks": 3}},
    "activation": {"tanh": 94, "relu": 12, "identity": 0},  # per 4 values, forward
    # per 16 bytes staged; per 8 factors of a slice of 32; per 4 values
    "narrow_convolution": {"stage": 24, "product": 162, "product tf32": 88, "epilogue": 300, "blocks": 3,
                           "blocks_of_many_slices": 2},
    "narrow_convolution_backward": {"stage": 30, "product": 153, "product tf32": 88, "epilogue": 250, "blocks": 3,
                                    "blocks_of_many_slices": 2},
    # per 16 bytes staged; per row of a thread's 16 products; per 4 values
    "weight_gradients": {"stage": 25, "product": 23.3, "epilogue": 107, "blocks": 4},
    "adam": {"four_values": 250, "blocks": 4},
    "draw_normals": {"four_normals": 450},
    "gather_rows": {"four_values": 60},
    "reconstruction": {"poisson": 120, "squared_error": 80},  # per 32 values
    # per factor of a lane, of 25 in each of 5 rounds; per logarithm; per row
    "ci_ivae_bound": {"factor": 5.4, "logarithm": 40, "rest": 2600, "blocks": 6},
    "nearest_labels": {"labels": 60, "search": 160, "blocks": 6},  # per 32 labels; per turn of the 12 of the search
    "uniformity": {"pair": 34, "row": 340, "blocks": 2},  # per 32 pairs; per 4 rows
    "alignment_gather": {"pair": 60, "row": 100, "blocks": 6},  # per 32 pairs, and rows, of a lane's four features each
    "drawn_rows_backward": {"draw": 40, "row": 300, "blocks": 8},  # the same; of a row also through its normalisation
    "element_wise": {"blocks": 8},
}
BATCH = 200

Layer = collections.namedtuple("Layer", "n_in n_out needs_dx activation", defaults=["identity"])
Convolution = collections.namedtuple("Convolution", "rows n_in n_out taps")
Launch = collections.namedtuple("Launch", "name kernel is_main")  # main: the next main launch waits for it


@dataclasses.dataclass(frozen=True)
class Kernel:
    """What a launch takes: instructions of warps, clocks of shared memory, clocks from start to end of a block."""
    blocks: float
    latency: float
    blocks_per_sm: int
    issue: float = 0
    shared: float = 0
    flops: float = 0
    l2: float = 0
    hbm: float = 0
    multiply: float = 0  # clocks from start to end of a library's product

    def twice(self):
        """Two chains in one launch."""
        more = {name: 2 * getattr(self, name) for name in ("blocks", "issue", "shared", "flops", "l2", "hbm")}
        return dataclasses.replace(self, **more)

    def times(self, card):
        """us that each of its limits asks for"""
        clock = CARDS[card]["clock"]
        resident = MULTIPROCESSORS * self.blocks_per_sm
        waves = math.ceil(self.blocks / resident)
        return {"lat": self.latency / clock * 1e6 * (waves * OVERLAP_OF_WAVES if waves > 1 else 1),
                "issue": self.issue / (MULTIPROCESSORS * 4 * ISSUE_RATE) / clock * 1e6,
                "lds": self.shared / (MULTIPROCESSORS * SHARED_RATE) / clock * 1e6,
                "mul": self.multiply / clock * 1e6,
                "l2": self.l2 / L2_RATE * 1e6,
                "hbm": self.hbm / CARDS[card]["hbm"] * 1e6 if self.hbm > FITS_L2 else 0}

    def time(self, card):
        limits = self.times(card)
        if self.blocks > MULTIPROCESSORS * self.blocks_per_sm:
            del limits["lat"]  # the blocks of the next wave hide it
        return max(*limits.values(), SHORTEST_KERNEL)


def quads(n):
    return (n + 3) // 4


def padded(n):
    return (n + 15) // 16 * 16


# ---- Kernels ---------------------------------------------------------------------------------------------------------
def chain_layer(name, layer, rows, multiply):
    """(instructions, clocks of shared memory, clocks) of a layer in a block of so many rows"""
    counts, backward = COUNTS[name], name == "row_chain_backward"
    n_in, n_out, needs_dx, activation = layer
    staged, per_four = rows * quads(n_out if backward else n_in), multiply.get("stage") or counts["stage"]
    staging = staged / 32 * per_four
    passes = math.ceil(staged / 256) * 8 * per_four
    if backward and not needs_dx:
        return staging, 0, 300 + 600 + passes / 4 / FEW_WARPS_ISSUE["stage"] + 200
    weights = n_out * quads(n_in)
    staging += weights / 32 * counts["weights"]
    passes += math.ceil(weights / 256) * 8 * counts["weights"]
    items = (n_in if backward else n_out) * rows / 4  # of four values each, along `factors` times four
    factors = quads(n_out if backward else n_in)
    epilogue = counts["epilogue"] + (0 if backward else COUNTS["activation"][activation])
    issue = staging + items / 32 * (factors * multiply["product"] + epilogue)
    product = math.ceil(math.ceil(items / 32) / 4 / 2) * factors * multiply["product"] / FEW_WARPS_ISSUE["product"]
    return (issue, items / 32 * factors * multiply["shared"],
            300 + 600 + passes / 4 / FEW_WARPS_ISSUE["stage"] + product + 500 + 150)


def rows_of_block(rows, members):
    for block_rows in (8, 32):
        if math.ceil(rows / block_rows) * members <= 512:
            return block_rows
    return 64


def row_chain(name, layers, rows, members, other_steps=0, precision="fp32"):
    """other_steps: those between the layers, as of a flow. Of few rows tf32 counts as fp32 does."""
    counts, backward = COUNTS[name], name == "row_chain_backward"
    block_rows = rows_of_block(rows, members)
    multiply = counts["few" if block_rows == 8 else "many" if precision == "fp32" else "many tf32"]
    blocks = rows / block_rows * members if block_rows > 8 else math.ceil(rows / block_rows) * members
    issue = shared = latency = flops = weights = values = 0
    for layer in layers:
        n_in, n_out, needs_dx, _ = layer
        instructions, clocks, duration = chain_layer(name, layer, block_rows, multiply)
        issue, shared, latency = issue + instructions, shared + clocks, latency + duration
        if needs_dx or not backward:
            flops += 2 * n_in * n_out * rows * members
            weights += math.ceil(rows / block_rows) * members * (n_out * padded(n_in) * 4)
        values += n_out * 3 + (n_in if needs_dx else 0) if backward else n_out + n_in
    latency += other_steps * 900
    issue += other_steps * block_rows * 8 * counts["other_step"] / 8
    passed = rows * members * 4 * values
    return Kernel(blocks, latency, multiply["blocks"], issue * blocks, shared * blocks, flops, weights + passed, passed)


def element_wise(n_bytes, latency=1200, blocks=50, issue=0):
    return Kernel(blocks, latency + 1500, COUNTS["element_wise"]["blocks"], issue, l2=n_bytes, hbm=n_bytes)


def draw_normals(n_bytes, blocks, n_fours):
    return element_wise(n_bytes, blocks=blocks, issue=n_fours / 32 * COUNTS["draw_normals"]["four_normals"])


def noisy_gather(n_bytes, blocks, rows, n_values, n_fours):
    """n_values gathered in each row by fours, of which the input's fours get noise."""
    issue = rows / 32 * (n_values / 4 * COUNTS["gather_rows"]["four_values"] +
                         n_fours * COUNTS["draw_normals"]["four_normals"])
    return element_wise(n_bytes, blocks=blocks, issue=issue)


def reconstruction(rows, members, observation):
    issue = rows * members * 4 * COUNTS["reconstruction"][observation]
    return element_wise(rows * members * 4 * 128 * 3, blocks=rows // 4 * members, issue=issue)


def skew_bound(members):
    """39 alphas, 50 samples, two ratios: a lane takes half of a ratio's samples of an alpha, in five rounds."""
    counts = COUNTS["ci_ivae_bound"]
    n_bytes = BATCH * members * 4 * 120
    issue = BATCH * members * (5 * (25 * counts["factor"] + counts["logarithm"]) + counts["rest"])
    return Kernel(50 * members, 17000, counts["blocks"], issue, l2=n_bytes, hbm=n_bytes)


def narrow_convolution(layer, members, backward=False, precision="fp32", together=1):
    """Tiles of 32 by 32, or of 64 by 8 for few outputs; the taps' factors, padded to four, fill slices of 32."""
    counts = COUNTS["narrow_convolution_backward" if backward else "narrow_convolution"]
    rows, n_in, n_out, taps = layer
    members = members * together
    columns, factors = (n_in, n_out) if backward else (n_out, n_in)
    slices = math.ceil(taps * 4 * quads(factors) / 32)
    tile_rows, tile_columns = (64, 8) if columns <= 8 and not backward else (32, 32)
    blocks = math.ceil(rows / tile_rows) * math.ceil(columns / tile_columns) * members
    staged = (tile_rows + tile_columns) * 8
    multiply = counts["product" if precision == "fp32" else "product tf32"] * tile_rows * tile_columns / 1024
    issue = (slices * (staged / 32 * counts["stage"] + 8 * multiply) +
             tile_rows * tile_columns / 4 / 32 * counts["epilogue"])
    staging = slices * staged / 256 * counts["stage"] * 8 / 4 / FEW_WARPS_ISSUE["stage"]
    passed = rows * members * 4 * (2 * n_out + 3 * n_in if backward else padded(n_in) + 2 * n_out)
    return Kernel(blocks, 600 + 800 + staging + slices * 160 / .6 * 2 + 900,
                  counts["blocks"] if slices <= 5 else counts["blocks_of_many_slices"],
                  issue=issue * blocks, shared=slices * 8 * 16 * blocks,
                  flops=2 * rows * n_in * n_out * taps * members, l2=passed + blocks * slices * 8192, hbm=passed)


def weight_gradients(layers, members):
    """A block takes 32 by 32 weights of one tap and at most 256 rows."""
    counts = COUNTS["weight_gradients"]
    blocks = flops = n_bytes = issue = 0
    for rows, n_in, n_out, taps in layers:
        tiles = math.ceil(n_in / 32) * math.ceil(n_out / 32) * taps * math.ceil(rows / 256) * members
        blocks += tiles
        flops += 2 * rows * n_in * n_out * taps * members
        n_bytes += rows * members * 4 * (padded(n_in) + padded(n_out))
        rows = min(rows, 256)
        issue += tiles * (rows * 16 / 32 * counts["stage"] + rows / 4 * 8 * counts["product"] +
                          1056 / 4 / 32 * counts["epilogue"])
    latency = 600 + 900 + 2 * 2500 + 1500
    return Kernel(blocks, latency, counts["blocks"], issue, flops=flops, l2=n_bytes * 2, hbm=n_bytes)


def layer_gradients(layers, rows, members):
    return weight_gradients([Convolution(rows, layer.n_in, layer.n_out, 1) for layer in layers], members)


def adam(n_parameters, members):
    """Reads weight, gradient and two moments, writes three of them; a tenth of the arrays is padding."""
    return adam_of_values(n_parameters * 1.1, members, 28)


def adam_of_values(values, members, bytes_from_memory):
    return Kernel(max(1, values // 1024) * members, 3500, COUNTS["adam"]["blocks"],
                  values * members / 32 / 4 * COUNTS["adam"]["four_values"],
                  l2=28 * values * members, hbm=bytes_from_memory * values * members)


def product(precision, m, n, k, members):
    """A library's [m][n] = [m][k] [k][n]. Tiles of 128 by 128, padded, go over the multiprocessors in waves, none split
    along k, at the full rate, but the whole no faster than what is sustained; a result narrower than a tile is taken to
    be split, so that it fills the card. Operands are fp32 in memory at every precision."""
    flops = 2 * m * n * k * members
    per_clock = PRODUCT_FLOPS[precision]
    clocks = flops / (MULTIPROCESSORS * per_clock * PRODUCT_SUSTAINED)
    tiles = math.ceil(m / 128) * math.ceil(n / 128) * members
    if n >= 128:
        clocks = max(clocks, math.ceil(tiles / MULTIPROCESSORS) * 2 * 128 * 128 * k / per_clock)
    n_bytes = 4 * (m * k + k * n + m * n) * members
    return Kernel(tiles, 1500, 1, flops=flops, l2=n_bytes, hbm=n_bytes, multiply=clocks)


def uniformity(own, members):
    counts = COUNTS["uniformity"]
    pairs = own * own
    latency = 600 + 900 + 2500 + math.ceil(own / 512) * (16 * counts["pair"] * 2 + 1500)
    return Kernel(math.ceil(own / (8 if own * members >= 2048 else 4)) * members, latency, counts["blocks"],
                  issue=members * (pairs / 32 * counts["pair"] + own / 4 * counts["row"]),
                  shared=members * pairs / 32 * 8, flops=members * pairs * 10,
                  l2=members * own * own / 8 * 12 / 4, hbm=members * own * 64)


def nearest_labels(draws, members):
    """A warp for each draw, three labels."""
    counts = COUNTS["nearest_labels"]
    issue = draws * members * (132 / 32 * counts["labels"] + 12 * counts["search"])
    return Kernel(math.ceil(draws / 4) * members, 22000 if draws * members < 4000 else 26000, counts["blocks"], issue,
                  l2=draws * members * 4000)


def alignment_gather(rows, draws, members):
    """Every row goes through its own pairs, one after the other: about 20 of the longest lists wait for each other."""
    counts = COUNTS["alignment_gather"]
    issue = members * (2 * draws * counts["pair"] + rows * counts["row"]) / 32 * 2  # lanes' lists differ in length
    return Kernel(math.ceil(rows / 256) * members, 600 + 20 * 600, counts["blocks"], issue,
                  l2=members * (2 * draws * 32 + rows * 128))


def drawn_rows_backward(rows, draws, members):
    """Every row goes through its own draws, of which few rows have more than four."""
    counts = COUNTS["drawn_rows_backward"]
    issue = members * (draws * counts["draw"] + rows * counts["row"]) / 32 * 2
    return Kernel(math.ceil(rows / 64) * members, 900 + 4 * 1200 + 2500, counts["blocks"], issue,
                  l2=members * (rows * 64 + draws * 32), hbm=members * rows * 64)


# ---- Steps: what is launched, in order -------------------------------------------------------------------------------
def main(name, kernel):
    return Launch(name, kernel, True)


def aside(name, kernel):
    return Launch(name, kernel, False)


def mlp(*widths, needs_dx=True, hidden="tanh"):
    """needs_dx: whether the gradient of the input is asked for. The last layer is linear."""
    return [Layer(n_in, n_out, needs_dx or i > 0, hidden if i + 2 < len(widths) else "identity")
            for i, (n_in, n_out) in enumerate(zip(widths, widths[1:]))]


def n_parameters(layers):
    return sum(layer.n_in * layer.n_out + layer.n_out for layer in layers)


BATCH_ROWS, FLAGS = 8, 100  # bytes of a row's number; of what advance_step touches


def row_bytes(members):
    """of one float per row of the batch"""
    return BATCH * members * 4


def pi_vae(members, n_encoders, encoder, prior, decoder, flow_steps, precision="fp32"):
    """flow_steps: what the decoder's chain does between its layers, forward and backward."""
    row = row_bytes(members)
    encoders = [row_chain(f"row_chain_{way}", encoder, BATCH, members, 0, precision) for way in ("forward", "backward")]
    forward, backward = (kernel.twice() if n_encoders == 2 else kernel for kernel in encoders)
    decoder_chain = "decoder ({} steps)".format
    return [
        main("batch_rows", element_wise(BATCH * BATCH_ROWS * members)),
        aside("draw_normals (latents)", element_wise(2 * BATCH * 2 * 4 * members)),
        main("gather_several x3, with noise", noisy_gather(row * 128 * 4, 75 * members, BATCH * members, 260, 30)),
        main(f"row_chain_forward encoder ({n_encoders} chains)", forward),
        aside("row_chain_forward prior", row_chain("row_chain_forward", prior, BATCH, members, 0, precision)),
        main("latent_sample_forward", element_wise(row * 24)),
        main(f"row_chain_forward {decoder_chain(len(decoder) + flow_steps[0])}",
             row_chain("row_chain_forward", decoder, BATCH, members, flow_steps[0], precision)),
        main("reconstruction", reconstruction(BATCH, members, "poisson")),
        main("ci_ivae_bound (no skew)", element_wise(row * 20)),
        aside("epoch_sums", element_wise(row * 7)),
        main(f"row_chain_backward {decoder_chain(len(decoder) + flow_steps[1])}",
             row_chain("row_chain_backward", decoder, BATCH, members, flow_steps[1], precision)),
        aside(f"weight_gradients decoder ({len(decoder)} layers)", layer_gradients(decoder, BATCH, members)),
        main("latent_sample_backward", element_wise(row * 24)),
        main("row_chain_backward encoder", backward),
        aside("row_chain_backward prior", row_chain("row_chain_backward", prior, BATCH, members, 0, precision)),
        main("weight_gradients encoder", layer_gradients(encoder * n_encoders, BATCH, members)),
        aside("weight_gradients prior", layer_gradients(prior, BATCH, members)),
        main("adam", adam(n_parameters(encoder * n_encoders + prior + decoder), members)),
        main("advance_step", element_wise(FLAGS)),
    ]


def pi_vae_with_flow(members, precision="fp32"):
    """GIN: a lift and four couplings, with separate encoders of mean and log variance."""
    decoder = mlp(2, 30, 30, 118, hidden="relu") + 4 * mlp(60, 30, 30, 119, hidden="relu")
    return pi_vae(members, 2, mlp(120, 60, 60, 2, needs_dx=False), mlp(3, 20, 20, 4, needs_dx=False), decoder, (5, 6),
                  precision)


def pi_vae_with_mlp(members):
    """23,640 parameters, for which goals are stated: one encoder of mean and log variance, an MLP as decoder."""
    return pi_vae(members, 1, mlp(120, 60, 60, 4, needs_dx=False), mlp(3, 32, 32, 4, needs_dx=False),
                  mlp(2, 60, 60, 120), (0, 0))


def ci_ivae(members):
    row = row_bytes(members)
    encoder = mlp(120, 60, 60, 2, needs_dx=False) + [Layer(60, 2, True)]
    prior, decoder = mlp(3, 60, 60, 2, needs_dx=False), mlp(2, 60, 60, 120)
    return [
        main("batch_rows", element_wise(BATCH * BATCH_ROWS * members)),
        aside("draw_normals latents+MC (100/row)", draw_normals(row * 112, 20 * members, BATCH * members * 26)),
        main("gather_several x3, with noise", noisy_gather(row * 128 * 5, 75 * members, BATCH * members, 260, 30)),
        main("row_chain_forward encoder", row_chain("row_chain_forward", encoder, BATCH, members)),
        aside("row_chain_forward prior (2 chains)", row_chain("row_chain_forward", prior, BATCH, members).twice()),
        main("latent_sample_forward", element_wise(row * 24)),
        main("row_chain_forward decoder, 400 rows", row_chain("row_chain_forward", decoder, 2 * BATCH, members)),
        main("reconstruction", reconstruction(2 * BATCH, members, "squared_error")),
        main("ci_ivae_bound 39 alphas x 50 draws", skew_bound(members)),
        aside("epoch_sums", element_wise(row * 8)),
        main("row_chain_backward decoder", row_chain("row_chain_backward", decoder, 2 * BATCH, members, 1)),
        aside("weight_gradients decoder (2 chunks)", layer_gradients(decoder, 2 * BATCH, members)),
        aside("add_partial_sums", element_wise(2 * 11000 * 4 * members)),
        main("latent_sample_backward", element_wise(row * 24)),
        main("row_chain_backward encoder", row_chain("row_chain_backward", encoder, BATCH, members)),
        aside("row_chain_backward prior", row_chain("row_chain_backward", prior, BATCH, members).twice()),
        main("weight_gradients encoder+prior", layer_gradients(encoder + prior * 2, BATCH, members)),
        main("adam", adam(n_parameters(encoder + prior * 2 + decoder), members)),
        main("advance_step", element_wise(FLAGS)),
    ]


def wide_layer(name, layer, rows, precision, members, is_last):
    """Forward: the product and, but for the last, its activation."""
    n_in, n_out = layer.n_in, layer.n_out
    launches = [main(f"product {name} {rows} x {n_in} -> {n_out}", product(precision, rows, n_out, n_in, members))]
    if not is_last:
        launches.append(main("  bias_activation_forward", element_wise(rows * n_out * 4 * 2 * members)))
    return launches


def wide_layer_backward(name, layer, rows, precision, members, is_last):
    """Weight gradients and Adam of a wide layer run in parts, a part's gradient staying in L2: the product of a part on
    the second stream beside Adam of the one before on a third. The one is bound by multiplication and the other by
    memory, so that the shorter is hidden; as either fills the card, the rest counts as if nothing ran beside it. Narrow
    layers' Adam comes at the end."""
    n_in, n_out, needs_dx, _ = layer
    launches = []
    if not is_last:
        launches.append(main("  bias_activation_backward", element_wise(rows * n_out * 4 * 3 * members)))
    if needs_dx:
        launches.append(main(f"product {name} d_x {rows} x {n_out} -> {n_in}",
                             product(precision, rows, n_in, n_out, members)))
    parts = wide_parts(layer)
    part = n_out / max(parts, 1)
    gradient, step = product(precision, part, n_in, rows, members), adam_of_values(part * n_in, members, 24)
    of_part = [(f"product {name} d_w {part:.0f} x {n_in}", gradient), (f"  adam of {part:.0f} x {n_in}", step)]
    is_hidden = gradient.time("H200") <= step.time("H200")
    for i in range(max(parts, 1)):
        launches.append((aside if is_hidden and i > 0 else main)(*of_part[0]))
        if parts:
            launches.append((main if is_hidden or i + 1 == parts else aside)(*of_part[1]))
    return launches


def wide_parts(layer):
    """Of a layer whose weights take more than a sixteenth of the 50 MB of L2: each a quarter of it."""
    n_bytes, most = layer.n_in * layer.n_out * 4, 50 * 2 ** 20 / 4
    return math.ceil(n_bytes / most) if n_bytes > most / 4 else 0


def wide_mlp(name, layers, rows, precision, members):
    """(forward, backward) of layers too wide for a chain"""
    last = [layer is layers[-1] for layer in layers]
    each = [(name, layer, rows, precision, members, is_last) for layer, is_last in zip(layers, last)]
    return ([launch for one in each for launch in wide_layer(*one)],
            [launch for one in reversed(each) for launch in wide_layer_backward(*one)])


def wide_ci_ivae(members, precision):
    """The published model: 34.6 M parameters, priors 128 wide."""
    row = row_bytes(members)
    encoder, decoder = mlp(120, 4096, 4096, 4, needs_dx=False), mlp(2, 4096, 4096, 120)
    prior = mlp(3, 128, 128, 2, needs_dx=False)
    encode, encode_backward = wide_mlp("encoder", encoder, BATCH, precision, members)
    decode, decode_backward = wide_mlp("decoder", decoder, 2 * BATCH, precision, members)
    narrow = [layer for layer in encoder + decoder if not wide_parts(layer)]
    return [
        main("batch_rows", element_wise(BATCH * BATCH_ROWS * members)),
        aside("draw_normals latents+MC (100/row)", draw_normals(row * 112, 20 * members, BATCH * members * 26)),
        main("gather_several x3, with noise", noisy_gather(row * 128 * 5, 75 * members, BATCH * members, 260, 30)),
        *encode,
        aside("row_chain_forward prior (2 chains)", row_chain("row_chain_forward", prior, BATCH, members).twice()),
        main("latent_sample_forward", element_wise(row * 24)),
        *decode,
        main("reconstruction", reconstruction(2 * BATCH, members, "squared_error")),
        main("ci_ivae_bound 39 alphas x 50 draws", skew_bound(members)),
        aside("epoch_sums", element_wise(row * 8)),
        *decode_backward,
        main("latent_sample_backward", element_wise(row * 24)),
        *encode_backward,
        aside("row_chain_backward prior", row_chain("row_chain_backward", prior, BATCH, members).twice()),
        aside("weight_gradients prior", layer_gradients(prior * 2, BATCH, members)),
        main("adam", adam(n_parameters(narrow + prior * 2), members)),
        main("advance_step", element_wise(FLAGS)),
    ]


def encoder_convolutions():
    """Ten rows of time around each of the batch: a convolution of 2 taps, three of 3, then one value of 3."""
    return [Convolution(n_rows * BATCH, *shape) for n_rows, shape in
            ((9, (120, 32, 2)), (7, (32, 32, 3)), (5, (32, 32, 3)), (3, (32, 32, 3)), (1, (32, 2, 3)))]


def convolution_launches(layers, members):
    """Backward through the encoders of the mean and of the log variance, both in a launch."""
    return [main(f"narrow_convolution_backward {i}, both",
                 narrow_convolution(layer._replace(rows=layer.rows + (layer.taps - 1) * BATCH), members, True,
                                    together=2))
            for i, layer in reversed(list(enumerate(layers))[1:])]


def conv_ci_ivae(members):
    row, layers = row_bytes(members), encoder_convolutions()
    prior, decoder = mlp(3, 60, 60, 2, needs_dx=False), mlp(2, 60, 60, 120)
    forward = [main(f"narrow_convolution_forward {i}, both", narrow_convolution(layer, members, together=2))
               for i, layer in enumerate(layers)]
    priors = [Convolution(BATCH, n_in, n_out, 1) for n_in, n_out, *_ in prior * 2]
    return [
        main("batch_rows", element_wise(BATCH * BATCH_ROWS * members)),
        aside("draw_normals latents+MC", draw_normals(row * 112, 20 * members, BATCH * members * 26)),
        main("gather_several, with noise",
             noisy_gather(row * 128 * (10 * 2 + 3), 750 * members, 10 * BATCH * members, 130, 30)),
        *forward,
        aside("row_chain_forward prior", row_chain("row_chain_forward", prior, BATCH, members).twice()),
        main("latent_sample_forward", element_wise(row * 24)),
        main("row_chain_forward decoder", row_chain("row_chain_forward", decoder, 2 * BATCH, members)),
        main("reconstruction", reconstruction(2 * BATCH, members, "squared_error")),
        main("ci_ivae_bound", skew_bound(members)),
        aside("epoch_sums", element_wise(row * 8)),
        main("row_chain_backward decoder", row_chain("row_chain_backward", decoder, 2 * BATCH, members, 1)),
        aside("weight_gradients decoder", layer_gradients(decoder, 2 * BATCH, members)),
        main("latent_sample_backward", element_wise(row * 24)),
        *convolution_launches(layers, members),
        aside("row_chain_backward prior", row_chain("row_chain_backward", prior, BATCH, members).twice()),
        main("weight_gradients conv x 2 + prior", weight_gradients(layers * 2 + priors, members)),
        main("add_partial_sums", element_wise(60000 * 4 * members)),
        main("adam", adam(2 * (7680 + 3 * 3072 + 192 + 130) + 2 * 3900 + 11160, members)),
        main("advance_step", element_wise(FLAGS)),
    ]


def cebra_convolutions(bins, width):
    return [Convolution(bins - 1, 120, width, 2), *(Convolution(bins - cut, width, width, 3) for cut in (3, 5, 7)),
            Convolution(bins - 9, width, 3, 3)]


def cebra_draws(draws, rows, members):
    """The next step's, on the second stream, beside the encoder's backward pass."""
    return [aside("contrastive_indices", element_wise(draws * 40 * members, 4500, math.ceil(draws / 256) * members)),
            aside("nearest_labels (warp per draw, 3 labels)", nearest_labels(draws, members)),
            *(aside(f"drawn_places ({step})", element_wise(draws * 3 * 16 * members))
              for step in ("place", "radix sort", "list")),
            aside("memset d", element_wise(rows * 64 * members))]


def cebra_objective(own, rows, members):
    """Of the drawn rows, as many as own."""
    return [main("drawn_rows_forward (+normalise)", element_wise(own * 3 * 64 * 2 * members, 3000, 6 * members)),
            main("uniformity_forward", uniformity(own, members)),
            aside("alignment", element_wise(own * 3 * 64 * members)),
            main("uniformity_backward", uniformity(own, members)),
            aside("info_nce_terms", element_wise(own * 12 * members)),
            main("drawn_rows_backward", drawn_rows_backward(rows, own * 3, members))]


def weighed_cebra_objective(draws, rows, members):
    """Of all rows, weighed by how often each was drawn: where more are drawn than there are."""
    return [main("normalise_rows_forward", element_wise(rows * 64 * 2 * members, 2500, 17 * members)),
            main("uniformity_forward", uniformity(rows, members)),
            main("alignment similarity", element_wise(draws * 40 * members)),
            main(f"alignment_gather: {draws} pairs of {rows} rows", alignment_gather(rows, draws, members)),
            main("uniformity_backward", uniformity(rows, members)),
            aside("info_nce_terms", element_wise(rows * 12 * members)),
            main("normalise_rows_backward", element_wise(rows * 64 * 2 * members, 2500, 17 * members))]


def cebra(members, draws, width, bins=4200):
    layers = cebra_convolutions(bins, width)
    rows = layers[-1].rows
    weighs = draws > rows
    weights = 2 * 120 * width + 3 * 3 * width * width + 9 * width
    objective = weighed_cebra_objective if weighs else cebra_objective
    return [
        *cebra_draws(draws, rows if weighs else draws * 3, members),
        *(main(f"narrow_convolution_forward {i}", narrow_convolution(layer, members))
          for i, layer in enumerate(layers)),
        *objective(draws, rows, members),
        *(main(f"narrow_convolution_backward {i}",
               narrow_convolution(layers[i]._replace(rows=layers[i].rows + layers[i].taps - 1), members, True))
          for i in (4, 3, 2, 1)),
        main("weight_gradients", weight_gradients(layers, members)),
        main("add_partial_sums", element_wise(17 * weights * 4 * members)),
        main("adam", adam(weights, members)),
        main("advance_step", element_wise(FLAGS)),
    ]


Case = collections.namedtuple("Case", "title launches fleets", defaults=[(1, 16, 132)])
CASES = {
    "ci-ivae-60": Case("CI-iVAE 60", ci_ivae),
    "pi-vae-60": Case("pi-VAE 60 (GIN), B=200", pi_vae_with_flow),
    "pi-vae-60-tf32": Case("pi-VAE 60 (GIN), B=200, tf32", lambda members: pi_vae_with_flow(members, "tf32")),
    "pi-vae-60-mlp": Case("pi-VAE 60 (MLP), B=200", pi_vae_with_mlp),
    "conv-ci-ivae-32": Case("Conv-CI-iVAE 32", conv_ci_ivae),
    "cebra-512": Case("CEBRA offset10, 512 draws of 4200 bins, width 32", lambda members: cebra(members, 512, 32)),
    "cebra-512-64": Case("CEBRA offset10, 512 draws of 4200 bins, width 64", lambda members: cebra(members, 512, 64)),
    "cebra-20000": Case("CEBRA offset10, 20000 draws of 4200 bins, width 64",
                        lambda members: cebra(members, 20000, 64)),
    "ci-ivae-4096-fp32": Case("CI-iVAE 4096, fp32", lambda members: wide_ci_ivae(members, "fp32"), (1,)),
    "ci-ivae-4096-tf32": Case("CI-iVAE 4096, tf32", lambda members: wide_ci_ivae(members, "tf32"), (1,)),
    "ci-ivae-4096-bf16": Case("CI-iVAE 4096, bf16", lambda members: wide_ci_ivae(members, "bf16"), (1,)),
}
GOALS = (  # case, members, the longest step in us or the fewest model-steps/s
    ("pi-vae-60", 1, "us", 80),
    ("pi-vae-60", 132, "model-steps/s", 200e3),
    ("pi-vae-60-tf32", 132, "model-steps/s", 280e3),
    ("ci-ivae-60", 1, "us", 60),
    ("cebra-512", 1, "us", 75),
    ("cebra-512", 132, "model-steps/s", 35e3),
    ("cebra-20000", 1, "us", 220),
    ("ci-ivae-4096-tf32", 1, "us", 450),
)


def step_time(case, members, card):
    """us of the step, of its main launches and of those beside them"""
    launches = CASES[case].launches(members)
    main_time = sum(launch.kernel.time(card) + DEPENDENT_START for launch in launches if launch.is_main)
    beside = sum(launch.kernel.time(card) for launch in launches if not launch.is_main)
    return main_time + (beside if members >= 16 else 0), main_time, beside


def print_launch(launch, card):
    kernel, limits = launch.kernel, launch.kernel.times(card)
    limit = max(limits, key=limits.get)
    print(f"  {'main ' if launch.is_main else 'aside'} {launch.name:42} blocks {int(kernel.blocks):7d}  "
          f"{kernel.flops / 1e6:9.1f} MF  {kernel.hbm / 1e6:8.2f} MB  {kernel.time(card):8.1f} us  "
          f"({limit if limits[limit] >= SHORTEST_KERNEL else 'min'})")


def print_case(case, members, card):
    launches = CASES[case].launches(members)
    print(f"\n### {CASES[case].title}, E={members}, {card}")
    for launch in launches:
        print_launch(launch, card)
    step, main_time, beside = step_time(case, members, card)
    flops, n_bytes = (sum(getattr(launch.kernel, name) for launch in launches) for name in ("flops", "hbm"))
    print(f"  main {main_time:.0f} us, aside {beside:.0f} us -> step ~{step:.0f} us; {members / step * 1e6:,.0f} "
          f"model-steps/s; {flops / 1e6:.0f} MFLOP, {n_bytes / 1e6:.1f} MB activations+state through L2/HBM; floor HBM "
          f"{n_bytes / CARDS[card]['hbm'] * 1e6:.1f} us, FP32 FMA "
          f"{flops / (MULTIPROCESSORS * 256 * CARDS[card]['clock']) * 1e6:.1f} us")


def print_goals(cases, card):
    print(f"\n{'goal':24} {'E':>4} {'asked for':26} {'estimated, ' + card:>23}")
    for case, members, unit, asked in GOALS:
        if case in cases:
            step = step_time(case, members, card)[0]
            value, sign = (step, "<=") if unit == "us" else (members / step * 1e6, ">=")
            is_met = value <= asked if unit == "us" else value >= asked
            print(f"{case:24} {members:4} {sign} {asked:9,.0f} {unit:13} {value:9,.0f} {unit:13} "
                  f"{'met' if is_met else 'missed'}")


def run():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--card", choices=CARDS, default="H200")
    arguments.add_argument("case", nargs="?", choices=CASES)
    chosen = arguments.parse_args()
    cases = [chosen.case] if chosen.case else list(CASES)
    for case in cases:
        for members in CASES[case].fleets:
            print_case(case, members, chosen.card)
    print_goals(cases, chosen.card)


if __name__ == "__main__":
    run()
