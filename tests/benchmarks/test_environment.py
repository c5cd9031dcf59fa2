"""The environment of a figure, from a faked sysfs tree and faked programs."""

import os

import pytest

from benchmarks import environment
from edge_sphereface.cpu import cpu_generation
from edge_sphereface.json_output import json_object


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def programs(outputs):
    return lambda command: outputs.get(command[0])


def test_facts(tmp_path):
    write(tmp_path, {environment.GOVERNOR: "ondemand\n", environment.ENERGY: "2500000\n"})
    facts = json_object(environment.describe(tmp_path))
    assert facts["governor"] == "ondemand"
    assert {"edge_sphereface", "numpy", "onnxruntime", "python"} <= set(facts["versions"])
    assert environment.energy_j(tmp_path) == 2.5
    assert environment.describe(tmp_path / "none").governor is None
    assert environment.energy_j(tmp_path / "none") is None


X86 = """processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 207
model name	: Intel(R) Xeon(R) Processor
stepping	: 2

processor	: 1
vendor_id	: GenuineIntel
"""
ARM = """processor	: 0
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x4
CPU part	: 0xd0b
CPU revision	: 1
"""


def test_the_generation_of_the_processor_and_the_load_are_kept(tmp_path):
    write(tmp_path, {"proc/cpuinfo": X86})
    facts = json_object(environment.describe(tmp_path))
    assert facts["generation"] == {"vendor_id": "GenuineIntel", "cpu_family": "6", "model": "207", "stepping": "2"}
    assert facts["load"] >= 0
    write(tmp_path, {"proc/cpuinfo": ARM})
    assert cpu_generation(tmp_path)["CPU_part"] == "0xd0b"
    assert cpu_generation(tmp_path / "none") == {}


def test_condition_of_a_pi(tmp_path):
    write(
        tmp_path,
        {
            "sys/class/thermal/thermal_zone0/temp": "61200\n",
            "sys/class/thermal/thermal_zone1/temp": "48000\n",
            "sys/class/thermal/thermal_zone2/temp": "rubbish\n",
        },
    )
    now = environment.condition(tmp_path, programs({"vcgencmd": "throttled=0x50004\n"}))
    assert now.temperature_c == 61.2
    assert now.throttled == ("throttled now", "under-voltage since boot", "throttled since boot")
    assert now.power_mode is None


def test_condition_of_a_jetson(tmp_path):
    line = (
        "RAM 2448/7620MB CPU [3%@729,0%@729] CPU@47.968C SOC2@46.5C GPU@48.25C VDD_IN 4715mW/4500mW VDD_CPU 500mW/500mW"
    )
    mode = "NV Fan Mode:quiet\nNV Power Mode: 15W\n2\n"
    now = environment.condition(tmp_path, programs({"nvpmodel": mode, "tegrastats": line}))
    assert json_object(now) == {"temperature_c": 48.25, "throttled": None, "power_w": 4.715, "power_mode": "15W"}
    old = environment.condition(tmp_path, programs({"tegrastats": "RAM 1/3964MB CPU@30C POM_5V_IN 2040/2040"}))
    assert old.power_w == 2.04


def test_condition_of_a_machine_that_tells_nothing(tmp_path):
    now = environment.condition(tmp_path, programs({}))
    assert set(json_object(now).values()) == {None}
    assert not environment.is_throttled(now, now)


@pytest.mark.parametrize(
    ("before", "after", "throttled"),
    [
        ("0x0", "0x0", False),
        ("0x50000", "0x50000", False),
        ("0x0", "0x40000", True),
        ("0x50000", "0x50005", True),
        ("0x0", "0x4", True),
    ],
)
def test_throttling_during_a_measurement(tmp_path, before, after, throttled):
    """What happened since boot but before the measurement does not count."""
    first, second = (
        environment.condition(tmp_path, programs({"vcgencmd": f"throttled={value}"})) for value in (before, after)
    )
    assert environment.is_throttled(first, second) is throttled


class Others:
    """Other programs that keep some of two processors busy, by a fake /proc/stat and clock."""

    def __init__(self, root, monkeypatch):
        self.root, self.busy, self._now, self._worked = root, 0.0, 100.0, 0.0
        monkeypatch.setattr("edge_sphereface.evaluation.machine_load.usable_cpus", lambda: 2)
        monkeypatch.setattr("time.monotonic", lambda: self._now)
        monkeypatch.setattr("os.times", lambda: (0.0,) * 5)
        monkeypatch.setattr("os.getloadavg", lambda: (1.5, 0.0, 0.0), raising=False)

    def wait(self, seconds):
        self._now += seconds
        self._worked += self.busy * seconds
        ticks = round(self._worked * os.sysconf("SC_CLK_TCK"))
        write(self.root, {"proc/stat": f"cpu  {ticks} 0 0 900 90 0 0 0 0 0\n"})


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="no /proc/stat here")
@pytest.mark.parametrize(("before", "during", "busy"), [(0.0, 0.1, False), (1.5, 0.0, True), (0.0, 1.25, True)])
def test_other_work_before_and_during_a_run_is_recorded(tmp_path, monkeypatch, capsys, before, during, busy):
    others = Others(tmp_path, monkeypatch)
    others.wait(1)
    others.busy = before
    timed = environment.TimedRun(tmp_path, others.wait)
    warned = capsys.readouterr().err
    assert warned.count("\n") == (before > 0.5), "one line, and only where it is busy at the start"
    assert ("keep 1.50 of 2 processors busy" in warned) == (before > 0.5)
    others.busy = during
    others.wait(60)
    facts = json_object(timed.describe())
    work = facts["other_work"]
    assert work["before"] == {"other_processors": before, "average": 1.5, "processors": 2}
    assert work["during"] == {"other_processors": during, "average": 1.5, "processors": 2}
    assert work["busy"] is busy
    assert (f"up to {max(before, during):.2f} of 2" in environment.busy_text(read(facts))) is busy
    elsewhere = json_object(timed.describe(workers_elsewhere=True))["other_work"]
    assert elsewhere["during"] is None
    assert elsewhere["busy"] is (before > 0.5)


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="no /proc/stat here")
def test_the_load_is_described_as_shares(tmp_path, monkeypatch):
    others = Others(tmp_path, monkeypatch)
    others.busy = 1.5
    others.wait(0)
    timed = environment.TimedRun(tmp_path, others.wait)
    others.busy = 0.1
    others.wait(10)
    described = environment.load_text(timed.describe())
    assert described.startswith("other programs' share of the processor time: 75% before, 5% during the measurement; ")
    unknown = environment.load_text(environment.TimedRun(tmp_path / "none", lambda _: None).describe())
    assert unknown == "other programs' share of the processor time: unknown; load average: 1.50"
    old = json_object(environment.describe(tmp_path))
    del old["load"], old["generation"]
    assert environment.load_text(environment.TimedEnvironment.from_values(old)).endswith("load average: unknown")


def read(facts):
    """The load by other programs that a recorded environment holds."""
    return environment.TimedEnvironment.from_values(facts).other_work


def test_without_proc_the_load_average_is_judged(tmp_path, monkeypatch, capsys):
    Others(tmp_path, monkeypatch)
    facts = json_object(environment.TimedRun(tmp_path, lambda _: None).describe())
    assert "the load average is 1.50 on 2 processors" in capsys.readouterr().err
    assert facts["other_work"]["before"]["other_processors"] is None
    assert "load average was 1.50 on 2" in environment.busy_text(read(facts))
    monkeypatch.setattr("os.getloadavg", lambda: (0.2, 0.0, 0.0), raising=False)
    idle = json_object(environment.TimedRun(tmp_path, lambda _: None).describe())
    old = {name: value for name, value in idle.items() if name not in ("generation", "load", "other_work")}
    monkeypatch.delattr("os.getloadavg")
    unknown = json_object(environment.TimedRun(tmp_path, lambda _: None).describe())
    assert capsys.readouterr().err == ""
    assert [environment.busy_text(read(facts)) for facts in (idle, unknown, old)] == ["", "", ""]


def test_programs_that_are_not_there_are_not_run():
    assert environment._run(["no-such-program-anywhere"]) is None
    assert environment._run(["echo", "hello"]) == "hello\n"


def test_an_endless_program_is_stopped_after_its_first_line(monkeypatch):
    monkeypatch.setattr(environment, "_ENDLESS", ("yes",))
    assert environment._run(["yes", "line"]) == "line\n"
