// open_blas.h - the CPU's matrix products: OpenBLAS, loaded when they are first asked for.
#pragma once

#include <cblas.h>

#include <string>

namespace idem {

struct OpenBlas {
  decltype(&cblas_sgemm) sgemm;
  decltype(&cblas_dgemm) dgemm;
  std::string kernels;  // whose processor's it runs, for instance "SkylakeX"
};

// The library, with one thread of its own. Loaded rather than linked because OpenBLAS chooses its kernels while it is
// being loaded, and by the processor's model: on a processor younger than the library it falls back to kernels of 2004,
// at a fifth of the speed. Here the instruction set decides, on every processor, so that a newer library multiplies as
// an older one does, unless the user's OPENBLAS_CORETYPE decides. The first call sets environment variables for a
// moment: it has to come before other threads read them. Throws DeviceError if the library cannot be loaded.
const OpenBlas& open_blas();

// Takes the memory in which n_threads threads multiply at once, 128 MiB of addresses each, of which a product uses what
// it needs. The library itself, where it cannot have them, asks again for ever (its blas_memory_alloc): here that is a
// DeviceError, before the first product.
void reserve_product_buffers(int n_threads);

}  // namespace idem
