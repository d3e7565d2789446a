// cupti_records.h - the records of CUPTI that a trace reads, by the toolkit's version.
#pragma once

#include <cupti.h>

namespace idem {

#if CUPTI_API_VERSION >= 130000
using KernelRecord = CUpti_ActivityKernel10;
#else
using KernelRecord = CUpti_ActivityKernel9;
#endif
using CopyRecord = CUpti_ActivityMemcpy5;  // later ones begin alike
using FillRecord = CUpti_ActivityMemset4;
using LinkRecord = CUpti_ActivityExternalCorrelation;

}  // namespace idem
