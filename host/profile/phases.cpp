#include "host/profile/phases.h"

#include <algorithm>

#include "host/support/peak_memory.h"

namespace idem {

void StudyPhases::begin(const char* name) {
  end();
  if (!is_taken_) return;
  tells_peak_ = forget_peak_memory();
  const auto found = std::ranges::find(phases_, name, &StudyPhase::name);
  running_ = found == phases_.end() ? &phases_.emplace_back(StudyPhase{.name = name}) : &*found;
  began_ = std::chrono::steady_clock::now();
}

void StudyPhases::end() {
  if (!running_) return;
  running_->seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  if (tells_peak_) running_->peak_mib = std::max(running_->peak_mib, peak_memory_mib());
  running_ = nullptr;
}

}  // namespace idem
