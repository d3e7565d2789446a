// simulators.h - recordings whose latents are known. Every one is a function of its settings: the same settings give
// the same bytes.
//
// linear-track      an animal runs up and down 1.6 m in bins of 25 ms, pausing at the ends and now and then on the way;
//                   place cells with fields for one running direction or both, log-normal peak rates (0.2 to 20 Hz),
//                   gains that vary from pass to pass, weaker while it stands; a few fast-spiking and nearly silent
//                   cells. Labels position [m] and direction (right, left), as in the rat recordings. True latents:
//                   position, direction (1 right, -1 left).
// discrete-label    Zhou & Wei 2020 (arXiv 2011.04798), five classes: z given u normal in the plane, lifted to 100
//                   neurons by an untrained RealNVP flow, Poisson counts of rate exp(2 tanh f). 10000 independent
//                   draws.
// continuous-label  same paper: u in [0, 2 pi), mean (u, 2 sin u), rate exp(2.2 tanh f). 15000 draws. Both draw labels,
//                   latents and counts with NumPy's legacy generator as published (seed 0: the published seeds, 888 and
//                   777); the published flow came from an unseeded generator, so ours has our own seed and the counts
//                   are of the same kind, not the same.
// sine, quadratic, two-circles  Kim et al. 2022 (arXiv 2202.04206): u in (-pi/2, pi/2), z given u normal around the
//                               curve, the same flow,
//                   observations normal around f(z) with unit variance (real numbers, not counts). 30000 draws; a new
//                   data set per seed.
// Independent draws are segments of one bin each (1 s wide by convention): nothing may be smoothed over them.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "host/recordings/recording.h"

namespace idem {

struct Simulation {
  std::string name = "linear-track";
  std::uint64_t seed = 0;
  std::string animal =
      "buddy";  // linear-track: sizes of the published animals (neurons, bins): achilles 120, 10178; buddy 48, 6577;
                // cicero 55, 47431; gatsby 66, 17026. Animals of one seed differ in their cells and runs
  std::optional<std::int32_t> n_times = {}, n_neurons = {};  // default: the animal's, or the published sizes above
};

// Throws ConfigError for unknown names (listing the known) and for impossible sizes.
Recording simulate(const Simulation& simulation);

// The same from a configuration's recording.simulate section: keys name, seed, animal, n_times, n_neurons with the
// defaults above.
Recording simulate_recording(const nlohmann::json& section);

std::vector<std::string> simulation_names();

// The untrained flow that lifts latents to neurons: 4 blocks of two coupling layers on n dimensions, Glorot-uniform
// weights of this seed. x [n_rows x n] is replaced by f(x). Source: Dinh et al. 2017 (RealNVP) as used by Zhou & Wei
// 2020; not volume preserving.
void apply_mixing_flow(std::vector<double>& x, std::int32_t n, std::uint64_t seed);

}  // namespace idem
