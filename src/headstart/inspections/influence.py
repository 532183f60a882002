"""Which training examples made an answer what it is: by how much it would change if one of them had not been there.

With the head at its mode, H the Hessian of its penalised loss, z_i the features of example i (with a one for the bias), p_i what the head
says of it and y_i its label, leaving it out moves the weights by one Newton step of what is left (Koh and Liang 2017, "Understanding
black-box predictions via influence functions", eq. 1, with the example's own curvature A_i = diag(p_i) - p_i p_i^T taken away,
Pregibon 1981):
    answer without i - answer = (a (x) z)^T (H - A_i (x) z_i z_i^T)^-1 ((p_i - y_i) (x) z_i)
                              = s_i^T (1 - A_i M_i)^-1 (p_i - y_i),    s_i = (z_i^T S),  S = H^-1 (a (x) z),  M_i = z_i^T H^-1 z_i.
S is found by conjugate gradients, M_i by the Hessian of the leading directions of the features. The head alone is asked: what an example
taught the layers below is not in it. The strongest are left out in truth, and the head solved again, as a check.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg

from headstart.core import Check, Finding, Row, Strip
from headstart.curvature import EXACT_CLASSES, product, softmax
from headstart.inspections._plant import Plant, squares
from headstart.inspections._shown import Shown
from headstart.inspections._trace import Trace, missing
from headstart.train.head_solve import Rotated, SolvedHead, rotated, solve_rotated

QUESTION = "Which training examples made it say that?"
NEEDS = ("classes", "pictures", "model")
EACH = 3
"""Examples that are shown of those that speak for an answer, and of those that speak against it."""
LEFT_OUT = 3
"""The strongest pairs that are checked by solving the head again."""
CLOSE = 0.25
"""The largest error of what is told, as a share of what leaving out does."""
STEPS, SMALL = 500, 1e-7
HELD = 1 << 24
"""Numbers that are held at once for each of some arrays, for the weights of the head and each answer."""
NUMBERS, AT_ONCE = 2560, 2048
"""Numbers of the head whose Hessian is held as a whole, to tell how much one example weighs; and numbers of examples at once."""


def inspect(trace: Trace) -> Finding:
    """For some images the training examples that speak for what was said of them and against it, with their weight."""
    return look(trace, trace.chosen)


def look(trace: Trace, shown: Sequence[Shown]) -> Finding:
    """The same of these pictures."""
    head = shown[0].model.head
    if head.final is None or head.final is not head:
        return missing(
            "influence",
            QUESTION,
            "this head is more than one linear layer, so leaving one example out cannot be told from its features.",
        )
    assert trace.classes is not None, "NEEDS says so"
    trained = np.flatnonzero(~trace.valid)
    if max(len(shown), 12) * trace.after.features.shape[1] * len(trace.names) > HELD:
        return missing(
            "influence", QUESTION, f"a head of {len(trace.names):,} classes has too many weights to be solved again for this."
        )
    if len(np.unique(trace.classes[trained])) < len(trace.names):
        return missing("influence", QUESTION, "some class has no training example among those that are looked at.")
    known = LeaveOneOut.of(trace.after.features[trained], trace.classes[trained], len(trace.names))
    features, asks = np.stack([one.features for one in shown]), np.stack([one.asks.numpy() for one in shown])
    pushes = known.pushes(features, asks)
    items = [_item(trace, one, trained, row) for one, row in zip(shown, pushes, strict=True)]
    strongest = max(range(len(items)), key=lambda number: float(np.abs(pushes[number]).max()))
    most, whole = np.abs(pushes[strongest]).max(), known.answers(features, asks)[strongest]
    return Finding(
        "influence",
        QUESTION,
        f"No training example moves one of these answers by more than {most:.2g} nats: {items[strongest]['most']} for {shown[strongest].id}, "
        f"which it says with {whole:.2g}.",
        "good",
        {},
        items,
        [_strip(trace, one, trained, row) for one, row in zip(shown, pushes, strict=True)],
        (_check(known, features, asks, pushes), _alike(known, features, shown)),
        (
            "Told of the head alone, on the features as they are now: what an example taught the layers below is not in it.",
            "A plus speaks for the answer, a minus against it, in nats of its lead over the mean of all classes.",
        ),
    )


@dataclass(frozen=True)
class LeaveOneOut:
    """A head at its mode, and what becomes of its answers without one of the examples that it was solved on."""

    turned: Rotated
    targets: Int[np.ndarray, " batch"]
    head: SolvedHead

    @classmethod
    def of(cls, features: Float[np.ndarray, "batch features"], targets: Int[np.ndarray, " batch"], classes: int) -> "LeaveOneOut":
        """The head solved on these examples."""
        turned = rotated(features)
        turned = replace(turned, rows=turned.rows.astype(np.float64))  # one example of thousands moves the last digits of float32
        return cls(turned, targets, solve_rotated(turned, targets, classes))

    @cached_property
    def rows(self) -> Float[np.ndarray, "batch rank"]:
        """The examples in the coordinates of the head, the last of which is one."""
        return np.concatenate([self.turned.rows, np.ones((len(self.targets), 1))], axis=1)

    @cached_property
    def probs(self) -> Float[np.ndarray, "batch classes"]:
        """What the head says of them."""
        weight = (self.turned.basis.T @ self.head.weight.T) * self.turned.scale
        return softmax(self.turned.rows @ weight + self.head.bias + self.head.weight @ self.turned.mean)

    def answers(
        self, features: Float[np.ndarray, "asked features"], asks: Float[np.ndarray, "asked classes"]
    ) -> Float[np.ndarray, " asked"]:
        """What is asked of the head, of each of these."""
        return ((features @ self.head.weight.T + self.head.bias) * asks).sum(1)

    def without(self, place: int) -> SolvedHead:
        """The head solved again without one of its examples, its prior as before."""
        rest = np.delete(np.arange(len(self.targets)), place)
        rows = replace(self.turned, rows=self.turned.rows[rest])
        return solve_rotated(rows, self.targets[rest], self.probs.shape[1], self.head.typical_precision)

    def pushes(
        self, features: Float[np.ndarray, "asked features"], asks: Float[np.ndarray, "asked classes"]
    ) -> Float[np.ndarray, "asked batch"]:
        """By how much each example makes each answer larger: the answer as it is, less the answer without it."""
        turned = ((features - self.turned.mean) / self.turned.scale) @ self.turned.basis
        asked = np.concatenate([turned, np.ones((len(turned), 1))], axis=1)
        steps = self._inverse(asked[:, :, None] * asks[:, None, :])
        felt = np.einsum("br,mrk->mbk", self.rows, steps)
        return -np.einsum("mbk,bk->mb", felt, self._corrected)

    def _inverse(self, wanted: Float[np.ndarray, "asked rank classes"]) -> Float[np.ndarray, "asked rank classes"]:
        """H^-1 of each, by conjugate gradients, divided by the diagonal of H."""
        typical = float((self.probs * (1 - self.probs)).mean())
        diagonal = typical * (self.rows**2).sum(0) + self._prior
        found, left = np.zeros_like(wanted), wanted.copy()
        near = left / diagonal[:, None]
        way, size = near.copy(), (left * near).sum((1, 2))
        start = size.copy()
        for _ in range(STEPS):
            curved = self._hessian(way)
            length = size / np.maximum((way * curved).sum((1, 2)), 1e-300)
            found += length[:, None, None] * way
            left -= length[:, None, None] * curved
            near = left / diagonal[:, None]
            size, before = (left * near).sum((1, 2)), size
            if (size <= SMALL**2 * start).all():
                break
            way = near + (size / np.maximum(before, 1e-300))[:, None, None] * way
        return found

    @cached_property
    def _prior(self) -> Float[np.ndarray, " rank"]:
        """The bias has none."""
        return np.append(np.full(self.turned.rows.shape[1], self.head.typical_precision), 0.0)

    def _hessian(self, way: Float[np.ndarray, "asked rank classes"]) -> Float[np.ndarray, "asked rank classes"]:
        asked, rank, classes = way.shape
        said = product(self.rows, way.transpose(1, 0, 2).reshape(rank, -1)).reshape(-1, asked, classes)
        probs = self.probs[:, None, :]
        curved = probs * said - probs * (probs * said).sum(2, keepdims=True)
        back = product(self.rows.T, curved.reshape(len(curved), -1)).reshape(rank, asked, classes).transpose(1, 0, 2)
        return back + self._prior[:, None] * way

    @cached_property
    def _corrected(self) -> Float[np.ndarray, "batch classes"]:
        """(1 - A_i M_i)^-1 (p_i - y_i); of many classes the residual itself, where one example weighs little."""
        residual = self.probs.copy()
        residual[np.arange(len(residual)), self.targets] -= 1.0
        classes = residual.shape[1]
        if classes > EXACT_CLASSES:
            return residual
        found = np.empty_like(residual)
        factor, turn = self._leading
        rank = len(factor) // (classes - 1)
        step = AT_ONCE // (classes - 1)
        for first in range(0, len(residual), step):
            some = slice(first, first + step)
            rows, probs = self.rows[some, -rank:], self.probs[some]
            placed = np.kron(np.eye(classes - 1), rows.T)  # of each example one column for each turned class
            felt = linalg.solve_triangular(factor, placed, lower=True).reshape(len(factor), classes - 1, len(rows))
            inner = np.einsum("fai,fbi->iab", felt, felt)
            own = np.einsum("ik,kl->ikl", probs, np.eye(classes)) - probs[:, :, None] * probs[:, None, :]
            left = np.eye(classes) - own @ (turn @ inner @ turn.T)
            found[some] = np.linalg.solve(left, residual[some, :, None])[:, :, 0]
        return found

    @property
    def _leading(self) -> tuple[Float[np.ndarray, "numbers numbers"], Float[np.ndarray, "classes turned"]]:
        """The Cholesky factor of the Hessian by as many leading directions as there is room for, and how its classes are turned.

        Beware: without its blocks between classes the curvature of one example can come out larger than that of all.
        """
        classes = self.probs.shape[1]
        turn = linalg.helmert(classes).T  # orthonormal, and orthogonal to what all classes share
        rank = min(self.rows.shape[1], max(2, NUMBERS // (classes - 1)))
        rows, said = self.rows[:, -rank:], self.probs @ turn
        blocks = [[np.empty(0)] * (classes - 1) for _ in range(classes - 1)]
        for one in range(classes - 1):
            for other in range(one + 1):
                weights = self.probs @ (turn[:, one] * turn[:, other]) - said[:, one] * said[:, other]
                blocks[one][other] = product(rows.T, rows * weights[:, None])
                blocks[other][one] = blocks[one][other].T
        whole = np.block(blocks)
        whole[np.diag_indices_from(whole)] += np.tile(self._prior[-rank:], classes - 1) + 1e-9
        return linalg.cholesky(whole, lower=True, overwrite_a=True), turn


def _check(
    known: LeaveOneOut,
    features: Float[np.ndarray, "asked features"],
    asks: Float[np.ndarray, "asked classes"],
    pushes: Float[np.ndarray, "asked batch"],
) -> Check:
    """The strongest are left out in truth."""
    order = np.argsort(-np.abs(pushes), axis=None)[:LEFT_OUT]
    pairs, off = [], []
    for number, place in zip(*(each.tolist() for each in np.unravel_index(order, pushes.shape)), strict=True):
        head = known.without(place)
        then = float((features[number] @ head.weight.T + head.bias) @ asks[number])
        real = float(known.answers(features[number : number + 1], asks[number : number + 1])[0]) - then
        pairs.append(f"{pushes[number, place]:+.2g} (left out: {real:+.2g})")
        off.append(abs(pushes[number, place] - real) <= CLOSE * max(abs(real), 1e-6))
    return Check("the strongest do what is told", all(off), ", ".join(pairs))


def _alike(known: LeaveOneOut, features: Float[np.ndarray, "asked features"], shown: Sequence[Shown]) -> Check:
    """A head that was trained by steps, or on weighted examples, is not the one that is solved here."""
    said = (features @ known.head.weight.T + known.head.bias).argmax(1)
    same = sum(one.said == number for one, number in zip(shown, said.tolist(), strict=True))
    return Check("the head that is asked says what the model says", same == len(shown), f"of {same:,} of {len(shown):,} images")


def _order(row: Float[np.ndarray, " batch"]) -> tuple[list[int], list[int]]:
    """The places of the strongest that speak for the answer, and of those against it."""
    order = np.argsort(-row, kind="stable")
    speaking = [int(place) for place in order[:EACH] if row[place] > 0]
    return speaking, [int(place) for place in order[::-1][:EACH] if row[place] < 0]


def _item(trace: Trace, one: Shown, trained: Int[np.ndarray, " batch"], row: Float[np.ndarray, " batch"]) -> Row:
    speaking, against = ([trace.ids[trained[place]] for place in places] for places in _order(row))
    return {
        "id": one.id,
        "said": one.text,
        "most": trace.ids[trained[int(np.abs(row).argmax())]],
        "by": float(row[np.abs(row).argmax()]),
        "for it": ", ".join(speaking),
        "against it": ", ".join(against),
    }


def _strip(trace: Trace, one: Shown, trained: Int[np.ndarray, " batch"], row: Float[np.ndarray, " batch"]) -> Strip:
    found = [place for places in _order(row) for place in places]
    places = trained[found].tolist()
    words = zip(trace.task.texts(trace.targets[places]), row[found], strict=True)
    return one.beside(*trace.captioned(places, [f"{word} {push:+.2g}" for word, push in words]))


def plant(seed: int) -> Plant:
    """One training picture has the wrong label, and speaks most against the answers to those that look like it."""
    planted = squares(seed)

    def seen(of: Trace) -> Trace:
        assert of.model is not None and of.inputs is not None
        features = of.model.backbone.features(of.inputs(range(len(of.ids)))).detach().numpy()
        return replace(of, after=replace(of.after, features=features))

    faulty, clean = seen(planted.faulty), seen(planted.clean)
    assert faulty.classes is not None
    wrong, classes = 1, faulty.classes.copy()
    alike = faulty.names[classes[wrong]]
    classes[wrong] = 1 - classes[wrong]

    def found(finding: Finding) -> bool:
        against = [item["against it"].split(", ")[0] for item in finding.items if item["said"] == alike]
        return bool(against) and set(against) == {f"{wrong}.jpg"}

    return Plant(replace(faulty, classes=classes), clean, found)
