#include "engine/training/loss_sums.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <stdexcept>

#include "kernels/common/to_size.h"

namespace idem {

LossSums::LossSums(Device& device, std::int32_t n_members, std::vector<EpochColumn<float>> columns)
    : device_(device), columns_(std::move(columns)), sums_(device, to_size(n_members) * columns_.size()) {
  if (columns_.size() > std::size(EpochSums<float>{}.columns))
    throw std::invalid_argument("a loss of more parts than are summed at once");
}

void LossSums::add(const FleetExtent& fleet, std::int32_t batch, const float* row_weight, std::int64_t stride) const {
  EpochSums<float> p{.fleet = fleet,
                     .batch = batch,
                     .n_columns = static_cast<std::int32_t>(columns_.size()),
                     .row_weight = row_weight,
                     .row_scalar_stride = stride,
                     .columns = {},
                     .sums = sums_.data()};
  std::copy(columns_.begin(), columns_.end(), p.columns);
  epoch_sums(device_.execution(), p);
}

std::vector<std::vector<double>> LossSums::means(const std::vector<std::int64_t>& n_rows) const {
  const auto sums = sums_.download();
  std::vector<std::vector<double>> means;
  for (std::size_t member = 0; member < n_rows.size(); ++member) {
    auto& of_member = means.emplace_back(columns_.size(), std::numeric_limits<double>::quiet_NaN());
    for (std::size_t column = 0; column < columns_.size(); ++column)
      if (columns_[column].values && n_rows[member] > 0)
        of_member[column] =
            static_cast<double>(sums[member * columns_.size() + column]) / static_cast<double>(n_rows[member]);
  }
  return means;
}

}  // namespace idem
