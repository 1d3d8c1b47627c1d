"""A small inventory with prices."""

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Item:
    name: str
    price: float
    count: int = 0


@dataclass
class Inventory:
    items: dict[str, Item] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        if item.name in self.items:
            self.items[item.name].count += item.count
        else:
            self.items[item.name] = item

    def remove(self, name: str) -> None:
        if name not in self.items:
            raise KeyError(name)
        del self.<|>items[name]

    def total(self) -> float:
        return sum(item.price * item.count for item in self.items.values())

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({name: vars(item) for name, item in self.items.items()}))
