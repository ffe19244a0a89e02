"""The cost of a token: worked figures, and each factor applied exactly once."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.economics.cost import Loading, Rates, TokenCosts, relative_price_costs, usd_per_million, whole_costs

# GB300, DeepSeek-V3/R1 FP4, 8k in and 1k out, 58 tokens/s a user: tokens/s an accelerator.
GB300 = Rates(uncached_input=7188.0, output=899.0, total=8087.0)
UNLOADED = Loading()

usd = st.floats(min_value=1e-3, max_value=1e4)
per_second = st.floats(min_value=1e-3, max_value=1e6)
share = st.floats(min_value=0.05, max_value=1.0)
loadings = st.builds(Loading, utilisation=share, allocation=share, availability=share)
rates = st.builds(Rates, uncached_input=per_second, output=per_second, total=per_second)


def test_worked_figures_of_an_hour_at_eighteen_dollars() -> None:
    whole = whole_costs(18.0, GB300, UNLOADED, 1.0)
    assert whole.total.usd_per_million == pytest.approx(0.618, abs=5e-4)
    assert whole.output.usd_per_million == pytest.approx(5.56, abs=5e-3)
    shared = relative_price_costs(18.0, GB300, UNLOADED, 1.0, price_ratio=0.50 / 2.15)
    assert shared.uncached_input.usd_per_million == pytest.approx(0.45, abs=5e-3)
    assert shared.output.usd_per_million == pytest.approx(1.95, abs=2e-2)


def test_every_figure_states_its_rule() -> None:
    whole = whole_costs(1.0, GB300, UNLOADED, 1.0)
    assert [whole.total.rule, whole.output.rule, whole.uncached_input.rule] == [
        "whole cost over total tokens",
        "whole cost over output tokens",
        "whole cost over uncached input tokens",
    ]
    shared = relative_price_costs(1.0, GB300, UNLOADED, 1.0, price_ratio=0.25)
    assert (
        shared.output.rule == shared.uncached_input.rule == "an uncached input token priced at 0.25 of an output token"
    )
    assert shared.total == whole.total


@given(price=usd, rates=rates, loading=loadings, good=share)
def test_each_factor_divides_every_cost_once(price: float, rates: Rates, loading: Loading, good: float) -> None:
    for costs in (whole_costs, partial(relative_price_costs, price_ratio=0.3)):
        loaded = costs(price, rates, loading, good)
        for name in ("utilisation", "allocation", "availability"):
            free = costs(price, rates, replace(loading, **{name: 1.0}), good)
            assert_scaled(loaded, free, 1 / getattr(loading, name))
        assert_scaled(loaded, costs(price, rates, loading, 1.0), 1 / good)


@given(price=usd, rate=per_second, loading=loadings, good=share)
def test_all_factors_together_are_their_product(price: float, rate: float, loading: Loading, good: float) -> None:
    served = loading.utilisation * loading.allocation * loading.availability * good
    bare = usd_per_million(price, rate, UNLOADED, 1.0)
    assert bare == pytest.approx(price / (rate * 3600 / 1e6))
    assert usd_per_million(price, rate, loading, good) == pytest.approx((bare or 0.0) / served)


@given(price=usd, dearer=usd, rates=rates, loading=loadings, good=share)
def test_more_price_never_lowers_cost_and_more_load_never_raises_it(
    price: float, dearer: float, rates: Rates, loading: Loading, good: float
) -> None:
    low, high = sorted((price, dearer))
    cheap, dear = (whole_costs(p, rates, loading, good).output.usd_per_million or 0.0 for p in (low, high))
    assert cheap <= dear
    busy = whole_costs(low, rates, replace(loading, utilisation=1.0), good).output.usd_per_million or 0.0
    assert busy <= cheap * (1 + 1e-12)


@given(price=usd, rates=rates, loading=loadings, good=share, ratio=st.floats(min_value=0, max_value=2))
def test_the_two_figures_of_the_relative_price_rule_pay_the_hour_once(
    price: float, rates: Rates, loading: Loading, good: float, ratio: float
) -> None:
    costs = relative_price_costs(price, rates, loading, good, ratio)
    millions_per_hour = 3600 / 1e6 * loading.utilisation * loading.allocation * loading.availability * good
    paid = (costs.uncached_input.usd_per_million or 0.0) * (rates.uncached_input or 0.0)
    paid += (costs.output.usd_per_million or 0.0) * (rates.output or 0.0)
    assert paid * millions_per_hour == pytest.approx(price)


def test_a_relative_price_of_zero_charges_everything_to_output() -> None:
    shared = relative_price_costs(18.0, GB300, UNLOADED, 1.0, price_ratio=0.0)
    assert shared.output.usd_per_million == whole_costs(18.0, GB300, UNLOADED, 1.0).output.usd_per_million
    assert shared.uncached_input.usd_per_million == 0.0


@pytest.mark.parametrize("missing", [None, 0.0])
def test_no_tokens_have_no_cost(missing: float | None) -> None:
    assert (
        whole_costs(1.0, replace(GB300, uncached_input=missing), UNLOADED, 1.0).uncached_input.usd_per_million is None
    )
    assert whole_costs(1.0, GB300, UNLOADED, 0.0).output.usd_per_million is None


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.1, float("nan")])
def test_a_loading_outside_its_range_is_refused(bad: float) -> None:
    with pytest.raises(InputError, match="utilisation"):
        Loading(utilisation=bad)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_price_ratio_outside_its_range_is_refused(bad: float) -> None:
    with pytest.raises(InputError, match="price of input over output"):
        relative_price_costs(1.0, GB300, UNLOADED, 1.0, bad)


def assert_scaled(costs: TokenCosts, base: TokenCosts, factor: float) -> None:
    for kind in ("uncached_input", "output", "total"):
        assert getattr(costs, kind).usd_per_million == pytest.approx(getattr(base, kind).usd_per_million * factor)
