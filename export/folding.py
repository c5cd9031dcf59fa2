"""Fold batch normalization and the order of colors into the weights, so that the graph has neither.

The proof of a conversion compares the folded graph with a reference that normalizes and reorders explicitly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from export.errors import CheckpointError
from export.naming import MOMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_sphereface.types import Float64Array

    Parameters = Mapping[str, np.ndarray[Any, Any]]


def fold_normalization(parameters: Parameters, epsilon: float) -> dict[str, np.ndarray[Any, Any]]:
    """Fold each batch normalization into the convolution or the embedding layer before it.

    With the gain g = gamma / sqrt(variance + epsilon), the weights become g w and the bias g (b - mean) + beta. Zero
    padding is unaffected, because the normalization follows the convolution.

    Args:
        parameters: arrays by name in the network, see :mod:`export.naming`.
        epsilon: constant added to the variance.

    Returns:
        The parameters without normalizations; float64 where one was folded, all others as they were.

    Raises:
        CheckpointError: a variance is negative.
    """
    folded = {name: values for name, values in parameters.items() if not name.startswith("bn")}
    for name in [name for name in parameters if name.startswith("bn") and name.endswith(".gamma")]:
        normalization = name.removesuffix(".gamma")
        number = normalization.removeprefix("bn")
        layer = "fc5" if number == "5" else f"conv{number}"
        gamma, beta, mean, variance = (_as_float64(parameters[f"{normalization}.{moment}"]) for moment in MOMENTS)
        if not (variance + epsilon > 0).all():
            raise CheckpointError(
                f"Expected variances of at least 0 in {normalization}, but the least is {variance.min():g}.",
                hint="the file is damaged; take another checkpoint",
            )
        gain = gamma / np.sqrt(variance + epsilon)
        weight = _as_float64(parameters[f"{layer}.weight"])
        bias = _as_float64(parameters[f"{layer}.bias"]) if f"{layer}.bias" in parameters else np.zeros(len(gain))
        folded[f"{layer}.weight"] = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
        folded[f"{layer}.bias"] = gain * (bias - mean) + beta
    return folded


def fold_color_order(parameters: Parameters) -> dict[str, np.ndarray[Any, Any]]:
    """Reverse the three input channels of the first convolution: a network of RGB crops then takes BGR crops."""
    return {**parameters, "conv1_1.weight": parameters["conv1_1.weight"][:, ::-1]}


def _as_float64(values: np.ndarray[Any, Any]) -> Float64Array:
    return values.astype(np.float64)
