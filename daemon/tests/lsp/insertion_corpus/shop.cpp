// Orders in memory.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace shop {

enum class State { open, paid, sent };

struct Line {
  std::string name;
  int count = 1;
  long cents = 0;

  long total() const { return count * cents; }
};

class Unknown : public std::runtime_error {
 public:
  explicit Unknown(const std::string& id) : std::runtime_error("there is no order \"" + id + "\"") {}
};

class Order {
 public:
  explicit Order(std::string id) : id_(std::move(id)) {}
  virtual ~Order() = default;

  const std::string& id() const { return id_; }

  Order& add(std::string name, int count, long cents) {
    lines_.push_back({std::move(name), count, cents});
    return *this;
  }

  // In cents.
  long total() const {
    long sum = 0;
    for (const auto& line : lines_) {
      sum += line.total();
    }
    return sum;
  }

  bool is_large(long limit = 100'000) const { return total() > limit; }

 private:
  std::string id_;
  std::vector<Line> lines_;
  State state_ = State::open;
};

template <typename Key, typename Value>
class Store {
 public:
  void add(const Key& key, std::shared_ptr<Value> value) {
    if (!values_.emplace(key, std::move(value)).second) {
      throw std::invalid_argument("it is used already");
    }
  }

  std::optional<std::shared_ptr<Value>> find(const Key& key) const {
    auto found = values_.find(key);
    if (found == values_.end()) return std::nullopt;
    return found->second;
  }

  template <typename Less>
  std::vector<std::shared_ptr<Value>> sorted(Less less) const {
    std::vector<std::shared_ptr<Value>> all;
    for (const auto& [key, value] : values_) {
      all.push_back(value);
    }
    std::sort(all.begin(), all.end(), [&](const auto& one, const auto& other) { return less(*one, *other); });
    return all;
  }

 private:
  std::map<Key, std::shared_ptr<Value>> values_;
};

static char initial(const std::string& name) {
  if (name.empty()) {
    return '?';
  }
  switch (name[0]) {
    case '"':
    case '\'':
      return name.size() > 1 ? name[1] : '?';
    default:
      return name[0];
  }
}

long largest(const Store<std::string, Order>& store) {
  auto orders = store.sorted([](const Order& one, const Order& other) { return one.total() > other.total(); });
  return orders.empty() ? 0 : orders.front()->total();
}

}  // namespace shop

int main() {
  shop::Store<std::string, shop::Order> store;
  auto order = std::make_shared<shop::Order>("a");
  order->add("tea", 2, 350).add("cup", 1, 1200);
  store.add(order->id(), order);
  while (store.find("b")) {
    return 1;
  }
  return shop::largest(store) == 1900 ? 0 : 1;
}
