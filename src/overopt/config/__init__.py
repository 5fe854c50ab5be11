"""YAML <-> typed objects. The tree of `@block` classes is the configuration; nothing is declared twice.

One address (`loss.gamma`) is the path in the YAML, the command-line override, the sweep key and the place of an error.

    @block
    class SimPO:
        gamma: float = 0.5

    Loss = Annotated[DPO | SimPO, Choice()]       # the registry is the union

In a YAML a choice is spelled `loss: {name: simpo, gamma: 1.0}`, short `loss: simpo`; a class from elsewhere
`name: my_module:MyLoss`, where `my_module.py` lies beside the YAML or can be imported; functions likewise.
A field that a YAML leaves out has the default of the enclosing block. This package knows no stage, task or loss.
"""

from __future__ import annotations

from overopt.config.blocks import Choice, Function, block, name_of
from overopt.config.dumping import addresses, dump, locations, plugin_files, save, to_yaml
from overopt.config.fields import NonNegative, Positive
from overopt.config.loading import load
from overopt.config.locations import DataLocation, Folder, Location
from overopt.config.user_code import calling_user_code

__all__ = [
    "Choice",
    "DataLocation",
    "Folder",
    "Function",
    "Location",
    "NonNegative",
    "Positive",
    "addresses",
    "block",
    "calling_user_code",
    "dump",
    "load",
    "locations",
    "name_of",
    "plugin_files",
    "save",
    "to_yaml",
]
