"""What is known of a head's weights after training: one file a method, each with `fit(problem)`, `load(state, task)` and `WEIGHTS`."""
