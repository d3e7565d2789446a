// row_lists.h - what fleets that walk through lists of rows have in common.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/device/array.h"
#include "engine/training/member_optimizer.h"
#include "engine/training/training_plan.h"

namespace idem {

// The lists of rows that an epoch walks through, one per member.
struct RowLists {
  RowLists(Device& device, const std::vector<MemberPlan>& members, std::vector<std::int32_t> MemberPlan::* list) {
    std::vector<std::int32_t> all;
    std::vector<std::int64_t> begin{0};
    for (const auto& member : members) {
      all.insert(all.end(), (member.*list).begin(), (member.*list).end());
      begin.push_back(static_cast<std::int64_t>(all.size()));
      sizes.push_back(static_cast<std::int64_t>((member.*list).size()));
    }
    if (all.empty()) all.push_back(0);  // an address to point at; no member reads it
    rows = Array<std::int32_t>(device, all);
    offsets = Array<std::int64_t>(device, begin);
  }
  // With 0 for the members that are not enabled.
  std::vector<std::int64_t> enabled_sizes(const std::vector<std::uint8_t>& is_enabled) const {
    auto enabled = sizes;
    for (std::size_t member = 0; member < enabled.size(); ++member)
      if (!is_enabled[member]) enabled[member] = 0;
    return enabled;
  }
  Array<std::int32_t> rows;
  Array<std::int64_t> offsets;
  std::vector<std::int64_t> sizes;
};

// Of the longest list.
inline std::int64_t n_batches(const std::vector<std::int64_t>& n_rows, std::int64_t batch) {
  return (*std::max_element(n_rows.begin(), n_rows.end()) + batch - 1) / batch;
}

// Throws std::invalid_argument where there is nothing to train on, or rows are outside the data.
inline void check_members(const TrainingPlan& plan, std::int64_t n_rows, const std::vector<MemberPlan>& members) {
  if (members.empty()) throw std::invalid_argument("a fleet needs at least one member");
  if (plan.batch < 1 || plan.epochs < 1) throw std::invalid_argument("batch and epochs must be at least 1");
  for (const auto& member : members) {
    if (member.train_rows.empty()) throw std::invalid_argument(member.name + ": there is no row to train on");
    for (const auto* rows : {&member.train_rows, &member.valid_rows})
      for (const auto row : *rows)
        if (row < 0 || row >= n_rows)
          throw std::invalid_argument(member.name + ": row " + std::to_string(row) + " is outside the data");
  }
}

// The key of a recording's random draws in a run whose recordings train together. One past the last recording: of what
// they share.
inline std::uint64_t session_seed(std::uint64_t run_seed, std::size_t session) {
  return run_seed + static_cast<std::uint64_t>(session) * 0x9e3779b97f4a7c15u;
}

inline std::vector<std::uint64_t> seeds_of(const std::vector<MemberPlan>& members) {
  std::vector<std::uint64_t> seeds;
  for (const auto& member : members) seeds.push_back(member.seed);
  return seeds;
}

inline std::vector<double> learning_rates_of(const std::vector<MemberPlan>& members, double schedule) {
  std::vector<double> rates;
  for (const auto& member : members) rates.push_back(member.learning_rate * schedule);
  return rates;
}

inline AdamSettings adam_settings(const TrainingPlan& plan) {
  return {.beta1 = plan.adam_beta1,
          .beta2 = plan.adam_beta2,
          .epsilon = plan.adam_epsilon,
          .coupled_decay = plan.coupled_decay,
          .decoupled_decay = plan.decoupled_decay,
          .clip_norm = plan.clip_norm};
}

}  // namespace idem
