"""The facade: data, a backbone and the time you have go in; a fine-tuned model comes out."""

from headstart.learner.facade import Learner, load

__all__ = ["Learner", "load"]
