<?php

declare(strict_types=1);

namespace Shop;

use InvalidArgumentException;

/** What a customer has chosen so far. */
final class Cart
{
    /** @var array<string, int> */
    private array $counts = [];

    public function __construct(private Prices $prices, private float $discount = 0.0)
    {
        if ($discount < 0 || $discount > 1) {
            throw new InvalidArgumentException("discount $discount is not between 0 and 1");
        }
    }

    public function add(string $name, int $count = 1): void
    {
        $this->counts[$name] = ($this->counts[$name] ?? 0) + $count;
    }

    public function total(): float
    {
        $sum = 0.0;
        foreach ($this->counts as $name => $count) {
            $sum += $count * $this->prices->of($name);
        }
        return round($sum * (1 - $this->discount), 2);
    }

    public function describe(): string
    {
        $lines = array_map(
            fn (string $name, int $count): string => sprintf('%-20s %3d', $name, $count),
            array_keys($this->counts),
            $this->counts,
        );
        return match (count($lines)) {
            0 => 'empty',
            default => implode("\n", $lines),
        };
    }
}
