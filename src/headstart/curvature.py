"""Shared algebra of posteriors: the curvature of a head's loss in blocks, and the evidence it gives for a prior."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import linalg

EXACT_CLASSES = 32
"""Up to so many classes every block has its own curvature; beyond, Kronecker factors share one decomposition."""
EXACT_DIRECTIONS = 512
"""In each block the leading so many directions are exact; for the others, which hold little, the diagonal serves."""


def product(
    left: Float[np.ndarray, "rows inner"], right: Float[np.ndarray, "inner columns"]
) -> Float[np.ndarray, "rows columns"]:
    """left @ right by the library of linear algebra that SciPy carries.

    NumPy carries another; where both take turns, threads of the one that has just worked keep the cores from those of the other, and a
    third of the time is lost.
    """
    (second, flip), (first, turn) = ((each, True) if each.flags.f_contiguous else (each.T, False) for each in (right, left))
    (gemm,) = linalg.get_blas_funcs(("gemm",), (first, second))
    return gemm(1.0, second, first, trans_a=flip, trans_b=turn).T


def softmax(logits: Float[np.ndarray, "batch classes"]) -> Float[np.ndarray, "batch classes"]:
    """Probabilities of each row."""
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


@dataclass(frozen=True)
class SoftmaxCurvature:
    """The curvature of a softmax regression's loss by its weights, as independent blocks, one per direction of the outputs.

    The curvature is sum_n x_n x_n^T (x) (diag p_n - p_n p_n^T). It is rotated by the eigenvectors u_k of the mean output
    curvature and the off-diagonal blocks are dropped, so block k is sum_n c_nk x_n x_n^T with
    c_nk = u_k^T (diag p_n - p_n p_n^T) u_k. The null direction (1, ..., 1) has no block; two classes have one block, and
    nothing is dropped. A block is a dense matrix of its leading directions (`grams`) and the diagonal of the rest
    (`diagonals`); with more than `EXACT_CLASSES` classes all is diagonal (Kronecker factors in their common eigenbasis).
    """

    grams: tuple[Float[np.ndarray, "leading leading"], ...]
    diagonals: Float[np.ndarray, "directions rest"]

    def log_determinant(self, precision: float) -> float:
        """log det(I + curvature / precision)."""
        total = float(np.log1p(self.diagonals / precision).sum())
        for gram in self.grams:
            matrix = gram / precision
            matrix[np.diag_indices_from(matrix)] += 1.0
            factor = linalg.cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
            total += 2.0 * float(np.log(np.diag(factor)).sum())
        return total

    def effective_parameters(self, precision: float) -> float:
        """Number of directions that the data, not the prior, determine: sum_i lambda_i / (lambda_i + alpha) (MacKay 1992, eq. 4.9)."""
        total = float((self.diagonals / (self.diagonals + precision)).sum())
        for gram in self.grams:
            values = np.clip(linalg.eigh(gram, eigvals_only=True, check_finite=False), 0.0, None)
            total += float((values / (values + precision)).sum())
        return total


def softmax_curvature(
    rows: Float[np.ndarray, "batch rank"],
    probs: Float[np.ndarray, "batch classes"],
    gram_eigenvalues: Float[np.ndarray, " rank"],
    counts: Float[np.ndarray, " batch"] | None = None,
) -> SoftmaxCurvature:
    """The blocks at `probs`, for `rows` in the eigenbasis of their Gram matrix, whose eigenvalues ascend.

    `counts` says how many examples each row stands for, one where it is None.
    """
    classes = probs.shape[1]
    counts = np.ones(len(probs), probs.dtype) if counts is None else counts.astype(probs.dtype)
    weighed = probs * counts[:, None]
    values, vectors = linalg.eigh((np.diag(weighed.sum(0)) - weighed.T @ probs) / len(probs))
    directions = vectors[:, 1:]  # the first is the null one: adding a constant to every logit changes nothing
    if classes > EXACT_CLASSES:
        return SoftmaxCurvature((), np.outer(np.clip(values[1:], 0.0, None), gram_eigenvalues))
    weights = np.clip(probs @ directions**2 - (probs @ directions) ** 2, 0.0, None) * counts[:, None]
    leading, rest = rows[:, -EXACT_DIRECTIONS:], rows[:, :-EXACT_DIRECTIONS]
    grams = []
    for column in weights.T:
        scaled = leading * np.sqrt(column).astype(rows.dtype)[:, None]
        grams.append((scaled.T @ scaled).astype(np.float64))
    return SoftmaxCurvature(tuple(grams), (weights.T @ rest**2).astype(np.float64))


def log_evidence(log_likelihood: float, squared_norm: float, curvature: SoftmaxCurvature, precision: float) -> float:
    """Laplace's log marginal likelihood in nats, up to a constant: log p(D|w) - alpha/2 |w|^2 - 1/2 log det(I + H / alpha)."""
    return log_likelihood - 0.5 * precision * squared_norm - 0.5 * curvature.log_determinant(precision)
