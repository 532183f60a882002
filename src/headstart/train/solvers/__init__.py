"""Solvers of a linear head under a likelihood: a task names its own in `Task.solver`. Each file has `solve`, with one signature."""
