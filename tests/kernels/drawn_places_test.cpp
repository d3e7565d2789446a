#include "kernels/sampling/contrastive_indices.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/kernels/contrastive_drawing.h"
#include "tests/support/host_draws.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

TEST(DrawnPlaces, AreWhereTheTableSaysAndListTheirDraws) {
  constexpr std::int32_t n_members = 2, n_lists = 3, batch = 400, n_rows = 90, n_places = 80;
  std::mt19937_64 random(3);
  Indices indices(n_members * n_lists * batch), place_of(n_members * n_rows),
      counts(n_members * n_lists * n_places, -1), place(indices.size(), -1),
      begin(n_members * n_lists * (n_places + 1), -1), draw(indices.size(), -1), wanted_place;
  for (auto& index : indices) index = static_cast<std::int32_t>(random() % n_rows);
  for (auto& of : place_of)
    of = static_cast<std::int32_t>(random() % n_places);  // two rows may have one place: windows at a border
  ThreadPool pool(2);
  drawn_places_cpu(DrawnPlaces<float>{.fleet = {n_members},
                                      .n_lists = n_lists,
                                      .batch = batch,
                                      .n_rows = n_rows,
                                      .n_places = n_places,
                                      .indices = indices.data(),
                                      .place_of = place_of.data(),
                                      .place = place.data(),
                                      .begin = begin.data(),
                                      .draw = draw.data(),
                                      .counts = counts.data()},
                   pool);
  for (std::size_t i = 0; i < indices.size(); ++i)
    wanted_place.push_back(place_of[i / batch / n_lists * n_rows + to_size(indices[i])]);
  EXPECT_EQ(place, wanted_place);
  const HostDraws wanted(n_lists, batch, n_places, wanted_place, n_members);
  EXPECT_EQ(begin, wanted.begin);
  EXPECT_EQ(draw, wanted.draw);
  for (std::size_t list = 0; list < n_members * n_lists; ++list)
    for (std::size_t of = 0; of < n_places; ++of)
      ASSERT_EQ(counts[list * n_places + of],
                begin[list * (n_places + 1) + of + 1] - begin[list * (n_places + 1) + of]);
}

}  // namespace
}  // namespace idem
