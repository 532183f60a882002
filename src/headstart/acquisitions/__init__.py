"""Which of many unlabelled examples to label next: one file a rule, each with `pick(pool, count)`, `WHY` and `LEARNED`."""
