import math

import pytest

from results import format as fmt


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (3.141e-3, "3.14 ms"),
        (0.0, "0 s"),
        (12.34e-9, "12.3 ns"),
        (123.4e-6, "123 µs"),
        (0.9996e-3, "1.00 ms"),  # rounds up into the next unit
        (999.4e-6, "999 µs"),
        (1.0, "1.00 s"),
        (61.25, "61.2 s"),
        (7200.0, "7,200 s"),
        (-2e-3, "-2.00 ms"),
        (4e-13, "0.000400 ns"),
        (None, "not measured"),
        (math.nan, "not measured"),
    ],
)
def test_a_duration_has_three_significant_digits_and_the_unit_that_fits(seconds, shown):
    assert fmt.duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2103.4, "2,103"),
        (123.4, "123"),
        (99.96, "100"),
        (12.34, "12.3"),
        (0.01234, "0.0123"),
        (0.0, "0"),
        (-1.5, "-1.50"),
        (None, "not measured"),
    ],
)
def test_a_number_has_three_significant_digits_and_thousands_separators(value, shown):
    assert fmt.number(value) == shown


def test_every_unit_says_so_when_nothing_was_measured():
    helpers = (fmt.number, fmt.count, fmt.duration, fmt.rate, fmt.percent, fmt.size, fmt.watts)
    assert {show(None) for show in (*helpers, fmt.joules)} == {"not measured"}


def test_shares_rates_and_sizes_read_as_people_write_them():
    assert fmt.percent(0.625) == "62.5 %"
    assert fmt.percent(1.0) == "100 %"
    assert fmt.percent(0.0001) == "< 0.1 %"
    assert fmt.rate(2103.4) == "2,103 req/s"
    assert fmt.count(1234567) == "1,234,567"
    assert fmt.size(1023) == "1,023 B"
    assert fmt.size(1.3 * 2**30) == "1.30 GiB"
    assert fmt.watts(312.2) == "312 W"
    assert fmt.joules(0.1234) == "0.123 J"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.002, "2 ms"), (0.5, "500 ms"), (30.0, "30 s"), (2e-6, "2 µs"), (0.0, "0")],
)
def test_an_axis_shows_durations_without_needless_zeros(seconds, shown):
    assert fmt.tick(seconds) == shown


@pytest.mark.parametrize(
    ("flops_per_s", "shown"),
    [
        (989.4e12, "989 TFLOP/s"),
        (2.25e15, "2.25 PFLOP/s"),
        (13.3e9, "13.3 GFLOP/s"),
        (999.9e9, "1.00 TFLOP/s"),  # what is rounded up to a unit is shown in it
        (5.0, "5.00 FLOP/s"),
        (0.0, "0 FLOP/s"),
        (None, "not measured"),
        (float("nan"), "not measured"),
    ],
)
def test_operations_a_second_are_in_the_unit_that_fits(flops_per_s, shown):
    assert fmt.flops(flops_per_s) == shown


def test_the_state_of_a_gpu_is_in_its_own_units():
    assert fmt.megahertz(1980.0) == "1,980 MHz"
    assert fmt.celsius(54.4) == "54 °C"
    assert fmt.megahertz(None) == fmt.celsius(None) == "not measured"
