"""The facade: data, a backbone and the time you have go in; a fine-tuned model comes out."""

from headstart.learner.facade import Learner
from headstart.learner.loading import load, resume

__all__ = ["Learner", "load", "resume"]
