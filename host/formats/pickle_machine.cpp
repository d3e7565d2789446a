#include "host/formats/pickle_machine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <unordered_map>
#include <utility>
#include <vector>

#include "host/formats/pickle_refused.h"
#include "host/support/one_line.h"
#include "kernels/common/to_size.h"

namespace idem::pickle {

namespace {

class Machine {
 public:
  Machine(std::string_view bytes, const std::string& where, MemoryBudget& budget)
      : bytes_(bytes), where_(where), budget_(budget) {}

  Values run() {
    for (;;) {
      opcode_at_ = at_;
      const auto opcode = static_cast<unsigned char>(take(1)[0]);
      if (opcode == '.') {
        const Node* result = pop();
        if (result->kind == Kind::wrapper || result->kind == Kind::unfilled_array)
          fail("ends with an array whose bytes are missing");
        return {std::move(nodes_), result};
      }
      step(opcode);
    }
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(fmt::format("{}: {} (byte {}); the file is truncated or damaged, copy or save it again", where_,
                                what, opcode_at_));
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw DataError(
        fmt::format("{}: {} at byte {}, and only numbers, text, lists, dictionaries and NumPy arrays are read (nothing "
                    "in a file is "
                    "ever executed); save plain arrays, as with numpy.savez",
                    where_, what, opcode_at_));
  }

  // ---- the stream ----
  std::string_view take(std::uint64_t length) {
    if (length > bytes_.size() - at_) fail("ends in the middle of the stream");
    const auto taken = bytes_.substr(at_, to_size(length));
    at_ += to_size(length);
    return taken;
  }
  template <class T>
  T take_integer() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string_view take_line() {
    const auto end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) fail("ends in the middle of the stream");
    const auto line = bytes_.substr(at_, end - at_);
    at_ = end + 1;
    return line;
  }
  template <class T>
  T parse(std::string_view text) const {
    T value{};
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    if (result.ec != std::errc() || result.ptr != text.data() + text.size()) fail("has a number that is none");
    return value;
  }

  // ---- the stack; all nodes live in nodes_, so loops in the data and deep nesting are harmless ----
  Node* make(Kind kind) {
    budget_.spend(sizeof(Node), where_);
    nodes_.emplace_back();
    nodes_.back().kind = kind;
    return &nodes_.back();
  }
  Node* push(Node* node) {
    stack_.push_back(node);
    return node;
  }
  Node* push(Kind kind) { return push(make(kind)); }
  void push_integer(std::int64_t value) { push(Kind::integer)->integer = value; }
  // Every copy of bytes that the stream may ask for again and again.
  std::string copied(std::string_view bytes) {
    budget_.spend(bytes.size(), where_);
    return std::string(bytes);
  }
  void push_string(Kind kind, std::string_view value) { push(kind)->text = copied(value); }
  std::size_t base() const { return marks_.empty() ? 0 : marks_.back(); }
  Node* top() const {
    if (stack_.size() <= base()) fail("uses a value that is not there");
    return stack_.back();
  }
  Node* pop() {
    Node* node = top();
    stack_.pop_back();
    return node;
  }
  std::vector<Node*> pop_to_mark() {
    if (marks_.empty()) fail("uses a mark that is not there");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Node*> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  void store(std::uint64_t key) {
    constexpr std::size_t entry_bytes = 64;  // of the table, about
    budget_.spend(entry_bytes, where_);
    memo_[key] = top();
  }
  Node* recall(std::uint64_t key) const {
    const auto found = memo_.find(key);
    if (found == memo_.end()) fail("recalls a value that was never stored");
    return found->second;
  }
  void append(Node* list, const std::vector<Node*>& items) const {
    if (list->kind != Kind::list) fail(fmt::format("appends to {}", name_of(list->kind)));
    list->items.insert(list->items.end(), items.begin(), items.end());
  }
  void set_items(Node* dict, const std::vector<Node*>& items) const {
    if (dict->kind != Kind::dict) fail(fmt::format("sets keys of {}", name_of(dict->kind)));
    if (items.size() % 2 != 0) fail("has a key without a value");
    dict->items.insert(dict->items.end(), items.begin(), items.end());
  }
  void push_tuple(std::size_t size) {
    std::vector<Node*> items(size);
    for (std::size_t i = size; i-- > 0;) items[i] = pop();
    push(Kind::tuple)->items = std::move(items);
  }

  void step(unsigned char opcode) {
    switch (opcode) {
      case 0x80:  // PROTO
        if (take_integer<std::uint8_t>() > 5) refuse("uses a pickle protocol newer than 5");
        break;
      case 0x95: take(8); break;  // FRAME: its length is of no use to a reader that has the whole file
      case '(': marks_.push_back(stack_.size()); break;  // MARK
      case '0':                                          // POP, of a value or of the mark itself
        if (!marks_.empty() && marks_.back() == stack_.size())
          marks_.pop_back();
        else
          pop();
        break;
      case '1': pop_to_mark(); break;  // POP_MARK
      case '2': push(top()); break;    // DUP
      case 'N': push(Kind::none); break;
      case 0x88: push(Kind::boolean)->integer = 1; break;
      case 0x89: push(Kind::boolean)->integer = 0; break;
      case 'I': {  // INT, and the booleans of protocol 1
        const auto line = take_line();
        if (line == "01" || line == "00")
          push(Kind::boolean)->integer = line == "01";
        else
          push_integer(parse<std::int64_t>(line));
        break;
      }
      case 'L': {
        auto line = take_line();
        if (line.ends_with('L')) line.remove_suffix(1);
        push_integer(parse<std::int64_t>(line));
        break;
      }
      case 'J': push_integer(take_integer<std::int32_t>()); break;
      case 'K': push_integer(take_integer<std::uint8_t>()); break;
      case 'M': push_integer(take_integer<std::uint16_t>()); break;
      case 0x8a: push_long(take_integer<std::uint8_t>()); break;
      case 0x8b: push_long(take_integer<std::uint32_t>()); break;
      case 'F': push(Kind::real)->real = parse<double>(take_line()); break;
      case 'G': {  // BINFLOAT is big endian
        auto digits = std::string(take(8));
        std::reverse(digits.begin(), digits.end());
        std::memcpy(&push(Kind::real)->real, digits.data(), 8);
        break;
      }
      case 'S': push_string(Kind::bytes, quoted(take_line())); break;
      case 'T': push_string(Kind::bytes, take(take_integer<std::uint32_t>())); break;
      case 'U': push_string(Kind::bytes, take(take_integer<std::uint8_t>())); break;
      case 'V': push_string(Kind::text, unescaped(take_line())); break;
      case 'X': push_string(Kind::text, take(take_integer<std::uint32_t>())); break;
      case 0x8c: push_string(Kind::text, take(take_integer<std::uint8_t>())); break;
      case 0x8d: push_string(Kind::text, take(take_integer<std::uint64_t>())); break;
      case 'B': push_string(Kind::bytes, take(take_integer<std::uint32_t>())); break;
      case 'C': push_string(Kind::bytes, take(take_integer<std::uint8_t>())); break;
      case 0x8e:                                                                        // BINBYTES8
      case 0x96: push_string(Kind::bytes, take(take_integer<std::uint64_t>())); break;  // BYTEARRAY8
      case ']': push(Kind::list); break;
      case 'l': {
        auto items = pop_to_mark();
        push(Kind::list)->items = std::move(items);
        break;
      }
      case 'a': {
        Node* item = pop();
        append(top(), {item});
        break;
      }
      case 'e': {
        const auto items = pop_to_mark();
        append(top(), items);
        break;
      }
      case ')': push(Kind::tuple); break;
      case 't': {
        auto items = pop_to_mark();
        push(Kind::tuple)->items = std::move(items);
        break;
      }
      case 0x85: push_tuple(1); break;
      case 0x86: push_tuple(2); break;
      case 0x87: push_tuple(3); break;
      case '}': push(Kind::dict); break;
      case 'd': {
        const auto items = pop_to_mark();
        set_items(push(Kind::dict), items);
        break;
      }
      case 's': {
        Node* value = pop();
        Node* key = pop();
        set_items(top(), {key, value});
        break;
      }
      case 'u': {
        const auto items = pop_to_mark();
        set_items(top(), items);
        break;
      }
      case 'p': store(parse<std::uint64_t>(take_line())); break;
      case 'q': store(take_integer<std::uint8_t>()); break;
      case 'r': store(take_integer<std::uint32_t>()); break;
      case 0x94: store(memo_.size()); break;
      case 'g': push(recall(parse<std::uint64_t>(take_line()))); break;
      case 'h': push(recall(take_integer<std::uint8_t>())); break;
      case 'j': push(recall(take_integer<std::uint32_t>())); break;
      case 'c': {  // GLOBAL
        const auto module = take_line();
        push_callable(module, take_line());
        break;
      }
      case 0x93: {  // STACK_GLOBAL
        const Node* name = pop();
        const Node* module = pop();
        if (name->kind != Kind::text || module->kind != Kind::text) fail("names a class by something that is not text");
        push_callable(module->text, name->text);
        break;
      }
      case 'R':     // REDUCE
      case 0x81: {  // NEWOBJ
        const Node* arguments = pop();
        const Node* callable = pop();
        if (callable->kind != Kind::callable) refuse(fmt::format("calls {}", name_of(callable->kind)));
        if (arguments->kind != Kind::tuple) fail("calls a function without a tuple of arguments");
        push(call(callable->callable, arguments->items));
        break;
      }
      case 'b': {  // BUILD
        const Node* state = pop();
        build(top(), state);
        break;
      }
      default: refuse(fmt::format("has the instruction {} (0x{:02x})", name_of_refused(opcode), opcode));
    }
  }

  void push_long(std::uint64_t length) {
    const auto digits = take(length);
    if (length > 8) refuse("has a whole number of more than 64 bits");
    std::int64_t value = !digits.empty() && (digits.back() & 0x80) ? -1 : 0;
    std::memcpy(&value, digits.data(), digits.size());
    push_integer(value);
  }

  std::string quoted(std::string_view line) const {
    if (line.size() < 2 || line.front() != line.back() || (line.front() != '\'' && line.front() != '"'))
      fail("has a text without quotes");
    return std::string(unescaped(line.substr(1, line.size() - 2)));
  }
  std::string_view unescaped(std::string_view line) const {
    if (line.find('\\') != std::string_view::npos) refuse("has an escaped text of protocol 0");
    return line;
  }

  void push_callable(std::string_view module, std::string_view name) {
    const auto callable = allowed_callable(module, name);
    if (!callable) refuse(fmt::format("names {}.{}", one_line(module), one_line(name)));
    push(Kind::callable)->callable = *callable;
  }

  // ---- the allowed calls ----
  const Node* argument(const std::vector<Node*>& arguments, std::size_t index, Kind kind) const {
    if (index >= arguments.size() || arguments[index]->kind != kind)
      fail(fmt::format("calls a function with a wrong argument {}", index));
    return arguments[index];
  }

  std::vector<std::int64_t> shape_of(const Node* node) const {
    std::vector<std::int64_t> shape;
    if (node->kind == Kind::integer) return {node->integer};
    if (node->kind != Kind::tuple) fail("has an array without a shape");
    for (const Node* extent : node->items) {
      if (extent->kind != Kind::integer) fail("has an array without a shape");
      shape.push_back(extent->integer);
    }
    if (shape.size() > 32) fail("has an array of more than 32 axes");
    return shape;
  }

  Node* make_array(std::vector<std::int64_t> shape, const Node* dtype, bool fortran_order, std::string_view data) {
    Node* node = make(Kind::array);
    budget_.spend(data.size(), where_);
    node->array = std::make_unique<NumpyArray>(
        make_numpy_array(std::move(shape), parse_numpy_type(dtype->text, where_), fortran_order, data, where_));
    return node;
  }

  Node* call(Callable callable, const std::vector<Node*>& arguments) {
    switch (callable) {
      case Callable::dtype: {
        if (arguments.empty() || (arguments[0]->kind != Kind::text && arguments[0]->kind != Kind::bytes))
          refuse("has a structured element type");
        Node* node = make(Kind::dtype);
        node->text = copied(arguments[0]->text);
        return node;
      }
      case Callable::ndarray: refuse("makes a bare ndarray");
      case Callable::reconstruct:
        if (arguments.empty() || arguments[0]->kind != Kind::callable || arguments[0]->callable != Callable::ndarray)
          refuse("has a subclass of ndarray");
        return make(Kind::unfilled_array);
      case Callable::scalar: {
        const Node* dtype = argument(arguments, 0, Kind::dtype);
        return make_array({}, dtype, false, argument(arguments, 1, Kind::bytes)->text);
      }
      case Callable::frombuffer: {
        const Node* data = argument(arguments, 0, Kind::bytes);
        const Node* dtype = argument(arguments, 1, Kind::dtype);
        const Node* order = argument(arguments, 3, Kind::text);
        return make_array(shape_of(arguments[2]), dtype, order->text == "F", data->text);
      }
      case Callable::encode: {
        if (arguments.size() > 1 && argument(arguments, 1, Kind::text)->text != "latin1")
          refuse("encodes text otherwise than as latin1");
        Node* node = make(Kind::bytes);
        node->text = latin1(argument(arguments, 0, Kind::text)->text);
        return node;
      }
      case Callable::bytes:
        if (!arguments.empty()) refuse("converts to bytes");
        return make(Kind::bytes);
      case Callable::ordered_dict: {
        if (!arguments.empty()) refuse("makes an OrderedDict from a list");
        return make(Kind::dict);
      }
      case Callable::joblib_wrapper:
        if (!arguments.empty()) fail("makes a joblib array with arguments");
        return make(Kind::wrapper);
    }
    refuse("calls an unknown function");
  }

  // Protocol 2 writes bytes as text whose characters are the bytes.
  std::string latin1(std::string_view utf8) {
    budget_.spend(utf8.size(), where_);
    std::string decoded;
    decoded.reserve(utf8.size());
    for (std::size_t at = 0; at < utf8.size(); ++at) {
      const auto first = static_cast<unsigned char>(utf8[at]);
      if (first < 0x80) {
        decoded += utf8[at];
      } else if ((first == 0xC2 || first == 0xC3) && at + 1 < utf8.size()) {
        decoded += static_cast<char>(((first & 0x03) << 6) | (static_cast<unsigned char>(utf8[++at]) & 0x3F));
      } else {
        fail("has bytes written as text that is not latin1");
      }
    }
    return decoded;
  }

  void build(Node* target, const Node* state) {
    switch (target->kind) {
      case Kind::dtype: {  // (version, byte order, subarray, names, fields, ...)
        if (state->kind != Kind::tuple) fail("has an element type without state");
        const auto order = state->items.size() > 1 ? state->items[1] : nullptr;
        if (!order || (order->kind != Kind::text && order->kind != Kind::bytes) || order->text.size() != 1)
          fail("has an element type without byte order");
        for (std::size_t i = 2; i < std::min<std::size_t>(5, state->items.size()); ++i)
          if (state->items[i]->kind != Kind::none) refuse("has a structured element type");
        // A dtype is built once, right after its call; the same one built twice would collect two orders.
        if (target->text.empty() || std::string_view("<>|=").find(target->text[0]) != std::string_view::npos)
          fail("builds an element type twice");
        target->text = order->text + copied(target->text);
        break;
      }
      case Kind::unfilled_array: {  // (version, shape, dtype, is Fortran order, bytes)
        if (state->kind != Kind::tuple || state->items.size() != 5) fail("has an array without state");
        const Node* dtype = argument(state->items, 2, Kind::dtype);
        const Node* fortran_order = state->items[3];
        if (fortran_order->kind != Kind::boolean && fortran_order->kind != Kind::integer)
          fail("has an array without an order");
        const Node* data = state->items[4];
        if (data->kind == Kind::list) refuse("has an array of Python objects");
        if (data->kind != Kind::bytes) fail("has an array without its bytes");
        become(target, make_array(shape_of(state->items[1]), dtype, fortran_order->integer != 0, data->text));
        break;
      }
      case Kind::wrapper: read_joblib_array(target, state); break;
      default: refuse(fmt::format("sets the state of {}", name_of(target->kind)));
    }
  }

  // The wrapper is already in the memo, so the array takes its place in the same node.
  static void become(Node* target, Node* array) {
    target->kind = Kind::array;
    target->array = std::move(array->array);
  }

  void read_joblib_array(Node* wrapper, const Node* state) {
    const Node *subclass = nullptr, *shape = nullptr, *order = nullptr, *dtype = nullptr, *alignment = nullptr;
    constexpr std::size_t most_attributes = 16;  // the names below and few more
    if (state->kind != Kind::dict || state->items.size() > 2 * most_attributes)
      fail("has a joblib array without state");
    for (std::size_t i = 0; i + 1 < state->items.size(); i += 2) {
      const auto& key = state->items[i]->text;
      const Node* value = state->items[i + 1];
      if (key == "subclass")
        subclass = value;
      else if (key == "shape")
        shape = value;
      else if (key == "order")
        order = value;
      else if (key == "dtype")
        dtype = value;
      else if (key == "numpy_array_alignment_bytes")
        alignment = value;
      else if (key != "allow_mmap")
        refuse("has a joblib array with an unknown attribute");
    }
    if (!subclass || !shape || !order || !dtype || dtype->kind != Kind::dtype)
      fail("has a joblib array that is not fully described");
    if (subclass->kind != Kind::callable || subclass->callable != Callable::ndarray)
      refuse("has a subclass of ndarray");
    const NumpyType type = parse_numpy_type(dtype->text, where_);
    auto extents = shape_of(shape);
    std::int64_t n_bytes = type.item_bytes;
    for (const auto extent : extents)
      if (extent < 0 || __builtin_mul_overflow(n_bytes, extent, &n_bytes)) fail("has an array of an impossible shape");
    if (alignment && alignment->kind != Kind::none)
      take(take_integer<std::uint8_t>());  // one byte tells how many bytes of padding follow it
    const std::size_t begin = at_;
    if (static_cast<std::uint64_t>(n_bytes) > bytes_.size() - at_)
      throw DataError(
          fmt::format("{}: an array of shape ({}) needs {} bytes from byte {} on, but only {} are left; the file is "
                      "truncated, copy it again",
                      where_, fmt::join(extents, ", "), n_bytes, begin, bytes_.size() - begin));
    become(wrapper,
           make_array(std::move(extents), dtype, order->text == "F", take(static_cast<std::uint64_t>(n_bytes))));
  }

  std::string_view bytes_;
  const std::string& where_;
  MemoryBudget& budget_;
  std::size_t at_ = 0, opcode_at_ = 0;
  std::deque<Node> nodes_;
  std::vector<Node*> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, Node*> memo_;
};

}  // namespace

Values run_pickle(std::string_view bytes, const std::string& where, MemoryBudget& budget) {
  return Machine(bytes, where, budget).run();
}

}  // namespace idem::pickle
