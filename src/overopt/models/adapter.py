"""Adapters: LoRA matrices beside a model's frozen linear maps, made by PEFT and written as PEFT and TRL write them.

A checkpoint of a run that trains an adapter is a folder with the adapter, and with the model's configuration under a
name of ours: beside a config.json transformers would look for whole weights. The frozen weights stay where
`base_model_name_or_path` says. Loading adds the adapter to them, so the rest of the program knows ordinary models.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from overopt.errors import UserError
from overopt.hub.names import PROTOCOL, located
from overopt.models.folder import check_readable, check_safetensors, read_json, reading

CONFIG, WEIGHTS, MODEL_CONFIG = "adapter_config.json", "adapter_model.safetensors", "model_config.json"
PREFIX = "base_model.model."
"""What PEFT writes before the name of each tensor."""
NAME = "default"
"""What PEFT calls the only adapter of a model; no file holds this name."""
CACHED = re.compile(r"models--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)[/\\]snapshots[/\\](?P<commit>[0-9a-f]{40})$")
"""A folder of the cache that all programs share for the Hub's repositories."""
UNDERSTOOD = (
    "r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "modules_to_save", "rank_pattern",
    "alpha_pattern", "use_rslora", "use_dora", "fan_in_fan_out", "layers_to_transform", "layers_pattern",
)  # fmt: skip
"""Fields of adapter_config.json that are read. Others say how an adapter began, or are refused if they are set."""
HARMLESS = frozenset(
    {
        "peft_type", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "bias",
        "init_lora_weights", "peft_version", "loftq_config", "megatron_core",
        "ensure_weight_tying", "qalora_group_size",
    }
)  # fmt: skip


def peft() -> Any:
    """The library PEFT; UserError where it is not installed."""
    try:
        import peft
    except ImportError as error:
        raise UserError("LoRA needs the library PEFT: pip install 'overopt[peft]'") from error
    return peft


@dataclass(frozen=True)
class Adapter:
    """The trained part of a model whose own weights are frozen."""

    model: Any
    config: Any
    """PEFT's configuration of it."""
    layers: list[Any] = field(default_factory=list)
    """The modules that have matrices of the adapter."""

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Compute meanwhile as the model did before it had the adapter."""
        for layer in self.layers:
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self.layers:
                layer.enable_adapters(True)

    def like(self, model: Any) -> Adapter:
        """A new adapter of the same sizes for another model of the same architecture, to measure it."""
        config = copy.deepcopy(self.config)
        config.modules_to_save = None
        return insert(model, config, (), 0)

    def save(self, folder: Path) -> None:
        """Write what PEFT's `save_pretrained` does, but for the model card; and the model's configuration.

        If the base has an adapter itself, both are written as one, which any program opens on the model below.
        """
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        tensors = {name.replace(f".{NAME}.", "."): p.detach().cpu() for name, p in trained.items()}
        config, first = self.config, adapter_folder(Path(self.config.base_model_name_or_path))
        if first is not None and (kept := first.factors()) is not None:
            config, tensors = _both(first, kept, config, tensors)
        config.save_pretrained(folder)
        self.model.config.to_json_file(folder / MODEL_CONFIG)
        tensors = {PREFIX + name: tensor for name, tensor in tensors.items()}
        save_file({name: t.contiguous() for name, t in tensors.items()}, folder / WEIGHTS, metadata={"format": "pt"})


def base_fields(folder: str) -> dict[str, str]:
    """The fields that name an adapter's base: its folder or, if that lies in the Hub's cache, repository and commit."""
    pin = pin_of(folder)
    if pin is None:
        return {"base_model_name_or_path": folder}
    return {"base_model_name_or_path": pin["location"].removeprefix(PROTOCOL), "revision": pin["commit"]}


def pin_of(folder: str) -> dict[str, str] | None:
    """What a record says of a model in the Hub's cache: location, revision and commit; None of any other folder."""
    cached = CACHED.search(folder)
    if cached is None:
        return None
    commit = cached["commit"]
    return {"location": f"{PROTOCOL}{cached['owner']}/{cached['name']}", "revision": commit, "commit": commit}


def _both(
    first: AdapterFolder, kept: dict[str, Tensor], config: Any, tensors: dict[str, Tensor]
) -> tuple[Any, dict[str, Tensor]]:
    """Two adapters of the same weights as one: s1 B1 A1 + s2 B2 A2 = [s1 B1, s2 B2] [A1; A2], scaled by 1."""
    own, ranks = config.lora_alpha / config.r, (int(first.settings["r"]), config.r)
    both = copy.deepcopy(config)
    both.r = both.lora_alpha = sum(ranks)
    both.target_modules = sorted({*config.target_modules, *first.settings["target_modules"]})
    both.base_model_name_or_path, both.revision = (
        first.settings.get(n) for n in ("base_model_name_or_path", "revision")
    )
    made = {name: tensor for name, tensor in tensors.items() if ".lora_" not in name}
    for name in {**kept, **tensors}.keys() - made.keys():
        rows = ".lora_A." in name
        known = tensors.get(name, kept.get(name))
        assert known is not None
        parts = []
        for rank, part, scale in ((ranks[0], kept.get(name), 1.0), (ranks[1], tensors.get(name), 1.0 if rows else own)):
            empty = (rank, known.shape[1]) if rows else (known.shape[0], rank)
            parts.append(torch.zeros(empty) if part is None else part.float() * scale)
        made[name] = torch.cat(parts, 0 if rows else 1)
    return both, made


def insert(model: Any, config: Any, whole: tuple[str, ...], generator_seed: int) -> Adapter:
    """Freeze a model but for the modules named in `whole`, and put new matrices beside its linear maps, in place.

    They change nothing at first: one factor of each product is 0, the other drawn from a stream of this seed.
    """
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            torch.manual_seed(generator_seed)
            warnings.simplefilter("ignore")  # PEFT says that it notices GPT-2's transposed weights
            peft().inject_adapter_in_model(config, model, NAME)
    except UserError:
        raise
    except Exception as error:  # a library over any architecture may raise anything
        raise UserError(f"trainable: PEFT cannot adapt this {model.config.model_type} model: {error}") from error
    for name in whole:
        model.get_submodule(name).requires_grad_(True)
    config.target_modules = sorted(config.target_modules)  # a set, whose order would change the file
    config.modules_to_save = list(whole) or None
    config.inference_mode = True  # as PEFT writes it
    layers = [module for module in model.modules() if isinstance(module, peft().tuners.tuners_utils.BaseTunerLayer)]
    for layer in layers:
        for key, dropout in layer.lora_dropout.items():
            if isinstance(dropout, nn.Dropout):
                layer.lora_dropout[key] = _TrainingDropout(dropout.p)
    return Adapter(model, config, layers)


class _TrainingDropout(nn.Dropout):
    """Dropout where a gradient is gathered, and nowhere else: `eval` models have none of their own."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.p, training=torch.is_grad_enabled())


@dataclass(frozen=True)
class AdapterFolder:
    """A folder with an adapter."""

    path: Path
    settings: dict[str, Any]
    """Its adapter_config.json."""

    @property
    def base(self) -> str:
        """The location of the model that it adapts: a path, or a name on the Hub in full."""
        base = self.settings.get("base_model_name_or_path")
        if not isinstance(base, str) or not base:
            raise UserError(
                f"{self.path / CONFIG}: does not name the model that it adapts (base_model_name_or_path); write its "
                "name or folder there"
            )
        from_hub = CACHED.search(str(self.path)) is not None
        name = located(base, self.path if from_hub else Path(), "model")
        revision = self.settings.get("revision")
        if name is None:
            if from_hub:
                raise UserError(
                    f"{self.path / CONFIG}: the adapter's model is {base!r}, a folder of its author's machine; fetch "
                    "the adapter (hf download ... --local-dir FOLDER), write the model's name there, and name FOLDER"
                )
            return base
        return str(name.at(revision) if name.revision is None and isinstance(revision, str) else name)

    @property
    def whole(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights that it brings whole, a reward model's head for example, by name."""
        return {name: tuple(tensor.shape) for name, tensor in self._tensors().items() if ".lora_" not in name}

    def factors(self) -> dict[str, Tensor] | None:
        """The matrices of a plain LoRA, scaled so that B A is what it adds; None if it is or has anything else."""
        special = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "layers_to_transform", "exclude_modules")
        plain = isinstance(self.settings.get("target_modules"), list) and not any(self.settings.get(n) for n in special)
        if not plain or self.settings.get("fan_in_fan_out"):
            return None
        scale = self.settings["lora_alpha"] / self.settings["r"]
        tensors = self._tensors()
        if any(".lora_" not in name for name in tensors):
            return None
        return {name: tensor * scale if ".lora_B." in name else tensor for name, tensor in tensors.items()}

    def add_to(self, model: Any) -> None:
        """Add the adapter to the weights of its base, in place."""
        with reading(self.path, "its adapter cannot be added to its model"):
            tensors, trained = self._tensors(), [p for p in model.parameters() if p.requires_grad]
            for name in self.whole:
                _overwrite(self.path, model, name, tensors.pop(name))
            tuner = peft().tuners.lora.LoraModel(model, self._config(), NAME)
            report = peft().set_peft_model_state_dict(model, {PREFIX + n: t for n, t in tensors.items()})
            missing = [name for name in report.missing_keys if ".lora_" in name]
            if missing or report.unexpected_keys:
                raise UserError(
                    f"{self.path}: its adapter does not fit {self.base}: of its matrices "
                    f"{[*missing, *report.unexpected_keys][0]} and {len(missing) + len(report.unexpected_keys) - 1} "
                    "more have no counterpart; it belongs to another model"
                )
            tuner.merge_and_unload(safe_merge=True)
            vars(model).pop("peft_config", None)  # some versions of PEFT leave it
            for parameter in trained:
                parameter.requires_grad_(True)

    def _config(self) -> Any:
        """PEFT's configuration, of the fields that are understood; UserError for any other kind of adapter."""
        settings = self.settings
        if settings.get("peft_type") != "LORA":
            raise UserError(
                f"{self.path}: an adapter of kind {settings.get('peft_type')}; overopt reads LORA. Merge it into its "
                "model with PEFT (merge_and_unload), and save the whole"
            )
        others = settings.keys() - {*UNDERSTOOD, *HARMLESS}
        unknown = sorted(name for name in others if settings[name]) + ["bias"] * (settings.get("bias") != "none")
        start = settings.get("init_lora_weights", True)
        if unknown or not (isinstance(start, bool) or start in ("gaussian", "eva", "orthogonal")):
            raise UserError(
                f"{self.path / CONFIG}: {(unknown or ['init_lora_weights'])[0]} makes it a kind of LoRA that overopt "
                "does not read; merge it into its model with PEFT (merge_and_unload), and save the whole"
            )
        fields = {name: settings[name] for name in UNDERSTOOD if name in settings} | {"modules_to_save": None}
        return peft().LoraConfig(**fields)

    def _tensors(self) -> dict[str, Tensor]:
        path = self.path / WEIGHTS
        if not path.is_file():
            raise UserError(f"{self.path}: has no {WEIGHTS}; an adapter in a pickle (.bin) is not loaded here")
        check_safetensors(path)
        return {name.removeprefix(PREFIX): tensor for name, tensor in load_file(path).items()}


def _overwrite(path: Path, model: Any, name: str, tensor: Tensor) -> None:
    parameters = dict(model.named_parameters())
    if name not in parameters or parameters[name].shape != tensor.shape:
        raise UserError(f"{path}: its {name} does not fit its model; it belongs to another one")
    with torch.no_grad():
        parameters[name].copy_(tensor)


def holds_model(folder: Path) -> bool:
    """Whether a folder is meant to hold a model or an adapter; it may still be damaged."""
    return (folder / "config.json").is_file() or (folder / CONFIG).is_file()


def adapter_folder(folder: Path) -> AdapterFolder | None:
    """The adapter in a folder, None if it holds none."""
    if not (folder / CONFIG).is_file():
        return None
    check_readable(folder / CONFIG)
    return AdapterFolder(folder, read_json(folder / CONFIG))
