"""What a ``train.py`` may count on beside its framework: reporting, parameters, a deadline. Standard library only.

A script has one function, ``train(data, model_path, out_path, params, report)``:

data
    The training rows as a pandas DataFrame with the target (classes as text), in the order of time.
model_path
    The model to go on from (a Path), or None.
out_path
    An empty folder; the script writes one model file into it (for TensorFlow also a SavedModel folder).
params
    A `Params`: what the client sent, and ``target``, ``task``, ``features``, ``classes``, ``time``, ``budget_s``, ``seed``.
report
    `report`; what it is given is shown live, as told by the script. Nothing is decided by it.

Where the model's file cannot be loaded alone (a state dict), or wants other input than the feature columns as float32,
the script has a second one, ``predict(data, model_path)``: rows without the target in; out (n,) numbers, or for classes
(n, classes) probabilities in the order of ``params["classes"]``.
"""

from springtide.sdk.deadline import Deadline
from springtide.sdk.params import Params
from springtide.sdk.refusal import Refusal
from springtide.sdk.reporting import report

__all__ = ["Deadline", "Params", "Refusal", "report"]
