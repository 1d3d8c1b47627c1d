package org.example.weather;

import java.util.List;

/** Statistics of measured temperatures, in degrees Celsius. */
public final class Temperature {
    private final List<Double> values;

    public Temperature(List<Double> values) {
        this.values = values;
    }

    public double mean() {
        double sum = 0;
        for (double value : values) {
            sum += value;
        }
        return sum / values.size();
    }

    public double maximum() {
        double best = Double.NEGATIVE_INFINITY;
        for (double value : <|>values) {
            best = Math.max(best, value);
        }
        return best;
    }
}
