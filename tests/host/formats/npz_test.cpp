#include "host/formats/npz.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "host/support/files.h"
#include "host/support/memory_budget.h"
#include "host/formats/zip_directory.h"
#include "kernels/common/to_size.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const DataError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos)
        << "the message has more than one line: " << error.what();
    return error.what();
  }
  return "no error";
}

// An .npy file as numpy lays it out, from a header and raw bytes.
std::string npy_file(const std::string& header, const std::string& data) {
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 0xFF);
  bytes += static_cast<char>(header.size() >> 8);
  return bytes + header + data;
}

TEST(Npz, ArraysOfEveryTypeComeBackAsTheyWereWritten) {
  TemporaryFolder folder;
  const std::vector<double> doubles = {0.5, -1.25, std::nan(""), 1e300, -INFINITY, 6};
  std::map<std::string, NumpyArray> arrays;
  arrays["f8"] = NumpyArray::of({2, 3}, doubles);
  arrays["f4"] = NumpyArray::of({6}, std::vector<float>{0.5f, 1, 2, 3, 4, 5});
  arrays["i1"] = NumpyArray::of({2}, std::vector<std::int8_t>{-128, 127});
  arrays["u2"] = NumpyArray::of({1, 2}, std::vector<std::uint16_t>{0, 65535});
  arrays["i8"] = NumpyArray::of({2}, std::vector<std::int64_t>{INT64_MIN, INT64_MAX});
  arrays["u8"] = NumpyArray::of({1}, std::vector<std::uint64_t>{UINT64_MAX});
  arrays["b1"] = NumpyArray::of({3}, std::vector<bool>{true, false, true});
  arrays["scalar"] = NumpyArray::of_scalar(2.5);
  arrays["empty"] = NumpyArray::of({0, 4}, std::vector<float>{});
  arrays["text"] = NumpyArray::of_text("place \xC3\xA9 \xE2\x82\xAC");
  arrays["texts"] = NumpyArray::of_texts({"right", "left", ""});
  write_npz(folder / "a.npz", arrays);
  const auto back = read_npz(folder / "a.npz");
  ASSERT_EQ(back.size(), arrays.size());
  for (const auto& [name, array] : arrays) {
    EXPECT_EQ(back.at(name).shape, array.shape) << name;
    EXPECT_EQ(back.at(name).bytes, array.bytes) << name;
    EXPECT_EQ(back.at(name).type.kind, array.type.kind) << name;
  }
  EXPECT_EQ(back.at("scalar").scalar<float>(), 2.5f);
  EXPECT_EQ(back.at("text").text(), "place \xC3\xA9 \xE2\x82\xAC");
  EXPECT_EQ(back.at("texts").texts(), (std::vector<std::string>{"right", "left", ""}));
  EXPECT_EQ(back.at("b1").as<int>(), (std::vector<int>{1, 0, 1}));
}

TEST(Npz, TheSameArraysGiveTheSameBytes) {
  TemporaryFolder folder;
  const std::map<std::string, NumpyArray> arrays = {{"b", NumpyArray::of({2}, std::vector<int>{1, 2})},
                                                    {"a", NumpyArray::of_text("x")}};
  write_npz(folder / "1.npz", arrays);
  write_npz(folder / "2.npz", arrays);
  EXPECT_EQ(read_file_bytes(folder / "1.npz"), read_file_bytes(folder / "2.npz"));
}

TEST(Npz, FortranOrderIsTurnedIntoCOrder) {
  // numpy.asfortranarray([[[0,1],[2,3],[4,5]],[[6,7],[8,9],[10,11]]], dtype int8)
  const std::string data = {0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11};
  const auto array = parse_npy(npy_file("{'descr': '|i1', 'fortran_order': True, 'shape': (2, 3, 2), }\n", data), "a");
  EXPECT_EQ(array.as<int>(), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
}

TEST(Npz, BigEndianNumbersAreConverted) {
  const auto array = parse_npy(
      npy_file("{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }\n", std::string("\x01\x02\xFF\xFE", 4)), "a");
  EXPECT_EQ(array.as<int>(), (std::vector<int>{258, -2}));
}

TEST(Npz, IntegersAreTakenOnlyWhereExact) {
  EXPECT_EQ(NumpyArray::of({2}, std::vector<double>{3, -4}).as<std::int32_t>(), (std::vector<std::int32_t>{3, -4}));
  for (const double value : {0.5, 2147483648.0, -2147483649.0, static_cast<double>(NAN), static_cast<double>(INFINITY)})
    EXPECT_THROW(NumpyArray::of_scalar(value).as<std::int32_t>(), DataError) << value;
  EXPECT_EQ(NumpyArray::of_scalar(2147483647.0).scalar<std::int32_t>(), 2147483647);
  EXPECT_EQ(NumpyArray::of_scalar(-2147483648.0).scalar<std::int32_t>(), INT32_MIN);
  EXPECT_THROW(NumpyArray::of_scalar(9223372036854775808.0).as<std::int64_t>(), DataError);
  EXPECT_THROW(NumpyArray::of_scalar(std::int64_t{-1}).as<std::uint8_t>(), DataError);
  EXPECT_THROW(NumpyArray::of_text("1").as<int>(), DataError);
  EXPECT_THROW(NumpyArray::of_scalar(1).text(), DataError);
}

TEST(Npz, ForeignOrImpossibleArraysAreRefusedWithAReason) {
  const auto refused = [](const std::string& header, const std::string& data) {
    return error_of([&] { parse_npy(npy_file(header, data), "x.npy"); });
  };
  EXPECT_NE(refused("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "pickle").find("Python objects"),
            std::string::npos);
  EXPECT_NE(
      refused("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }", "12345678").find("structured"),
      std::string::npos);
  EXPECT_NE(refused("{'descr': '<c16', 'fortran_order': False, 'shape': (1,), }", "").find("'<c16'"),
            std::string::npos);
  EXPECT_NE(refused("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", "12345678")
                .find("holds 8 bytes where its shape [2] needs 16"),
            std::string::npos);
  EXPECT_NE(refused("{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", "")
                .find("impossible shape"),
            std::string::npos);
  EXPECT_NE(
      refused("{'descr': '<U6493360897893160264', 'fortran_order': False, 'shape': (1,), }", "").find("is not read"),
      std::string::npos);
  EXPECT_NE(refused("{'descr': '<U0', 'fortran_order': False, 'shape': (4611686018427387904,), }", "")
                .find("impossible shape"),
            std::string::npos);
  EXPECT_NE(refused("{'descr': '<f8', 'shape': (1,), }", "12345678").find("header is damaged"), std::string::npos);
  EXPECT_NE(error_of([] { parse_npy("GIF89a", "x.npy"); }).find("is not an .npy array"), std::string::npos);
  EXPECT_NE(error_of([] { read_npz("/nonexistent/x.npz"); }).find("no such file"), std::string::npos);
}

TEST(Npz, ATruncatedFileIsRefusedAtEveryLength) {
  TemporaryFolder folder;
  const auto array = NumpyArray::of({3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const std::string npy = npy_bytes(array);
  for (std::size_t length = 0; length < npy.size(); ++length)
    EXPECT_THROW(parse_npy(npy.substr(0, length), "x.npy"), DataError) << length;
  write_npz(folder / "whole.npz", {{"a", array}, {"b", NumpyArray::of_text("hello")}});
  const std::string npz = read_file_bytes(folder / "whole.npz");
  for (std::size_t length = 0; length < npz.size(); ++length) {
    write_file_bytes(folder / "cut.npz", npz.substr(0, length));
    EXPECT_THROW(read_npz(folder / "cut.npz"), DataError) << length;
  }
}

TEST(Npz, ChangedBytesGiveTheSameArraysOrADataError) {
  TemporaryFolder folder;
  std::vector<float> values(200);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 7);
  write_npz(folder / "whole.npz", {{"a", NumpyArray::of({200}, values)}});
  const std::string npz = read_file_bytes(folder / "whole.npz");
  std::mt19937 generator(1);
  int n_refused = 0;
  for (int trial = 0; trial < 400; ++trial) {
    std::string changed = npz;
    for (int change = 0; change < 1 + trial % 3; ++change)
      changed[generator() % changed.size()] = static_cast<char>(generator());
    write_file_bytes(folder / "changed.npz", changed);
    try {
      for (const auto& [name, array] : read_npz(folder / "changed.npz")) EXPECT_EQ(array.as<float>(), values) << name;
    } catch (const DataError&) {
      ++n_refused;
    }
  }
  EXPECT_GT(n_refused, 200);
}

TEST(Npz, EntriesThatShareBytesAreRefused) {
  TemporaryFolder folder;
  std::vector<std::int32_t> values(3000);
  std::iota(values.begin(), values.end(), 0);
  const auto array = NumpyArray::of({3000}, values);
  write_npz(folder / "whole.npz", {{"a", array}, {"b", array}, {"c", array}});
  const std::string whole = read_file_bytes(folder / "whole.npz");
  EXPECT_TRUE(entries_are_apart(zip_directory(whole), whole.size()));
  const auto entries = zip_directory(whole);
  ASSERT_EQ(entries.size(), 3u);
  const auto of_second = whole.find("PK\x01\x02", whole.find("PK\x01\x02") + 1) + 42;
  for (const std::uint64_t to :
       {entries[0].offset, entries[2].offset, entries[0].offset + 31, entries[2].offset - 40}) {
    std::string shared = whole;
    const auto offset = static_cast<std::uint32_t>(to);
    std::memcpy(shared.data() + of_second, &offset, 4);
    EXPECT_NE(error_of([&] { parse_npz(shared, "x.npz"); }).find("share their bytes"), std::string::npos) << to;
  }
  const std::filesystem::path path = std::filesystem::path(IDEM_SHARED_DIR) / "cases" / "hostile" / "npz_overlap_5.npz";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not on this machine";
  EXPECT_NE(error_of([&] { read_npz(path); }).find("share their bytes"), std::string::npos);
}

TEST(Npz, ZeroesAreReadHoweverSmallTheyArePacked) {
  TemporaryFolder folder;
  constexpr std::int64_t n = 8 << 20;
  write_npz(folder / "zeros.npz", {{"a", NumpyArray::of({n}, std::vector<std::int8_t>(n))}});
  EXPECT_LT(std::filesystem::file_size(folder / "zeros.npz"), 10000u);
  EXPECT_EQ(read_npz(folder / "zeros.npz").at("a").as<double>().size(), to_size(n));
}

TEST(MemoryBudget, GrowsWithTheFileUpToEightGibibytesOfASmallOne) {
  constexpr std::size_t gib = std::size_t{1} << 30, mib = std::size_t{1} << 20,
                        largest = std::numeric_limits<std::size_t>::max();
  const auto allows = [](MemoryBudget budget, std::size_t bytes) {
    return error_of([&] { budget.spend(bytes, "x.npz"); }) == "no error";
  };
  EXPECT_TRUE(allows({100, 1000, 100}, mib + 100000));
  EXPECT_FALSE(allows({100, 1000, 100}, mib + 100001));
  EXPECT_TRUE(allows({500 * mib, 1000, 10 * mib}, 8 * gib));
  EXPECT_FALSE(allows({500 * mib, 1000, 10 * mib}, 8 * gib + 1));
  EXPECT_TRUE(allows({4 * gib, 1000, 4 * gib}, 32 * gib));
  EXPECT_FALSE(allows({largest, largest, 1}, 8 * gib + 1));
  MemoryBudget budget(0, 1, 0);
  budget.spend(mib / 2, "x.npz");
  EXPECT_NO_THROW(budget.spend(mib / 2, "x.npz"));
  EXPECT_NE(error_of([&] { budget.spend(1, "x.npz"); }).find("x.npz: unfolds to far more data"), std::string::npos);
  EXPECT_NE(error_of([&] { budget.spend(largest, 2, "x.npz"); }).find("unfolds"), std::string::npos);
}

TEST(Npz, GoldenCasesWrittenByNumpyAreRead) {
  const std::filesystem::path path = std::filesystem::path(IDEM_SHARED_DIR) / "golden" / "civae_objective.npz";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no shared golden cases here";
  const auto arrays = read_npz(path);
  EXPECT_EQ(arrays.at("meta").text().front(), '{');
  EXPECT_EQ(arrays.at("eps").shape, (std::vector<std::int64_t>{32, 2, 50}));
  EXPECT_TRUE(std::isfinite(arrays.at("loss").scalar<double>()));
  EXPECT_EQ(arrays.at("argmin").as<std::int32_t>().size(), 32u);
}

}  // namespace
}  // namespace idem
