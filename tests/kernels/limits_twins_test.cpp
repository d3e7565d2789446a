#include "kernels/limits/copy_values.h"
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

}  // namespace
}  // namespace idem
