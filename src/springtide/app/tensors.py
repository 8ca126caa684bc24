"""Tensors as the Open Inference Protocol (version 2) writes them, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.domain.errors import BadRows, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from springtide.serving.session import TensorForm

__all__ = ["array_of", "form_of", "tensor_of"]

_DATATYPES = {"float64": "FP64", "float32": "FP32", "int64": "INT64", "int32": "INT32", "bool": "BOOL"}
_DTYPES = {datatype: dtype for dtype, datatype in _DATATYPES.items()}


def array_of(tensor: Mapping[str, Any], *, where: str) -> NDArray[Any]:
    """A tensor of the protocol: `data` is flat or nested, in row-major order."""
    name, datatype = tensor["name"], tensor["datatype"]
    if datatype not in _DTYPES:
        raise BadRows(f"input {name!r} has the datatype {datatype!r}", where=where, do=did_you_mean(datatype, _DTYPES))
    try:
        return np.asarray(tensor["data"], dtype=_DTYPES[datatype]).reshape(tensor["shape"])
    except (ValueError, TypeError, OverflowError) as error:
        raise BadRows(
            f"input {name!r} is not a tensor of {datatype} with the shape {tensor['shape']}: {error}",
            where=where,
            do="send as many numbers as the shape holds",
        ) from error


def tensor_of(name: str, array: NDArray[Any]) -> dict[str, Any]:
    """An array as a tensor of the protocol."""
    datatype = _DATATYPES[str(array.dtype)]
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": array.ravel().tolist()}


def form_of(form: TensorForm) -> dict[str, Any]:
    """What the graph takes or gives under one name; -1 is a size that may vary."""
    shape = [-1 if size is None else size for size in form.shape]
    return {"name": form.name, "datatype": _DATATYPES[str(form.dtype)], "shape": shape}
