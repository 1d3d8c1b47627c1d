"""The engines that take part, a module each: `open_peer(**options)` loads one. Only the worker's process imports them."""
