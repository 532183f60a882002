"""How numbers lie around their predictions: the likelihoods of `regression`, as functions of the squared scaled residual.

With target y, centre m, log squared scale s and u = (y - m)^2 exp(-s), the negative log-density is
    s / 2 + rho(u) + constant,
whose second derivatives are made of the first two of rho:
    d2/dm2 = 2 exp(-s) (rho' + 2 u rho''),    d2/dm ds = 2 (y - m) exp(-s) (rho' + u rho''),    d2/ds2 = u (rho' + u rho'').
"""

from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from headstart.metrics.noise import GAUSSIAN, STUDENT, Noise

Squares = Float[Tensor, "*shape"]


@runtime_checkable
class Likelihood(Protocol):
    """rho with its derivatives, and the distribution that they belong to."""

    noise: Noise
    information: tuple[float, float]
    """What a number is expected to tell: the means of d2/dm2 in units of exp(-s), and of d2/ds2."""

    def rho(self, squares: Squares) -> Squares:
        """0 at 0, growing."""
        ...

    def slope(self, squares: Squares) -> Squares:
        """rho'."""
        ...

    def bend(self, squares: Squares) -> Squares:
        """rho''."""
        ...


class Gaussian:
    """u / 2: what is far off pulls the more."""

    noise: Noise = GAUSSIAN
    information = (1.0, 0.5)

    def rho(self, squares: Squares) -> Squares:
        return 0.5 * squares

    def slope(self, squares: Squares) -> Squares:
        return torch.full_like(squares, 0.5)

    def bend(self, squares: Squares) -> Squares:
        return torch.zeros_like(squares)


class Student:
    """(f + 1) / 2 log(1 + u / f), of Student's t with f degrees of freedom: what is far off pulls the less."""

    noise: Noise = STUDENT
    freedom = STUDENT.freedom
    # Lange, Little and Taylor 1989, "Robust statistical modeling using the t distribution", appendix B
    information = ((freedom + 1) / (freedom + 3), 0.5 * freedom / (freedom + 3))

    def rho(self, squares: Squares) -> Squares:
        return 0.5 * (self.freedom + 1) * torch.log1p(squares / self.freedom)

    def slope(self, squares: Squares) -> Squares:
        return 0.5 * (self.freedom + 1) / (self.freedom + squares)

    def bend(self, squares: Squares) -> Squares:
        return -0.5 * (self.freedom + 1) / (self.freedom + squares) ** 2


LIKELIHOODS: MappingProxyType[str, Likelihood] = MappingProxyType({"gaussian": Gaussian(), "student": Student()})
