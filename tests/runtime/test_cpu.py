"""Processors that may be used, from faked control groups."""

import os

import pytest

from edge_sphereface.cpu import cgroup_cpu_limit, usable_cpus


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"sys/fs/cgroup/cpu.max": "rubbish"}, None),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "50000 100000"}, 0.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "200000 100000"}, 2),
        ({"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/1\n",
                "sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_cgroup_limit(tmp_path, files, limit):
    assert cgroup_cpu_limit(write(tmp_path, files)) == limit


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not tell its processors")
def test_usable_is_the_lesser(tmp_path):
    here = len(os.sched_getaffinity(0))
    assert usable_cpus(tmp_path) == here
    assert usable_cpus(write(tmp_path, {"sys/fs/cgroup/cpu.max": "150000 100000"})) == min(here, 2)
    assert usable_cpus(write(tmp_path, {"sys/fs/cgroup/cpu.max": "1000 100000"})) == 1
    assert usable_cpus(write(tmp_path, {"sys/fs/cgroup/cpu.max": "99900000 100000"})) == here
