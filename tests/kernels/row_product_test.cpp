#include "kernels/layers/row_product.h"

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <unistd.h>

#include "kernels/common/to_size.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace idem {
namespace {

// An array whose end is that of the readable memory: to read past it ends the process.
template <class Real>
class AtTheEnd {
 public:
  explicit AtTheEnd(std::size_t n)
      : page_(to_size(sysconf(_SC_PAGESIZE))), bytes_((n * sizeof(Real) + page_ - 1) / page_ * page_) {
    memory_ =
        static_cast<char*>(mmap(nullptr, bytes_ + page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(memory_ + bytes_, page_, PROT_NONE);
    data_ = reinterpret_cast<Real*>(memory_ + bytes_) - n;
  }
  ~AtTheEnd() { munmap(memory_, bytes_ + page_); }
  AtTheEnd(const AtTheEnd&) = delete;
  AtTheEnd& operator=(const AtTheEnd&) = delete;
  Real* data() { return data_; }
  Real& operator[](std::int64_t i) { return data_[i]; }

 private:
  std::size_t page_, bytes_;
  char* memory_;
  Real* data_;
};

// Every width of tile, by one kind of vectors: b's padding holds NaN, which may be read but not stored, and c's is not
// touched.
template <class Real, class Multiply>
void expect_products(const Multiply& multiply) {
  for (const bool accumulate : {false, true})
    for (const bool transposed : {false, true})
      for (const std::int64_t n_rows : {1, 2, 5, 6, 15})
        for (const std::int64_t n_columns : {1, 4, 15, 16, 17, 30, 33, 64, 119})
          for (const std::int64_t n_sums : {0, 1, 7, 60}) {
            const std::int64_t stride = (n_columns + 15) / 16 * 16;
            AtTheEnd<Real> a(to_size(n_rows * n_sums)), b(to_size(n_sums * stride));
            std::fill_n(b.data(), n_sums * stride, Real(NAN));
            std::vector<Real> c(to_size(n_rows * stride), Real(7));
            for (std::int64_t i = 0; i < n_rows * n_sums; ++i) a[i] = static_cast<Real>(i * 37 % 17) - 8;
            for (std::int64_t k = 0; k < n_sums; ++k)
              for (std::int64_t j = 0; j < n_columns; ++j)
                b[k * stride + j] = static_cast<Real>((5 * k + 3 * j) % 13) - 6;
            const RowProduct<Real> p{.n_rows = n_rows,
                                     .n_columns = n_columns,
                                     .n_sums = n_sums,
                                     .a = a.data(),
                                     .a_row = transposed ? 1 : n_sums,
                                     .a_step = transposed ? n_rows : 1,
                                     .b = b.data(),
                                     .b_stride = stride,
                                     .c = c.data(),
                                     .c_stride = stride,
                                     .accumulate = accumulate};
            multiply(p);
            for (std::int64_t i = 0; i < n_rows; ++i)
              for (std::int64_t j = 0; j < stride; ++j) {
                Real want = accumulate || j >= n_columns ? 7 : 0;  // sums of small whole numbers are exact
                for (std::int64_t k = 0; j < n_columns && k < n_sums; ++k)
                  want += a[i * p.a_row + k * p.a_step] * b[k * stride + j];
                ASSERT_EQ(c[to_size(i * stride + j)], want)
                    << n_rows << " x " << n_columns << " x " << n_sums << (transposed ? " a'" : "")
                    << (accumulate ? " added" : "") << " at " << i << ", " << j;
              }
          }
}

TEST(RowProduct, IsTheDefinitionsByTheVectorsOfThisProcessor) {
  expect_products<float>(row_product<float>);
  expect_products<double>(row_product<double>);
}
TEST(RowProduct, IsTheDefinitionsByVectorsOfEverySize) {
  expect_products<float>([](const auto& p) { product_of_rows<float, 16>(p); });
#if IDEM_HAS_SIMD_CLONES
  if (!__builtin_cpu_supports("x86-64-v3")) GTEST_SKIP() << "a processor without AVX2";
  expect_products<float>(row_product_v3<float>);
  expect_products<double>(row_product_v3<double>);
  if (!__builtin_cpu_supports("x86-64-v4")) GTEST_SKIP() << "a processor without AVX-512";
  expect_products<float>(row_product_v4<float>);
  expect_products<double>(row_product_v4<double>);
#else
  GTEST_SKIP() << "this build is for one kind of processor";
#endif
}

}  // namespace
}  // namespace idem
