#include "host/study/decoded_file.h"

#include <gtest/gtest.h>

#include "host/support/errors.h"
#include "tests/support/error_message.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

TEST(DecodedFile, GivesBackWhatWasReadForTheTestBinsOfThatSplitAlone) {
  const TemporaryFolder folder;
  const auto file = folder.path() / kDecodedFile;
  Recording recording;
  recording.labels = {{.name = "position"}, {.name = "direction"}};
  const Split split{.test = {3, 4, 9}};
  EXPECT_TRUE(read_decoded(file, recording, split).empty());
  const TestReadings readings = {{"euclidean", {0.5, 0, 1.5, 1, 2.5, 0}}, {"marginal", {1, 1, 1, 1, 1, 1}}};
  write_decoded(file, recording, split, readings);
  EXPECT_EQ(read_decoded(file, recording, split), readings);
  EXPECT_MESSAGE(DataError, read_decoded(file, recording, {.test = {3, 4, 8}}),
                 "decoded.npz: is of other test bins than this run's; remove its folder and --resume");
}

}  // namespace
}  // namespace idem
