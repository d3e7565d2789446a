#include "kernels/limits/copy_values.h"
#include "kernels/limits/multiply_adds.h"
#include "tests/emulation/twin_check.h"

namespace idem {
namespace {

TEST(CopyValuesTwins, AgreeOnEverySize) {
  std::vector<std::int64_t> sizes = kHardSizes;
  sizes.insert(sizes.end(), {3, 4, 4096, 4 * 4 * 256 + 7});
  for (std::int64_t n : sizes) {
    SCOPED_TRACE(testing::Message() << n << " values");
    check_twins(TwinFleet::single(), [&](auto& run) {
      CopyValues<typename std::decay_t<decltype(run)>::Scalar> p;
      p.n = n;
      p.from = run.shared_input("from", n);
      p.to = run.shared_output_rows("to", 1, n).data;
      copy_values(run.execution(), p);
    });
  }
}

TEST(MultiplyAddsTwins, AgreeOnEverySize) {
  std::vector<std::int64_t> sizes = kHardSizes;
  sizes.insert(sizes.end(), {64, 128, 129, 8 * 256 + 7});
  for (std::int64_t n : sizes)
    for (std::int32_t rounds : {0, 1, 7}) {
      SCOPED_TRACE(testing::Message() << n << " values, " << rounds << " rounds");
      check_twins(TwinFleet::single(), [&](auto& run) {
        MultiplyAdds<typename std::decay_t<decltype(run)>::Scalar> p;
        p.n = n;
        p.rounds = rounds;
        p.factor = -0.75;
        p.term = 0.25;
        p.values = run.shared_in_out_rows("values", 1, n).data;
        multiply_adds(run.execution(), p);
      });
    }
}

}  // namespace
}  // namespace idem
