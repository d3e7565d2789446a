#include "host/formats/pickle.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <random>

#include "host/support/files.h"

namespace idem {
namespace {

std::string error_of(std::string_view bytes) {
  try {
    parse_pickle(bytes, "x.jl");
  } catch (const DataError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos)
        << "the message has more than one line: " << error.what();
    return error.what();
  }
  return "no error";
}

// Writes what joblib writes: protocol 4, the bytes of each array after the instruction that describes it.
class JoblibWriter {
 public:
  explicit JoblibWriter(bool aligned = false) : aligned_(aligned) { bytes_ = "\x80\x04}"; }
  static std::string text(const std::string& value) {
    return std::string("\x8c") + static_cast<char>(value.size()) + value;
  }
  static std::string integer(std::int32_t value) { return "J" + std::string(reinterpret_cast<const char*>(&value), 4); }

  JoblibWriter& array(const std::string& key, std::int32_t rows, std::int32_t columns,
                      const std::vector<double>& values, char order = 'C', const std::string& byte_order = "<") {
    bytes_ += text(key) + text("joblib.numpy_pickle") + text("NumpyArrayWrapper") + "\x93)\x81}(";
    bytes_ += text("subclass") + text("numpy") + text("ndarray") + "\x93";
    bytes_ += text("shape") + integer(rows) + integer(columns) + "\x86";
    bytes_ += text("order") + text(std::string(1, order));
    bytes_ += text("dtype") + text("numpy") + text("dtype") + "\x93" + text("f8") + "\x89\x88\x87R(" + integer(3) +
              text(byte_order) + "NNN" + integer(-1) + integer(-1) + integer(0) + "tb";
    bytes_ += text("allow_mmap") + "\x88";
    if (aligned_) bytes_ += text("numpy_array_alignment_bytes") + integer(16);
    bytes_ += "ub";
    if (aligned_) {
      const auto padding = 16 - (bytes_.size() + 1) % 16;
      bytes_ += static_cast<char>(padding);
      bytes_.append(padding, '\xff');
    }
    for (double value : values) {
      std::string word(reinterpret_cast<const char*>(&value), 8);
      if (byte_order == ">") std::reverse(word.begin(), word.end());
      bytes_ += word;
    }
    bytes_ += "s";
    return *this;
  }
  std::string finish() const { return bytes_ + "."; }

 private:
  bool aligned_;
  std::string bytes_;
};

std::string rat_file(bool aligned = false) {
  return JoblibWriter(aligned)
      .array("spikes", 3, 2, {0, 1, 2, 0, 0, 3})
      .array("position", 3, 3, {0.5, 1, 0, 0.6, 1, 0, 0.7, 0, 1})
      .finish();
}

TEST(Pickle, JoblibArraysAreReadWithAndWithoutAlignment) {
  for (bool aligned : {false, true}) {
    const auto arrays = parse_pickle(rat_file(aligned), "x.jl");
    ASSERT_EQ(arrays.size(), 2u);
    EXPECT_EQ(arrays.at("spikes").shape, (std::vector<std::int64_t>{3, 2}));
    EXPECT_EQ(arrays.at("spikes").as<double>(), (std::vector<double>{0, 1, 2, 0, 0, 3}));
    EXPECT_EQ(arrays.at("position").as<double>(), (std::vector<double>{0.5, 1, 0, 0.6, 1, 0, 0.7, 0, 1}));
    EXPECT_EQ(arrays.at("position").where, "x.jl: array position");
  }
}

TEST(Pickle, FortranOrderAndBigEndianArraysAreTurned) {
  const auto bytes =
      JoblibWriter().array("a", 2, 3, {1, 4, 2, 5, 3, 6}, 'F').array("b", 1, 2, {1.5, -2}, 'C', ">").finish();
  const auto arrays = parse_pickle(bytes, "x.jl");
  EXPECT_EQ(arrays.at("a").as<int>(), (std::vector<int>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(arrays.at("b").as<double>(), (std::vector<double>{1.5, -2}));
}

TEST(Pickle, PlainPicklesOfProtocolTwoAndFiveAreRead) {
  // pickle.dumps({'a': np.array([1, 2], dtype=np.int16), 'n': 3, 'l': [1, 2.5], 's': 'x', 'none': None}, protocol=2)
  const std::string protocol2(
      "\x80\x02}(X\x01\x00\x00\x00"
      "acnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
      "c_codecs\nencode\nX\x01\x00\x00\x00"
      "bX\x06\x00\x00\x00latin1"
      "\x86R\x87R(K\x01K\x02\x85"
      "cnumpy\ndtype\nX\x02\x00\x00\x00i2\x89\x88\x87R(K\x03X\x01\x00\x00\x00<"
      "NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
      "c_codecs\nencode\nX\x05\x00\x00\x00\x01\x00\xc3\xbe\x00X\x06\x00\x00\x00latin1\x86Rtb"
      "X\x01\x00\x00\x00nK\x03X\x01\x00\x00\x00l](K\x01G\x40\x04\x00\x00\x00\x00\x00\x00"
      "eX\x01\x00\x00\x00sX\x01\x00\x00\x00xX\x04\x00\x00\x00noneNu.",
      252);
  auto arrays = parse_pickle(protocol2, "x.pkl");
  EXPECT_EQ(arrays.at("a").as<int>(), (std::vector<int>{1, 254}));
  EXPECT_EQ(arrays.at("n").scalar<int>(), 3);
  EXPECT_EQ(arrays.at("l").as<double>(), (std::vector<double>{1, 2.5}));
  EXPECT_EQ(arrays.at("s").text(), "x");
  EXPECT_EQ(arrays.count("none"), 0u);

  // pickle.dumps({'d': {'a': np.array([[1.5], [2.5]], order='F')}, 'x': np.float64(2.5)}, protocol=5), with its frame
  // and memo
  const auto text = &JoblibWriter::text;
  const std::string dtype = text("numpy") + text("dtype") + "\x93" + text("f8") + "\x89\x88\x87R\x94(K\x03" +
                            text("<") + "NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK" + std::string("\x00", 1) + "tb";
  const std::string data("\x00\x00\x00\x00\x00\x00\xf8\x3f\x00\x00\x00\x00\x00\x00\x04\x40", 16);
  const std::string protocol5 = "\x80\x05\x95" + std::string(8, '\x01') + "}(" + text("d") + "}" + text("a") +
                                text("numpy._core.numeric") + text("_frombuffer") + "\x93(\x96\x10" +
                                std::string(7, '\0') + data + dtype + "K\x02K\x01\x86" + text("F") + "tRs" + text("x") +
                                text("numpy._core.multiarray") + text("scalar") + "\x93h" + std::string("\x00", 1) +
                                "C\x08" + data.substr(8) + "\x86Ru.";
  arrays = parse_pickle(protocol5, "x.pkl");
  EXPECT_EQ(arrays.at("d/a").shape, (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(arrays.at("d/a").as<double>(), (std::vector<double>{1.5, 2.5}));
  EXPECT_EQ(arrays.at("x").scalar<double>(), 2.5);
}

TEST(Pickle, AnythingThatCouldExecuteIsRefusedByNameAndByte) {
  // The classics: os.system through GLOBAL and REDUCE, through STACK_GLOBAL, through INST and OBJ, builtins.eval, a
  // state setter.
  EXPECT_NE(error_of("cos\nsystem\n(S'echo pwned'\ntR.").find("names os.system at byte 0"), std::string::npos);
  EXPECT_NE(error_of("\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.").find("names posix.system at byte 17"),
            std::string::npos);
  EXPECT_NE(error_of("(S'id'\nios\nsystem\n.").find("INST"), std::string::npos);
  EXPECT_NE(error_of("(cbuiltins\neval\nS'1'\no.").find("builtins.eval"), std::string::npos);
  EXPECT_NE(error_of("(o.").find("OBJ"), std::string::npos);
  EXPECT_NE(error_of("Pid\n.").find("PERSID"), std::string::npos);
  EXPECT_NE(error_of(std::string("\x80\x02\x82\x01.", 5)).find("EXT1"), std::string::npos);
  EXPECT_NE(error_of("\x80\x04)}\x92.").find("NEWOBJ_EX"), std::string::npos);
  EXPECT_NE(error_of("cnumpy.f2py\nrun_main\n.").find("numpy.f2py.run_main"), std::string::npos);
  EXPECT_NE(error_of("cpandas.core.frame\nDataFrame\n)\x81.").find("pandas.core.frame.DataFrame"), std::string::npos);
  EXPECT_NE(error_of("]}b.").find("sets the state of a list"), std::string::npos);
  EXPECT_NE(error_of("K\x01)R.").find("calls an integer"), std::string::npos);
  EXPECT_NE(error_of("cnumpy\nndarray\n)R.").find("bare ndarray"), std::string::npos);
  EXPECT_NE(error_of("c\x01\x02\xff\nx\n.").find("names ??"), std::string::npos);
}

TEST(Pickle, ATruncatedFileIsRefusedAtEveryLength) {
  for (bool aligned : {false, true}) {
    const std::string whole = rat_file(aligned);
    ASSERT_NO_THROW(parse_pickle(whole, "x.jl"));
    for (std::size_t length = 0; length < whole.size(); ++length)
      EXPECT_NE(error_of(whole.substr(0, length)), "no error") << length;
  }
}

TEST(Pickle, RandomAndChangedBytesNeverDoMoreThanRaiseADataError) {
  std::mt19937 generator(1);
  const std::string whole = rat_file();
  int n_refused = 0;
  for (int trial = 0; trial < 6000; ++trial) {
    std::string bytes;
    if (trial % 2) {
      bytes = whole;
      for (int change = 0; change < 1 + trial % 5; ++change)
        bytes[generator() % bytes.size()] = static_cast<char>(generator());
    } else {
      // Mostly instructions that are known, so that the stream gets somewhere.
      static const std::string known = "(012NIJKMG]ae)t}dsuqhRb\x85\x86\x87\x88\x89\x8c\x93\x94\x81.";
      bytes.resize(1 + generator() % 60);
      for (char& byte : bytes)
        byte = generator() % 8 ? known[generator() % known.size()] : static_cast<char>(generator() % 3);
    }
    n_refused += error_of(bytes) != "no error";
  }
  EXPECT_GT(n_refused, 3000);
}

TEST(Pickle, LoopsDeepNestingAndMultipliedDataAreHarmless) {
  EXPECT_NO_THROW(parse_pickle("]\x94h" + std::string("\x00", 1) + "a.", "x"));  // a list that holds itself
  EXPECT_NO_THROW(
      parse_pickle("}\x94\x8c\x01kh" + std::string("\x00", 1) + "s.", "x"));  // a dictionary that holds itself
  EXPECT_NO_THROW(parse_pickle(std::string(300000, ']') + std::string(299999, 'a') + ".", "x"));  // lists in lists
  std::string wide = "]\x94(";
  for (int i = 0; i < 3000; ++i) wide += "K\x01";
  wide += "e](";
  for (int i = 0; i < 100000; ++i) wide += "h" + std::string("\x00", 1);
  EXPECT_NE(error_of(wide + "e.").find("unfolds to far more data"), std::string::npos);  // 3e8 numbers out of 200 kB
  std::string selves = "}\x94(";
  for (int i = 0; i < 200; ++i) selves += JoblibWriter::text(std::to_string(i)) + "h" + std::string("\x00", 1);
  EXPECT_NE(error_of(selves + "u.").find("unfolds to far more data"), std::string::npos);  // 200^8 keys
  EXPECT_NE(error_of("\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.").find("ends in the middle"), std::string::npos);
}

// "h" and its key: what the memo holds there.
std::string recalled(int key) { return std::string("h") + static_cast<char>(key); }
std::string repeated(const std::string& what, int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += what;
  return text;
}
std::string long_text(std::uint32_t size) {
  return "X" + std::string(reinterpret_cast<const char*>(&size), 4) + std::string(size, 'x');
}

TEST(Pickle, WhatIsMadeIsCountedWhateverMakesIt) {
  constexpr int n = 20000;
  const std::string encode = "c_codecs\nencode\n\x94" + JoblibWriter::text("latin1") + "\x94",
                    long_one = long_text(100000) + "\x94";
  const std::string dtype =
      JoblibWriter::text("numpy") + JoblibWriter::text("dtype") + "\x93" + JoblibWriter::text("u1") + "\x85R\x94";
  std::string keys = "}(" + long_one + "}(";
  for (int i = 0; i < n; ++i) keys += JoblibWriter::text(std::to_string(i)) + "K\x01";
  const std::vector<std::pair<std::string, std::string>> bombs = {
      {"a list whose first text is short, its others one long text",
       "](" + JoblibWriter::text("a") + long_one + repeated(recalled(0), n) + "e."},
      {"short texts, each padded to the one long text", "](" + long_one + repeated(JoblibWriter::text("a"), n) + "e."},
      {"a tuple of long texts", "(" + long_one + repeated(recalled(0), n) + "t."},
      {"a dictionary of long texts", "}(" +
                                         [&] {
                                           std::string items = JoblibWriter::text("a") + long_one;
                                           for (int i = 0; i < n; ++i)
                                             items += JoblibWriter::text(std::to_string(i)) + recalled(0);
                                           return items;
                                         }() +
                                         "u."},
      {"one long text encoded again and again",
       "](" + encode + long_one + repeated(recalled(0) + recalled(2) + recalled(1) + "\x86R", n) + "e."},
      {"an array out of the same bytes again and again",
       "](" + dtype + "B" + long_text(100000).substr(1) +
           "\x94"
           "cnumpy._core.numeric\n_frombuffer\n\x94" +
           repeated(recalled(2) + "(" + recalled(1) + recalled(0) + JoblibWriter::integer(100000) + "\x85" +
                        JoblibWriter::text("C") + "tR",
                    n) +
           "e."},
      {"long keys above many arrays", keys + "uu."},
      {"rows that are one long row, after a short one",
       "](](K\x01e](" + repeated("K\x01", 3000) + "e\x94" + repeated(recalled(0), 100000) + "e."}};
  for (const auto& [what, stream] : bombs) {
    SCOPED_TRACE(what);
    EXPECT_NE(error_of(stream).find("unfolds to far more data"), std::string::npos) << error_of(stream);
  }
  const std::string honest = "](" + repeated(JoblibWriter::text("left") + JoblibWriter::text("right"), n) + "e.";
  EXPECT_EQ(parse_pickle(honest, "x").at("").shape, (std::vector<std::int64_t>{2 * n}));
  EXPECT_NO_THROW(parse_pickle("](" + repeated("K\x01", n) + "e.", "x"));
}

TEST(Pickle, CompressedFilesAreUnpackedAndDamageIsNoticed) {
  const std::string whole = rat_file();
  for (int window_bits : {15, 15 + 16}) {  // zlib and gzip headers
    z_stream stream{};
    ASSERT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    std::string packed(4096, '\0');
    std::string input = whole;
    stream.next_in = reinterpret_cast<Bytef*>(input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    ASSERT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
    packed.resize(stream.total_out);
    deflateEnd(&stream);
    EXPECT_EQ(unpack_if_compressed(packed, "x.jl"), whole);
    for (std::size_t length = 2; length < packed.size(); ++length)
      EXPECT_THROW(unpack_if_compressed(packed.substr(0, length), "x.jl"), DataError) << length;
  }
  EXPECT_EQ(unpack_if_compressed(whole, "x.jl"), whole);
  EXPECT_THROW(unpack_if_compressed("BZh91AY", "x.jl"), DataError);
}

TEST(Pickle, TheRecordingPackagedForCebraIsRead) {
  const std::filesystem::path path = std::filesystem::path(IDEM_SHARED_DIR) / "data/rat_hippocampus/buddy.jl";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no shared recording here";
  const auto arrays = parse_pickle(read_file_bytes(path), "buddy.jl");
  EXPECT_EQ(arrays.at("spikes").shape, (std::vector<std::int64_t>{6577, 48}));
  EXPECT_EQ(arrays.at("position").shape, (std::vector<std::int64_t>{6577, 3}));
  double n_spikes = 0;
  for (const double count : arrays.at("spikes").as<double>()) n_spikes += count;
  EXPECT_EQ(n_spikes, 7269.0);
}

}  // namespace
}  // namespace idem
