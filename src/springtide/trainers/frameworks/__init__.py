"""One module a framework, all with the same two doors: `build` a new model, `load` a given one."""

from springtide.trainers.frameworks.seam import Brief, Model, framework_module

__all__ = ["Brief", "Model", "framework_module"]
