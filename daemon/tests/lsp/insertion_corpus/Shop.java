package shop;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.stream.Collectors;

/** Orders in memory. */
public final class Shop {
    /** The state of an order. */
    public enum State {
        OPEN, PAID, SENT;

        boolean isFinal() {
            return this == SENT;
        }
    }

    /** A line of an order; the price is in cents. */
    public record Line(String name, int count, long cents) {
        long total() {
            return count * cents;
        }
    }

    /** An order has lines. */
    public static class Order {
        private final String id;
        private final List<Line> lines = new ArrayList<>();
        private State state = State.OPEN;

        Order(String id) {
            if (id == null || id.isBlank()) {
                throw new IllegalArgumentException("an order needs an id");
            }
            this.id = id;
        }

        Order add(String name, int count, long cents) {
            lines.add(new Line(name, count, cents));
            return this;
        }

        long total() {
            long sum = 0;
            for (Line line : lines) {
                sum += line.total();
            }
            return sum;
        }

        char initial() {
            return lines.isEmpty() ? '?' : lines.get(0).name().charAt(0);
        }

        @Override
        public String toString() {
            return "Order(\"" + id + "\", " + lines.size() + " lines)";
        }
    }

    private final Map<String, Order> orders = new HashMap<>();

    /** Keeps an order; an id is used once. */
    public synchronized void add(Order order) {
        Order before = orders.putIfAbsent(order.id, order);
        if (before != null) {
            throw new IllegalStateException("there is an order " + order.id);
        }
    }

    public Order get(String id) {
        return find(id).orElseThrow(() -> new NoSuchElementException("there is no order " + id));
    }

    public Optional<Order> find(String id) {
        return Optional.ofNullable(orders.get(id));
    }

    public List<Order> largest(int limit) {
        return orders.values().stream()
            .sorted(Comparator.comparingLong(Order::total).reversed())
            .limit(limit)
            .collect(Collectors.toList());
    }

    public int pay(List<String> ids) {
        int paid = 0;
        for (int i = 0; i < ids.size(); i++) {
            Order order = orders.get(ids.get(i));
            if (order == null || order.state.isFinal()) {
                continue;
            }
            try {
                order.state = State.PAID;
                paid++;
            } finally {
                System.out.printf("%s: %d cents%n", order.id, order.total());
            }
        }
        return paid;
    }
}
