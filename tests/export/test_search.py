"""Which layers of a quantized network stay in float32."""

from export.quantization.search import cheapest_layers

PRICES = {"a": 1.0, "b": 1.0, "c": 1.0, "large": 10.0, "d": 1.0, "e": 1.0}
"""In the order of what they gain for their price."""
GAINS = {"a": 30, "b": 20, "c": 15, "large": 100, "d": 9, "e": 8}


def chosen(needed):
    asked = []

    def is_enough(layers):
        assert not layers or layers[:-1] in asked
        asked.append(layers)
        return sum(GAINS[layer] for layer in layers) >= needed

    return cheapest_layers(list(PRICES), PRICES, is_enough)


def test_layers_are_chosen_in_order_until_they_are_enough():
    assert chosen(0) == ()
    assert chosen(50) == ("a", "b")
    assert chosen(1000) == tuple(PRICES)


def test_a_large_layer_is_left_out_if_smaller_ones_are_enough_for_less():
    assert chosen(80) == ("a", "b", "c", "d", "e")


def test_a_large_layer_is_chosen_where_the_others_are_not_enough():
    assert chosen(83) == ("a", "b", "c", "large")
