package routes

import kotlin.math.sqrt

/** A place on a plane. */
data class Point(val x: Double, val y: Double) {
    operator fun minus(other: Point) = Point(x - other.x, y - other.y)

    fun length(): Double = sqrt(x * x + y * y)
}

sealed interface Step {
    data class Walk(val to: Point) : Step
    data class Ride(val to: Point, val line: String) : Step
    object Wait : Step
}

class Route(private val start: Point) {
    private val steps = mutableListOf<Step>()

    fun add(step: Step): Route {
        steps.add(step)
        return this
    }

    fun length(): Double {
        var place = start
        var total = 0.0
        for (step in steps) {
            val next = when (step) {
                is Step.Walk -> step.to
                is Step.Ride -> step.to
                Step.Wait -> place
            }
            total += (next - place).length()
            place = next
        }
        return total
    }

    fun lines(): List<String> = steps.filterIsInstance<Step.Ride>().map { it.line }.distinct()
}

fun main() {
    val route = Route(Point(0.0, 0.0)).add(Step.Walk(Point(3.0, 4.0))).add(Step.Wait)
    println("${route.length()} along ${route.lines().joinToString()}")
}
