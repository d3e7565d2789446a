// holm.h - several tests at once: Holm's step-down procedure (1979), which bounds the probability of any false verdict.
#pragma once

#include <span>
#include <vector>

namespace idem {

// p values such that a test holds at level a among all of them where its own is at most a. In their order; each at most
// 1 and no test below one whose p was smaller.
std::vector<double> holm_adjusted(std::span<const double> p);

}  // namespace idem
