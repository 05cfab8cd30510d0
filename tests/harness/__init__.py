"""What the tests over real processes share: starting Manta, waiting for a state, and proving that nothing is left."""
