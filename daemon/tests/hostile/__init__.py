"""What an attacker, or a bug, might send: strategies and tests that feed it to the engine and the front."""
