// student_t.h - Student's t distribution.
#pragma once

namespace idem {

// P(|T| >= |t|) of `degrees` > 0 degrees of freedom, which need not be whole; infinity: the normal distribution.
double student_t_two_sided(double t, double degrees);

// The value that |T| exceeds with probability `p`, 0 < p < 1. To 1e-12 of itself.
double student_t_critical(double p, double degrees);

}  // namespace idem
