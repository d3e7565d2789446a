// planning.h - whether operations are only prepared for: their kernels loaded and given their shared memory, none of
// them started.
#pragma once

namespace idem::cu {

// Of this thread's calls; see CudaDevice::plan.
inline thread_local bool is_planning = false;

}  // namespace idem::cu
