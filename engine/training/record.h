// record.h - what training in epochs tells of itself.
#pragma once

#include <cstdint>

namespace idem {

// Loss: the family's parts, of which `loss` is minimised; means over rows.
template <class Loss>
struct EpochRecordOf {
  std::int32_t epoch = 0;  // from 1
  double learning_rate = 0;
  Loss train, valid;  // train: during the epoch, while weights move; valid: after it, with draws that are the same in
                      // every epoch
  bool is_best = false;  // lowest validation loss so far, of several recordings their sum (training loss where not all
                         // have validation rows)
  bool is_running = true;  // trained in this epoch; false after early stopping has ended the member
};

// Losses are those of the validation rows (of the training rows where there are no validation rows).
struct MemberResult {
  std::int32_t best_epoch = 0, epochs = 0;  // best_epoch 0: no epoch's loss was finite
  double best_valid_loss = 0;               // after best_epoch; infinite where there is none
  double kept_valid_loss =
      0;  // under the kept weights: the best epoch's, or the last one's where the plan keeps the last weights
  double initial_valid_loss = 0;  // under the weights before the first step; NaN where there are no validation rows
  std::uint32_t nonfinite_steps = 0;
  bool finished = false;  // all epochs done or stopped early; false when the callback ended the training
  bool failed = false;    // the kept weights have no finite loss: they, and all that is made of them, mean nothing
};

}  // namespace idem
