#include "kernels/contrastive/logistic_pairs.h"

#include "tests/emulation/twin_check.h"

namespace idem {
namespace {

TEST(LogisticPairsTwins, AgreeOnEverySize) {
  for (const std::int64_t batch : kHardSizes) {
    SCOPED_TRACE(testing::Message() << batch << " rows");
    check_twins(TwinFleet::several(), [&](auto& run) {
      LogisticPairs<typename std::decay_t<decltype(run)>::Scalar> p;
      p.fleet = run.fleet();
      p.batch = static_cast<std::int32_t>(batch);
      p.score = run.input_rows("score", 2 * batch, 1, normal_values(4));
      p.row_weight = run.input("row_weight", batch, uniform_values(0, 1));
      p.row_scalar_stride = batch;
      p.loss = run.output("loss", batch);
      p.accuracy = run.output("accuracy", batch);
      p.d_score = run.output_rows("d_score", 2 * batch, 1);
      logistic_pairs(run.execution(), p);
    });
  }
}

}  // namespace
}  // namespace idem
