"""Synthetic spines with known truth: a parametric 3-D spine and the images taken of it."""
