// placed_draws.h - the draws of a step by the place that they fell on: rows that are encoded once each, whoever drew
// them.
#pragma once

#include "kernels/common/target.h"

namespace idem {

// Filled by drawn_places (kernels/sampling). Does not own its memory.
//   place  [n_members x n_lists x batch]           of each draw, in [0, n_places)
//   begin  [n_members x n_lists x (n_places + 1)]  the draws of a list that fell on place p are its entries begin[p] to
//                                                  begin[p + 1] - 1 of
//   draw   [n_members x n_lists x batch]           draws of a list by place, those of a place ascending
struct PlacedDraws {
  std::int32_t n_lists = 0, batch = 0, n_places = 0;
  const std::int32_t *place = nullptr, *begin = nullptr, *draw = nullptr;

  HD explicit operator bool() const { return place != nullptr; }
  HD std::int64_t n_draws() const { return std::int64_t{n_lists} * batch; }
  HD const std::int32_t* places_of(std::int64_t member, std::int32_t list) const {
    return place + (member * n_lists + list) * batch;
  }
  HD const std::int32_t* begins_of(std::int64_t member, std::int32_t list) const {
    return begin + (member * n_lists + list) * (n_places + 1);
  }
  HD const std::int32_t* draws_of(std::int64_t member, std::int32_t list) const {
    return draw + (member * n_lists + list) * batch;
  }
};

}  // namespace idem
