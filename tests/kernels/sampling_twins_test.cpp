#include <cstdint>
#include <numeric>

#include "kernels/sampling/sampling.h"
#include "tests/emulation/twin_check.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

TEST(DrawNormalsTwins, AgreeOnEverySize) {
  for (std::int64_t n_rows : kHardSizes) {
    for (std::int32_t n_cols : {1, 2, 3, 50, 120}) {
      SCOPED_TRACE(testing::Message() << n_rows << " rows of " << n_cols);
      check_twins(TwinFleet::several(), [&](auto& run) {
        DrawNormals<typename std::decay_t<decltype(run)>::Scalar> p;
        p.fleet = run.fleet();
        p.n_rows = n_rows;
        p.n_cols = n_cols;
        p.seed = run.template input_array<std::uint64_t>("seed", 1, {1, 2, 0xfedcba9876543210ull});
        p.step = run.template input_array<std::uint32_t>("step", 1, {0, 7, 4000000000u});
        p.out = run.output_rows("out", n_rows, n_cols);
        draw_normals(run.execution(), p);
      });
    }
  }
}

TEST(DrawSeveralTwins, AgreeForShapesOfTheirOwn) {
  for (const std::int32_t n : {0, 1, 3}) {
    SCOPED_TRACE(testing::Message() << n << " together");
    check_twins(TwinFleet::several(), [&](auto& run) {
      SeveralDraws<typename std::decay_t<decltype(run)>::Scalar> p;
      p.fleet = run.fleet();
      const auto* seed = run.template input_array<std::uint64_t>("seed", 1, {1, 2, 3});
      const auto* step = run.template input_array<std::uint32_t>("step", 1, {0, 7, 8});
      for (std::int32_t i = 0; i < n; ++i) {
        const std::int32_t n_cols = 1 + 40 * i;
        p.add({.fleet = p.fleet,
               .n_rows = 61,
               .n_cols = n_cols,
               .stream = i == 1 ? RandomStream::encoder_noise : RandomStream::posterior_noise,
               .seed = seed,
               .step = step,
               .out = run.output_rows("out" + std::to_string(i), 61, n_cols)});
      }
      draw_several(run.execution(), p);
    });
  }
}

void check_batch(bool shuffle, std::int32_t batch, std::uint32_t batch_index,
                 const std::vector<std::int64_t>& list_begin) {
  SCOPED_TRACE(testing::Message() << "batch " << batch_index << " of " << batch);
  const std::int32_t n_members = static_cast<std::int32_t>(list_begin.size()) - 1;
  std::vector<std::int32_t> lists(to_size(list_begin.back()));
  std::iota(lists.begin(), lists.end(), 1000);
  std::vector<std::uint8_t> all(to_size(n_members), 1), enabled = all;
  enabled[1] = 0;
  std::vector<std::uint64_t> seeds(all.size());
  std::iota(seeds.begin(), seeds.end(), 40);
  check_twins({all}, [&](auto& run) {
    BatchRows<typename std::decay_t<decltype(run)>::Scalar> p;
    p.n_members = n_members;
    p.batch = batch;
    p.shuffle = shuffle;
    p.position = run.template shared_array<std::uint32_t>("position", {3, batch_index});
    p.row_lists = run.shared_array("row_lists", lists);
    p.list_begin = run.shared_array("list_begin", list_begin);
    p.seed = run.input_array("seed", 1, seeds);
    p.enabled = run.input_array("enabled", 1, enabled);
    p.rows = run.in_out_array("rows", batch, std::vector<std::int32_t>(to_size(n_members * batch), -7));
    const auto weights = run.output_rows("weights", 1, batch);
    p.weights = weights.data;
    p.weights_stride = weights.member_stride;
    p.active = run.in_out_array("is_active", 1, std::vector<std::uint8_t>(all.size(), 9));
    batch_rows(run.execution(), p);
  });
}

TEST(BatchRowsTwins, AgreeOnRaggedLists) {
  for (bool shuffle : {true, false}) {
    for (std::int32_t batch : {1, 31, 257}) {
      for (std::uint32_t batch_index : {0u, 1u, 9u})
        check_batch(shuffle, batch, batch_index, {0, 300, 357, 358, 358, 2000});
    }
  }
}

}  // namespace
}  // namespace idem
