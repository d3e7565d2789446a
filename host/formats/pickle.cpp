#include "host/formats/pickle.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "host/formats/pickle_machine.h"
#include "host/support/one_line.h"

namespace idem {
namespace {

using pickle::Kind;
using pickle::Node;

bool is_number(const Node* node) {
  return node->kind == Kind::integer || node->kind == Kind::real || node->kind == Kind::boolean;
}
bool is_string(const Node* node) { return node->kind == Kind::text || node->kind == Kind::bytes; }
bool is_sequence(const Node* node) { return node->kind == Kind::list || node->kind == Kind::tuple; }
double number_of(const Node* node) {
  return node->kind == Kind::real ? node->real : static_cast<double>(node->integer);
}

template <class Predicate>
bool all_of(const std::vector<Node*>& items, const Predicate& predicate) {
  return std::all_of(items.begin(), items.end(), predicate);
}

std::optional<NumpyArray> array_of(const Node* node) {
  if (node->kind == Kind::array) return *node->array;
  if (node->kind == Kind::boolean) return NumpyArray::of_scalar(node->integer != 0);
  if (node->kind == Kind::integer) return NumpyArray::of_scalar(node->integer);
  if (node->kind == Kind::real) return NumpyArray::of_scalar(node->real);
  if (is_string(node)) return NumpyArray::of_text(node->text);
  if (!is_sequence(node) || node->items.empty()) return std::nullopt;
  const auto& items = node->items;
  const auto n_items = static_cast<std::int64_t>(items.size());
  if (all_of(items, is_number)) {
    std::vector<double> values;
    for (const Node* item : items) values.push_back(number_of(item));
    return NumpyArray::of({n_items}, values);
  }
  if (all_of(items, is_string)) {
    std::vector<std::string> values;
    for (const Node* item : items) values.push_back(item->text);
    return NumpyArray::of_texts(values);
  }
  const auto width = items[0]->items.size();
  if (all_of(items, [&](const Node* row) {
        return is_sequence(row) && row->items.size() == width && all_of(row->items, is_number);
      })) {
    std::vector<double> values;
    for (const Node* row : items)
      for (const Node* item : row->items) values.push_back(number_of(item));
    return NumpyArray::of({n_items, static_cast<std::int64_t>(width)}, values);
  }
  return std::nullopt;
}

// What array_of makes of a value, in bytes; a list whose items are all the same text or list can be far more than its
// stream is long.
std::size_t cost_of(const Node* node) {
  if (node->kind == Kind::array) return node->array->bytes.size();
  constexpr std::size_t scalar = 64, number = 2 * sizeof(double);  // in a list and in the array
  if (!is_sequence(node))
    return scalar + 10 * node->text.size();  // as it is, in characters of 4 bytes, and those in the array
  std::size_t longest = 0, all = 0;
  for (const Node* item : node->items) {
    longest = std::max(longest, item->text.size());
    all += sizeof(std::string) + 5 * item->text.size() + number * (1 + item->items.size());
  }
  return MemoryBudget::sum(
      all, MemoryBudget::product(node->items.size(), 2 * 4 * longest));  // every text is padded to the longest
}

class Collector {
 public:
  Collector(const std::string& where, MemoryBudget& budget) : where_(where), budget_(budget) {}

  // Depth and cost are bounded because a stream may make dictionaries that hold themselves, or one array under very
  // many names.
  void collect(const Node* node, const std::string& name, int depth) {
    budget_.spend(3 * name.size(), where_);  // of the entry, and of the messages about it
    if (node->kind == Kind::dict) {
      if (depth == 8) return;
      budget_.spend(node->items.size(), sizeof(Node*), where_);
      for (std::size_t i = 0; i + 1 < node->items.size(); i += 2) {
        const Node* key = node->items[i];
        const std::string label = is_string(key)               ? key->text
                                  : key->kind == Kind::integer ? std::to_string(key->integer)
                                                               : "";
        if (!label.empty()) collect(node->items[i + 1], name.empty() ? label : name + "/" + label, depth + 1);
      }
      return;
    }
    budget_.spend(cost_of(node), where_);
    if (auto array = array_of(node)) {
      array->where = name.empty() ? where_ : where_ + ": array " + one_line(name);
      arrays.insert_or_assign(name, std::move(*array));
    }
  }

  std::map<std::string, NumpyArray> arrays;

 private:
  const std::string& where_;
  MemoryBudget& budget_;
};

}  // namespace

std::map<std::string, NumpyArray> parse_pickle(std::string_view bytes, const std::string& where,
                                               std::size_t file_bytes) {
  constexpr std::size_t made_per_byte = 128;  // an empty list takes one byte
  MemoryBudget budget(bytes.size(), made_per_byte, std::min(file_bytes, bytes.size()));
  const pickle::Values values = pickle::run_pickle(bytes, where, budget);
  Collector collector(where, budget);
  collector.collect(values.root, "", 0);
  return std::move(collector.arrays);
}

}  // namespace idem
