"""Temperature, clock and throttling from faked trees of /sys and faked programs."""

import pytest

from edge_sphereface.evaluation.condition import read_condition

NO_PROGRAM = {}


def tree(root, files):
    for name, text in files.items():
        path = root / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def programs(outputs):
    return lambda command: outputs.get(" ".join(command))


def test_a_raspberry_pi(tmp_path):
    """The clock is the firmware's: Linux reports the one that it asked for (raspberrypi/linux#2986)."""
    tree(
        tmp_path,
        {
            "class/thermal/thermal_zone0/temp": "82300\n",
            "class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
            "devices/platform/soc/soc:firmware/get_throttled": "0\n",
        },
    )
    said = {
        "vcgencmd measure_clock arm": "frequency(0)=1500345728\n",
        "vcgencmd get_throttled": "throttled=0xe0008\n",
    }
    now = read_condition(tmp_path, programs(said))
    assert (now.temperature_c, now.hottest_zone) == (82.3, "cpu-thermal")
    assert now.clock_mhz == pytest.approx(1500.3, abs=0.1)
    assert now.throttled == (
        "soft temperature limit now",
        "frequency capped since boot",
        "throttled since boot",
        "soft temperature limit since boot",
    )
    assert now.is_slowed


@pytest.mark.parametrize("place", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
@pytest.mark.parametrize("program", [None, "VCHI initialization failed\n"])
def test_a_user_who_may_not_call_vcgencmd(tmp_path, place, program):
    tree(
        tmp_path,
        {
            f"devices/platform/{place}/get_throttled": "50000\n",
            "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "600000\n",
            "devices/system/cpu/cpu3/cpufreq/scaling_cur_freq": "1800000\n",
        },
    )
    said = {} if program is None else {"vcgencmd get_throttled": program, "vcgencmd measure_clock arm": program}
    now = read_condition(tmp_path, programs(said))
    assert now.throttled == ("under-voltage since boot", "throttled since boot")
    assert now.clock_mhz == 1800
    assert not now.is_slowed


def test_a_jetson(tmp_path):
    """A zone that always says 100 degrees is no temperature, and a fan that turns slows nothing down."""
    tree(
        tmp_path,
        {
            "class/thermal/thermal_zone0/type": "CPU-therm\n",
            "class/thermal/thermal_zone0/temp": "51500\n",
            "class/thermal/thermal_zone1/type": "PMIC-Die\n",
            "class/thermal/thermal_zone1/temp": "100000\n",
            "class/thermal/cooling_device0/type": "pwm-fan\n",
            "class/thermal/cooling_device0/cur_state": "3\n",
            "class/thermal/cooling_device1/type": "thermal-cpufreq-0\n",
            "class/thermal/cooling_device1/cur_state": "2\n",
            "class/thermal/cooling_device1/max_state": "9\n",
            "class/thermal/cooling_device2/type": "cpufreq-cpu4\n",
            "class/thermal/cooling_device2/cur_state": "0\n",
            "class/devfreq/17000000.ga10b/cur_freq": "624750000\n",
            "class/devfreq/15340000.vic/cur_freq": "115200000\n",
        },
    )
    (tmp_path / "sys/class/thermal/thermal_zone2/temp").mkdir(parents=True)  # a zone without power cannot be read
    now = read_condition(tmp_path, programs(NO_PROGRAM))
    assert (now.temperature_c, now.hottest_zone) == (51.5, "CPU-therm")
    assert now.gpu_clock_mhz == 624.75
    assert now.throttled == ("thermal-cpufreq-0 at 2 of 9 now",)
    assert now.is_slowed


def test_a_machine_that_tells_nothing_or_rubbish(tmp_path):
    empty = read_condition(tmp_path, programs(NO_PROGRAM))
    assert set(empty.as_json().values()) == {None}
    tree(
        tmp_path,
        {
            "class/thermal/thermal_zone0/temp": "hot\n",
            "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "<unknown>\n",
            "devices/platform/soc/soc:firmware/get_throttled": "no number\n",
            "class/thermal/cooling_device0/type": "Processor\n",
            "class/thermal/cooling_device0/cur_state": "\n",
        },
    )
    assert read_condition(tmp_path, programs({"vcgencmd get_throttled": "throttled=0x"})) == empty


def test_nothing_slows_a_machine_whose_coolers_are_off(tmp_path):
    tree(tmp_path, {"class/thermal/cooling_device0/type": "Processor", "class/thermal/cooling_device0/cur_state": "0"})
    assert read_condition(tmp_path, programs(NO_PROGRAM)).throttled == ()


def test_a_server_whose_processors_are_all_slowed(tmp_path):
    """Each has a cooling device of its own; a condition lists a limited number."""
    for number in range(100):
        place = f"class/thermal/cooling_device{number}"
        tree(tmp_path, {f"{place}/type": f"cpufreq-cpu{number}", f"{place}/cur_state": "1", f"{place}/max_state": "3"})
    limits = read_condition(tmp_path, programs(NO_PROGRAM)).throttled
    assert len(limits) == 64
    assert limits[0] == "cpufreq-cpu0 at 1 of 3 now"
    assert limits[-1] == "37 more cooling devices now"


@pytest.mark.parametrize("impossible", ["-274000", "99999999999"])
def test_a_zone_without_a_measurement_is_passed_over(tmp_path, impossible):
    tree(
        tmp_path,
        {
            "class/thermal/thermal_zone0/temp": impossible,
            "class/thermal/thermal_zone1/temp": "-5000",
            "class/thermal/thermal_zone1/type": "outdoor",
        },
    )
    now = read_condition(tmp_path, programs(NO_PROGRAM))
    assert (now.temperature_c, now.hottest_zone) == (-5, "outdoor")
