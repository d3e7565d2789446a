#include "kernels/layers/layers.h"
#include "tests/emulation/twin_check.h"

namespace idem {
namespace {

TEST(ScaleRowsTwins, AgreeOnEverySize) {
  for (std::int64_t n_rows : kHardSizes) {
    for (std::int32_t n_features : {0, 1, 33, 120}) {
      SCOPED_TRACE(testing::Message() << n_rows << " rows of " << n_features);
      check_twins(TwinFleet::several(), [&](auto& run) {
        using Real = typename std::decay_t<decltype(run)>::Scalar;
        ScaleRows<Real> p;
        p.fleet = run.fleet();
        p.n_rows = n_rows;
        p.n_features = n_features;
        p.scale = run.input("scale", n_rows);
        p.scale_stride = n_rows;
        p.value = run.in_out_rows("value", n_rows, n_features);
        scale_rows(run.execution(), p);
      });
    }
  }
}

}  // namespace
}  // namespace idem
