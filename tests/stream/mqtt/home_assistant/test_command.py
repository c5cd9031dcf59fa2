"""``watch --home-assistant`` with a real broker."""

import json

import cv2
import pytest
from paho.mqtt.subscribe import simple


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_watch_announces_its_camera_and_says_goodbye(cli, astronaut, broker, tmp_path):
    """Without a gallery; the last messages are at the broker when the command has ended."""
    (tmp_path / "pictures").mkdir()
    for index in range(4):
        cv2.imwrite(str(tmp_path / "pictures" / f"{index}.png"), astronaut)
    words = ("--mqtt", f"mqtt://127.0.0.1:{broker.port}/house/a", "--mqtt-spool", tmp_path / "spool.db")
    words += (
        "--home-assistant",
        "found",
        "--home-assistant-state",
        tmp_path / "entities.json",
        "--home-assistant-images",
    )
    code, _, err = cli("watch", tmp_path / "pictures", "--folder-fps", "4", "--name", "Tür/+#", *words)
    assert code == 0, err
    kept = simple(["found/#", "house/a/#"], hostname="127.0.0.1", port=broker.port, msg_count=15)
    messages = {one.topic: one.payload.decode() for one in kept}
    configs = [json.loads(text) for topic, text in messages.items() if topic.startswith("found/")]
    assert {config["device"]["name"] for config in configs} == {"edge_sphereface", "Tür/+#"}
    names = {config["name"]: config.get("state_topic") for config in configs}
    assert "Face" in names
    assert json.loads(messages[names["Frame rate"]])["fps"] > 0
    assert json.loads(messages[names["Faces"]])["faces"] == 0
    assert messages[names["Frames"]] == messages["house/a/status"] == "offline"
    assert (tmp_path / "entities.json").stat().st_mode & 0o777 == 0o600
