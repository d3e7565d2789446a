#include "host/statistics/student_t.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace idem {
namespace {

// scipy.stats.t of scipy 1.17: isf(p / 2, df) for p of 0.5, 0.05, 0.001; 2 sf(t, df) for t of 0.3, 2.2, 9.
struct Row {
  double degrees, critical[3], two_sided[3];
};
constexpr Row kOfScipy[] = {{1,
                             {1.0000000000000002, 12.706204736174705, 636.6192487687196},
                             {0.8144528418445154, 0.27159949756018376, 0.07044657495455456}},
                            {1.7,
                             {0.8456138715377957, 5.118838988253059, 52.2947075946619},
                             {0.7968029183974501, 0.1807936984421722, 0.01966675223579862}},
                            {5,
                             {0.7266868438004226, 2.5705818356363155, 6.86882662588111},
                             {0.7762490422632745, 0.07909389790318237, 0.00028267997424389707}},
                            {17.3,
                             {0.6889354241814394, 2.107032003753469, 3.9514694192608744},
                             {0.767751974532544, 0.041669595529273844, 6.130510948423724e-08}},
                            {1e6,
                             {0.6744899955310875, 1.9599663568141072, 3.2905364612486916},
                             {0.7641772179789942, 0.02780712291602387, 2.2609730334928616e-19}}};

TEST(StudentT, EqualsScipys) {
  constexpr double kP[] = {0.5, 0.05, 0.001}, kT[] = {0.3, 2.2, 9};
  for (const auto& row : kOfScipy)
    for (int i = 0; i < 3; ++i) {
      EXPECT_NEAR(student_t_critical(kP[i], row.degrees) / row.critical[i], 1, 1e-8) << row.degrees << " " << kP[i];
      EXPECT_NEAR(student_t_two_sided(kT[i], row.degrees) / row.two_sided[i], 1, 1e-8) << row.degrees << " " << kT[i];
    }
}

TEST(StudentT, OfEndlessDegreesIsNormal) {
  const double endless = std::numeric_limits<double>::infinity();
  EXPECT_NEAR(student_t_critical(0.05, endless), 1.959963984540054, 1e-12);
  EXPECT_EQ(student_t_two_sided(0, 3), 1);
  EXPECT_EQ(student_t_two_sided(endless, 3), 0);
}

}  // namespace
}  // namespace idem
