"""Training of the shipped weights, on synthetic phantoms only."""
