"""Learning rates as functions of progress: nothing to save, one line to plot."""


def warmup_stable_cooldown(progress: float, warmup: float, cooldown: float) -> float:
    """Share of the peak rate at `progress` in [0, 1]: up from 0 over the first `warmup`, level, down to 0 over the last `cooldown`.

    A level stretch can be prolonged without a restart (Hagele et al. 2024, "Scaling laws and compute-optimal training beyond
    fixed training durations"); a linear descent to the end of the budget is robust and best for small budgets (Li, Yumer &
    Ramanan 2019, "Budgeted Training"): `cooldown = 1 - warmup` has no level stretch.
    """
    rising = progress / warmup if warmup > 0 else 1.0
    return max(0.0, min(1.0, rising, (1.0 - progress) / cooldown))
