// target.h - which twins of an operation the current compiler pass builds, and the qualifiers both share.
//
// A kernel file is seen by up to two compilers: the C++ compiler builds its CPU twin, nvcc its CUDA twin. Tests may
// build both with the C++ compiler by naming a header that emulates CUDA (IDEM_CUDA_HEADER); kernel files themselves
// include nothing but this folder.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef IDEM_CUDA_TWINS
#define IDEM_CUDA_TWINS 0  // 1: the program has CUDA twins to dispatch to
#endif

#if defined(__CUDACC__)
#define IDEM_COMPILES_CPU_TWINS 0
#define IDEM_COMPILES_CUDA_TWINS 1
#elif defined(IDEM_CUDA_HEADER)
#define IDEM_COMPILES_CPU_TWINS 1
#define IDEM_COMPILES_CUDA_TWINS 1
#else
#define IDEM_COMPILES_CPU_TWINS 1
#define IDEM_COMPILES_CUDA_TWINS 0
#endif

#if defined(__CUDACC__)
#define HD __host__ __device__ __forceinline__
#else
#define HD inline __attribute__((always_inline))
#endif

// Whether a loop may be built for several kinds of x86 processors, among which the program picks when it starts. Only
// GCC clones templates.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__) && \
    !defined(IDEM_NO_SIMD_CLONES)
#define IDEM_HAS_SIMD_CLONES 1
#else
#define IDEM_HAS_SIMD_CLONES 0
#endif

// Put before a CPU loop that deserves wide registers: the compiler builds it for AVX-512, AVX2 and the baseline. The
// row bodies it calls are HD and thus inlined into each copy.
#if IDEM_HAS_SIMD_CLONES
#define IDEM_SIMD_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define IDEM_SIMD_CLONES
#endif
