//! Orders in memory.

use std::collections::HashMap;
use std::fmt;

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    Unknown(String),
    Exists { id: String },
    Empty,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unknown(id) => write!(formatter, "there is no order {id}"),
            Problem::Exists { id } => write!(formatter, "order {} exists", id),
            Problem::Empty => formatter.write_str("an order needs lines"),
        }
    }
}

impl std::error::Error for Problem {}

/// A line of an order.
#[derive(Debug, Clone)]
pub struct Line<'a> {
    pub name: &'a str,
    pub count: u32,
    pub cents: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Order<'a> {
    id: String,
    lines: Vec<Line<'a>>,
}

impl<'a> Order<'a> {
    pub fn new(id: &str) -> Self {
        Order { id: id.to_string(), lines: Vec::new() }
    }

    pub fn with(mut self, name: &'a str, count: u32, cents: u64) -> Self {
        self.lines.push(Line { name, count, cents });
        self
    }

    /// In cents.
    pub fn total(&self) -> u64 {
        self.lines.iter().map(|line| u64::from(line.count) * line.cents).sum()
    }

    pub fn initials(&self) -> Vec<char> {
        let mut found: Vec<char> = self.lines.iter().filter_map(|line| line.name.chars().next()).collect();
        found.retain(|&initial| initial != '_' && initial != '\'');
        found
    }
}

#[derive(Default)]
pub struct Store<'a> {
    orders: HashMap<String, Order<'a>>,
}

impl<'a> Store<'a> {
    pub fn add(&mut self, order: Order<'a>) -> Result<(), Problem> {
        if order.lines.is_empty() {
            return Err(Problem::Empty);
        }
        if self.orders.contains_key(&order.id) {
            return Err(Problem::Exists { id: order.id });
        }
        self.orders.insert(order.id.clone(), order);
        Ok(())
    }

    pub fn find(&self, id: &str) -> Result<&Order<'a>, Problem> {
        self.orders.get(id).ok_or_else(|| Problem::Unknown(id.to_string()))
    }

    pub fn largest(&self, limit: usize) -> Vec<&Order<'a>> {
        let mut found: Vec<_> = self.orders.values().collect();
        found.sort_by(|one, other| other.total().cmp(&one.total()));
        found.truncate(limit);
        found
    }
}

pub fn euros(cents: u64) -> String {
    let (whole, rest) = (cents / 100, cents % 100);
    if rest == 0 {
        format!("{whole} euros")
    } else {
        format!("{whole}.{rest:02} euros")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_in_cents() {
        let order = Order::new("a").with("tea", 2, 350).with("cup", 1, 1200);
        assert_eq!(order.total(), 1900);
        assert_eq!(euros(order.total()), "19 euros");
    }

    #[test]
    fn an_id_is_used_once() {
        let mut store = Store::default();
        assert!(store.add(Order::new("a").with("tea", 1, 350)).is_ok());
        for id in ["a", "b"] {
            let result = store.add(Order::new(id));
            assert_eq!(result, Err(Problem::Empty), "{id}");
        }
    }
}
