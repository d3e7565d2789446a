// host_draws.h - draws by place (kernels/common/placed_draws.h) for tests, found by looking for every place at all
// draws.
#pragma once

#include <vector>

#include "kernels/common/placed_draws.h"
#include "kernels/common/to_size.h"

namespace idem {

struct HostDraws {
  std::int32_t n_lists, batch, n_places;
  std::vector<std::int32_t> place, begin, draw;

  // places [n_members x n_lists x of_batch]
  HostDraws(std::int32_t lists, std::int32_t of_batch, std::int32_t of_places, const std::vector<std::int32_t>& places,
            std::int32_t n_members)
      : n_lists(lists), batch(of_batch), n_places(of_places), place(places) {
    for (std::int32_t list = 0; list < n_members * n_lists; ++list) {
      const std::int32_t first = list * batch, first_entry = static_cast<std::int32_t>(draw.size());
      begin.push_back(0);
      for (std::int32_t of = 0; of < n_places; ++of) {
        for (std::int32_t i = 0; i < batch; ++i)
          if (place[to_size(first + i)] == of) draw.push_back(i);
        begin.push_back(static_cast<std::int32_t>(draw.size()) - first_entry);
      }
    }
  }

  PlacedDraws draws() const {
    return {.n_lists = n_lists,
            .batch = batch,
            .n_places = n_places,
            .place = place.data(),
            .begin = begin.data(),
            .draw = draw.data()};
  }
  template <class Run>
  PlacedDraws draws(Run& run) const {
    PlacedDraws of = draws();
    of.place = run.input_array("place", std::int64_t{n_lists} * batch, place);
    of.begin = run.input_array("begin", std::int64_t{n_lists} * (n_places + 1), begin);
    of.draw = run.input_array("draw", std::int64_t{n_lists} * batch, draw);
    return of;
  }
};

}  // namespace idem
