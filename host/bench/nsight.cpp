#include "host/bench/bench.h"

#include <fmt/format.h>

namespace idem {

std::string profilers_script(const BenchArguments& arguments, const std::string& default_case) {
  return fmt::format(R"sh(#!/usr/bin/env bash
# nsight.sh IDEM [CASE] - where the GPU's time goes: a timeline (nsys) and every kernel's limits (ncu), of one run of
# CASE. IDEM: the program.
if [ -z "$1" ]; then
  echo "usage: nsight.sh IDEM [CASE], as nsight.sh build/cuda/idem {1}" >&2
  exit 2
fi
program=$(realpath "$1")
if [ ! -x "$program" ]; then
  echo "nsight.sh: $1: there is no such program; name idem itself, as build/cuda/idem" >&2
  exit 2
fi
cd "$(dirname "$0")" || exit 1
case=${{2:-{1}}}
once=("$program" bench --device {0} --precision {2} --convolutions {3} --once "$case")
rm -f timeline.nsys-rep timeline.sqlite kernels.txt kernels.ncu-rep kernels.csv
none=1
failed=0
fail() {{
  echo "nsight.sh: $*" >&2
  failed=1
}}
set -o pipefail
if command -v nsys; then
  none=0
  # Without --capture-range-end=stop nsys ends the program, which then looks as if it had failed.
  nsys profile --trace=cuda,nvtx,cublas --cuda-graph-trace=node --capture-range=cudaProfilerApi \
    --capture-range-end=stop --force-overwrite=true --output=timeline "${{once[@]}}" &&
    nsys stats --report cuda_gpu_kern_sum timeline.nsys-rep | tee kernels.txt ||
    fail 'nsys failed, as it says above; "nsys status --environment" tells what this machine does not let it do'
else
  echo 'nsight.sh: there is no nsys (Nsight Systems): no timeline' >&2
fi
if command -v ncu; then
  none=0
  if ncu --profile-from-start off --clock-control none --set full --graph-profiling node --force-overwrite \
    --export kernels "${{once[@]}}" && ncu --import kernels.ncu-rep --csv --page raw >kernels.csv; then
    # Of a case that is in no profile its kernels alone.
    {{ [ -e profile.json ] && "$program" profile show . --step "$case" --ncu kernels.csv; }} ||
      "$program" profile ncu kernels.csv || fail 'the figures of ncu are not to be read; they are in kernels.ncu-rep'
  else
    fail 'ncu failed; if it says ERR_NVGPUCTRPERM, its counters need permission (the page of that name at NVIDIA):' \
      'run this as root, or let the administrator set NVreg_RestrictProfilingToAdminUsers=0'
  fi
else
  echo 'nsight.sh: there is no ncu (Nsight Compute): no limits of kernels; where CUDA is installed beside it:' \
    'PATH="$PATH:/usr/local/cuda/bin"' >&2
fi
exit $((none | failed))
)sh",
                     arguments.device, default_case, to_string(arguments.precision), to_string(arguments.convolutions));
}

}  // namespace idem
