// loss_sums.h - what a fleet logs of an epoch, or of the steps between two records: sums over rows, and their means.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/device/array.h"
#include "kernels/objective/objective.h"

namespace idem {

class LossSums {
 public:
  // columns: what is summed, at most EpochSums::kMaxColumns; the arrays must outlive this.
  LossSums(Device& device, std::int32_t n_members, std::vector<EpochColumn<float>> columns);

  void clear() const { sums_.clear(); }
  // Adds a batch's rows: those of the members in `fleet`, whose row_weight [n_members x stride] is above 0. May be
  // recorded.
  void add(const FleetExtent& fleet, std::int32_t batch, const float* row_weight, std::int64_t stride) const;
  // [member][column] over n_rows of each member; NaN where the column has no values or the member no rows. Waits.
  std::vector<std::vector<double>> means(const std::vector<std::int64_t>& n_rows) const;

 private:
  Device& device_;
  std::vector<EpochColumn<float>> columns_;
  Array<float> sums_;
};

}  // namespace idem
