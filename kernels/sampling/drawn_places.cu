#include <bit>

#include "kernels/common/sort.h"
#include "kernels/sampling/contrastive_indices.h"

namespace idem {

// One list of a member.
template <class Real>
struct ListPlaces {
  std::int64_t number;  // among the lists of all members
  const std::int32_t *indices, *place_of;
  std::int32_t *place, *begin, *draw, *counts;

  HD ListPlaces(const DrawnPlaces<Real>& p, std::int64_t member, std::int64_t list)
      : number(member * p.n_lists + list) {
    indices = p.indices + number * p.batch;
    place_of = p.place_of + member * p.n_rows;
    place = p.place + number * p.batch;
    begin = p.begin + number * (p.n_places + 1);
    draw = p.draw + number * p.batch;
    counts = p.counts ? p.counts + number * p.n_places : nullptr;
  }
};

#if IDEM_COMPILES_CPU_TWINS
// Counted, then put where those before them end.
template <class Real>
static void place_list(const DrawnPlaces<Real>& p, const ListPlaces<Real>& of) {
  std::int32_t* next = of.begin;
  for (std::int32_t place = 0; place <= p.n_places; ++place) next[place] = 0;
  for (std::int32_t i = 0; i < p.batch; ++i) ++next[of.place[i] = of.place_of[of.indices[i]]];
  for (std::int32_t place = 0; of.counts && place < p.n_places; ++place) of.counts[place] = next[place];
  for (std::int32_t place = 0, before = 0; place <= p.n_places; ++place) {
    const std::int32_t n = next[place];
    next[place] = before;
    before += n;
  }
  for (std::int32_t i = 0; i < p.batch; ++i) of.draw[next[of.place[i]]++] = i;
  for (std::int32_t place = p.n_places; place > 0; --place)
    next[place] = next[place - 1];  // each has moved on to the next one's begin
  next[0] = 0;
}

template <class Real>
void drawn_places_cpu(const DrawnPlaces<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, p.n_lists, 1, [&](std::int64_t member, std::int64_t list, std::int64_t) {
    place_list(p, ListPlaces<Real>(p, member, list));
  });
}
IDEM_INSTANTIATE_CPU(drawn_places, DrawnPlaces)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// The draws of all lists of all members are sorted at once, by list and place; in the low bits of a key is the number
// of the draw.
constexpr int kDrawBits = 32;

struct PlaceKeys {
  std::int64_t n, n_lists, n_places;
  std::uint64_t *keys, *sorted;
  void* scratch;
  std::size_t scratch_bytes;

  explicit PlaceKeys(const DrawnPlaces<float>& p)
      : n(std::int64_t{p.fleet.n_members} * p.n_lists * p.batch),
        n_lists(std::int64_t{p.fleet.n_members} * p.n_lists),
        n_places(p.n_places) {
    keys = static_cast<std::uint64_t*>(p.scratch);
    sorted = keys + n;
    scratch = sorted + n;
    scratch_bytes = p.scratch_bytes - 2 * static_cast<std::size_t>(n) * sizeof(std::uint64_t);
  }
  int end_bit() const { return kDrawBits + std::bit_width(static_cast<std::uint64_t>(n_lists * n_places)); }
};

// A member that does not take part has draws too, all of its first place, so that those of the others lie where they
// would lie without it.
struct KeyOfDraw {
  DrawnPlaces<float> p;
  std::uint64_t* keys;
  HD void operator()(std::int64_t member, std::int64_t i, std::int32_t) const {
    const ListPlaces<float> of(p, member, i / p.batch);
    const std::int64_t draw = i % p.batch;
    std::int32_t place = 0;
    if (p.fleet.is_active(member)) of.place[draw] = place = of.place_of[of.indices[draw]];
    keys[of.number * p.batch + draw] =
        static_cast<std::uint64_t>(of.number * p.n_places + place) << kDrawBits | static_cast<std::uint64_t>(draw);
  }
};

// What is at an entry of a list, and which places begin there: its own and those before it that nothing fell on. After
// the last entry the rest begin.
struct ListOfPlace {
  DrawnPlaces<float> p;
  const std::uint64_t* sorted;
  HD void operator()(std::int64_t member, std::int64_t i, std::int32_t) const {
    const ListPlaces<float> of(p, member, i / (p.batch + 1));
    const std::int32_t at = static_cast<std::int32_t>(i % (p.batch + 1));
    const std::uint64_t* keys = sorted + of.number * p.batch;
    const auto place_at = [&](std::int32_t entry) {
      return static_cast<std::int32_t>(static_cast<std::int64_t>(keys[entry] >> kDrawBits) - of.number * p.n_places);
    };
    const std::int32_t before = at > 0 ? place_at(at - 1) : -1, place = at < p.batch ? place_at(at) : p.n_places;
    for (std::int32_t next = before + 1; next <= place; ++next) of.begin[next] = at;
    if (at < p.batch) of.draw[at] = static_cast<std::int32_t>(keys[at] & 0xffffffffu);
  }
};

struct CountOfPlace {
  DrawnPlaces<float> p;
  HD void operator()(std::int64_t member, std::int64_t i, std::int32_t) const {
    const ListPlaces<float> of(p, member, i / p.n_places);
    const std::int64_t place = i % p.n_places;
    of.counts[place] = of.begin[place + 1] - of.begin[place];
  }
};

void drawn_places_cuda(const DrawnPlaces<float>& p, Stream stream) {
  const PlaceKeys of(p);
  const std::int64_t n_draws = std::int64_t{p.n_lists} * p.batch;
  cu::launch_rows("place_draws", {p.fleet.n_members}, n_draws, 1, KeyOfDraw{p, of.keys}, stream);
  cu::sort("sort_draws", of.scratch, of.scratch_bytes, of.keys, of.sorted, of.n, kDrawBits, of.end_bit(), stream);
  cu::launch_rows("list_draws", p.fleet, n_draws + p.n_lists, 1, ListOfPlace{p, of.sorted}, stream);
  if (p.counts)
    cu::launch_rows("count_draws", p.fleet, std::int64_t{p.n_lists} * p.n_places, 1, CountOfPlace{p}, stream);
}

std::size_t drawn_places_scratch_cuda(const DrawnPlaces<float>& p) {
  const PlaceKeys of(p);
  return 2 * static_cast<std::size_t>(of.n) * sizeof(std::uint64_t) + cu::sort_bytes(of.n, kDrawBits, of.end_bit());
}
#endif

}  // namespace idem
