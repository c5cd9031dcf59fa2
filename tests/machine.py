"""A machine whose clocks a test moves."""

from edge_sphereface.retention import Moment

NOON = 1.8e9
"""A moment of the calendar clock, in seconds since 1970."""


class Machine:
    """A machine whose clocks a test moves."""

    def __init__(self):
        self.start, self.uptime_s, self.unix_s = 1, 100.0, NOON

    def __call__(self):
        return Moment(start=str(self.start), uptime_s=self.uptime_s, unix_s=self.unix_s)

    def run(self, seconds):
        self.uptime_s += seconds
        self.unix_s += seconds

    def restart(self, off_s=0.0, wrong_s=0.0):
        self.start += 1
        self.uptime_s = 10.0
        self.unix_s += off_s + 10.0 + wrong_s
