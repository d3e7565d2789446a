// named_range.h - what profilers show a stretch of the host's time under (NVTX); costs nothing without one.
#pragma once

#include <nvtx3/nvToolsExt.h>

namespace idem {

struct NamedRange {
  explicit NamedRange(const char* name) { nvtxRangePushA(name); }
  ~NamedRange() { nvtxRangePop(); }
  NamedRange(const NamedRange&) = delete;
  NamedRange& operator=(const NamedRange&) = delete;
};

}  // namespace idem
