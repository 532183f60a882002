"""Learning rates as functions of progress: nothing to save, one line to plot."""


def warmup_then_linear(progress: float, warmup: float) -> float:
    """Share of the peak rate at `progress` in [0, 1]: up from 0 over the first `warmup`, then straight down to 0 at the end.

    Linear decay to the end of the budget is robust and best for small budgets (Li, Yumer & Ramanan 2019, "Budgeted Training").
    """
    rising = progress / warmup if warmup > 0 else 1.0
    return max(0.0, min(1.0, rising, (1.0 - progress) / (1.0 - warmup)))
