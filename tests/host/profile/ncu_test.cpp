#include "host/profile/ncu.h"

#include <gtest/gtest.h>

#include <string>

#include "host/support/errors.h"
#include "tests/support/error_message.h"

namespace idem {
namespace {

// As ncu --csv --page raw prints it: lines of its own and of the program, names, units, kernels.
const std::string kTable = R"csv(==PROF== Connected to process 4711 (idem)
==PROF== Profiling "adam_kernel": 0%....50%....100% - 5 passes
step/pi-vae-60/1 ran once on cuda:0 NVIDIA H100 80GB HBM3
==PROF== Disconnected from process 4711
"ID","Process ID","Kernel Name","Block Size",)csv"
                           R"csv("dram__throughput.avg.pct_of_peak_sustained_elapsed","gpu__time_duration.sum",)csv"
                           R"csv("launch__grid_size","launch__registers_per_thread"
"","","","","%","us","","register/thread"
"0","4711","void idem::adam_kernel(idem::Adam<float>)","(256, 1, 1)","3.21","2.50","132","40"
"1","4711","void idem::row_chain_kernel<(idem::ProductPrecision)0, (int)4>(RowChainBlocks)","(128, 1, 1)",)csv"
                           R"csv("1.07","11.26","1,320","96"
)csv";

TEST(Ncu, KernelsAreReadWithTheFiguresThatSayWhatLimitsThem) {
  const auto kernels = parse_ncu(kTable, "kernels.csv");
  ASSERT_EQ(kernels.size(), 2u);
  EXPECT_EQ(kernels[0].kernel, "adam_kernel");
  using Figures = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(
      kernels[0].figures,
      (Figures{{"time", "2.50 us"}, {"% of DRAM", "3.21"}, {"registers", "40 register/thread"}, {"blocks", "132"}}));
  EXPECT_EQ(kernels[1].kernel, "row_chain_kernel<(ProductPrecision)0, (int)4>");
  EXPECT_EQ(kernels[1].figures.back().second, "1,320");
  EXPECT_EQ(ncu_json({kernels[0]}), R"([
  {
    "kernel": "adam_kernel",
    "time": "2.50 us",
    "% of DRAM": "3.21",
    "registers": "40 register/thread",
    "blocks": "132"
  }
]
)");
}

TEST(Ncu, ATableThatLacksUnitsKernelsOrFiguresIsRefused) {
  for (const char* text : {"\"ID\",\"Kernel Name\",\"launch__grid_size\"\n",
                           "\"ID\",\"Kernel Name\",\"launch__grid_size\"\n\"\",\"\",\"\"\n",
                           "\"ID\",\"Kernel Name\",\"launch__grid_size\"\n\"0\",\"a\",\"3\"\n\"1\",\"b\",\"4\"\n",
                           "\"ID\",\"Kernel Name\",\"Metric Value\"\n\"\",\"\",\"\"\n\"1\",\"b\",\"4\"\n"})
    EXPECT_MESSAGE(DataError, parse_ncu(text, "kernels.csv"),
                   "kernels.csv: is not what ncu --csv --page raw prints, names, units and a row for each kernel");
}

TEST(Ncu, AFigureThatIsMissingIsLeftOut) {
  const auto kernels = parse_ncu(
      "\"ID\",\"Kernel Name\",\"gpu__time_duration.sum\",\"launch__grid_size\"\n\"\",\"\",\"us\",\"\"\n"
      "\"0\",\"a\",\"\",\"3\"\n\"1\",\"b\",\"2\",\"\"\n",
      "kernels.csv");
  ASSERT_EQ(kernels.size(), 2u);
  EXPECT_EQ(kernels[0].figures, (std::vector<std::pair<std::string, std::string>>{{"blocks", "3"}}));
  EXPECT_EQ(kernels[1].figures, (std::vector<std::pair<std::string, std::string>>{{"time", "2 us"}}));
}

TEST(Ncu, WhatIsNoTableOfItIsRefused) {
  for (const char* text : {"", "==ERROR== ERR_NVGPUCTRPERM\n", "a,b\n1,2\n"})
    EXPECT_MESSAGE(DataError, parse_ncu(text, "kernels.csv"),
                   "kernels.csv: holds no table of ncu; make it with ncu --csv --page raw");
}

}  // namespace
}  // namespace idem
