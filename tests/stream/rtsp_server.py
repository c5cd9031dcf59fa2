"""An RTSP server of GStreamer, run by the system's Python: rtsp_server.py PORT WIDTH HEIGHT.

Says "ready" when it listens. A line "resize WIDTH HEIGHT" on stdin changes the size in mid-stream; the width
that the camera gives from then on is the answer.
"""

import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

CAPS = "video/x-raw,width={},height={},framerate=25/1"
PIPELINE = (
    f"( videotestsrc is-live=true pattern=ball ! capsfilter name=size caps={CAPS} ! "
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! "
    "h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)


def say(what):
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main():
    port, width, height = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE.format(width, height))
    factory.set_shared(True)
    media = []
    factory.connect("media-configure", lambda _, one: media.append(one))
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)

    def commands():
        for line in sys.stdin:
            _, new_width, new_height = line.split()
            size = media[-1].get_element().get_by_name("size")
            size.set_property("caps", Gst.Caps.from_string(CAPS.format(new_width, new_height)))
            time.sleep(0.5)
            say(size.get_static_pad("src").get_current_caps().get_structure(0).get_int("width")[1])

    threading.Thread(target=commands, daemon=True).start()
    say("ready")
    GLib.MainLoop().run()


main()
