#include "host/families/model_config.h"

#include <fmt/format.h>

namespace idem {

std::string ModelConfig::objective() const {
  if (gcl) return "generalized contrastive learning";
  if (!cebra) return to_string(design.objective) + (is_joint ? ", one label prior for all animals" : "");
  using Positive = ContrastivePositive;
  const char* positives = cebra->plan.positive == Positive::time         ? "time"
                          : cebra->plan.positive == Positive::delta      ? "delta"
                          : cebra->plan.positive == Positive::same_class ? "discrete"
                          : cebra->by_class                              ? "mixed"
                                                                         : "time-delta";
  return fmt::format("InfoNCE ({}), positives by {}{}{}", cebra->design.similarity == Similarity::cosine ? "cosine" : "Euclidean", positives,
                     cebra->design.n_behaviour_features > 0 ? " and time" : "",
                     is_joint                       ? ", one space for all animals"
                     : !cebra->adapt_from.empty()   ? ", first layer alone (adapted)"
                     : cebra->fits_session          ? ", every bin of the session"
                                                    : "");
}

}  // namespace idem
