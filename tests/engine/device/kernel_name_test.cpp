#include "engine/device/kernel_name.h"

#include <gtest/gtest.h>

namespace idem {
namespace {

TEST(ShortKernelName, LeavesOutArgumentsAndNamespaces) {
  const std::pair<const char*, const char*> names[] = {
      {"void idem::adam_kernel<4>(idem::Adam<float>)", "adam_kernel<4>"},
      {"_ZN4idem11adam_kernelENS_4AdamIfEE", "adam_kernel"},
      {"cutlass_80_simt_sgemm_128x64_8x5_tn_align1", "cutlass_80_simt_sgemm_128x64_8x5_tn_align1"},
      {"void row_chain<(idem::ProductPrecision)0, (int)4>(RowChainBlocks)", "row_chain<(ProductPrecision)0, (int)4>"},
      {"void (anonymous namespace)::fill<1>(int, float *)", "fill<1>"},
      {"void at::native::<unnamed>::copy(at::Tensor const &)", "at::native::copy"},
      {"unsigned int counted(float)", "counted"},
      {"", ""}};
  for (const auto& [symbol, name] : names) EXPECT_EQ(short_kernel_name(symbol), name) << symbol;
}

}  // namespace
}  // namespace idem
