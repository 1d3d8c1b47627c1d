"""The exit agent: rollouts, environments, supervision, PPO, baselines, calibration."""
