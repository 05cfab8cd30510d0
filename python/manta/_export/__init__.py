"""Metrics of a swarm on their way to trackers, on the machine of whoever asks: no task waits for any of this."""
