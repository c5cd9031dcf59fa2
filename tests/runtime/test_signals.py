"""Signals that end a program, or make it read its settings again."""

import signal

import pytest

from edge_sphereface.cli.signals import stopped_by_signals


@pytest.fixture
def hangup():
    """Sets what SIGHUP does before the program has its own way."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda handler: signal.signal(signal.SIGHUP, handler)
    signal.signal(signal.SIGHUP, before)


def test_a_hangup_ends_what_cannot_read_its_settings_again(hangup):
    """Its supervisor starts it again."""
    hangup(signal.SIG_DFL)
    stops = []
    with stopped_by_signals(lambda: stops.append(1)) as came:
        signal.raise_signal(signal.SIGHUP)
    assert (stops, came) == ([1], [signal.SIGHUP])
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_hangup_that_is_ignored_stays_so(hangup):
    hangup(signal.SIG_IGN)
    with stopped_by_signals(lambda: None) as came:
        signal.raise_signal(signal.SIGHUP)
    assert came == []


def test_a_hangup_makes_it_read_its_settings_again(hangup):
    hangup(signal.SIG_IGN)
    asked = []
    with stopped_by_signals(lambda: None, again=lambda: asked.append(1)) as came:
        signal.raise_signal(signal.SIGHUP)
    assert (asked, came) == ([1], [])
