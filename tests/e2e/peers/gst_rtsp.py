"""A camera that is not ours: GStreamer's RTSP server with a test picture and a tone.

usage: gst_rtsp.py HZ
Serves /cam: H.264 Main 640x360 at 25 fps, and PCMA at 8 kHz with a sine of HZ.
Prints "ready PORT" when it serves. Ends when its standard input ends.
"""
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PICTURE = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=640,height=360,framerate=25/1"
    " ! timeoverlay ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=50 bitrate=1000"
    " ! video/x-h264,profile=main ! rtph264pay name=pay0 pt=96"
)
TONE = "audiotestsrc is-live=true freq={} ! audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay1 pt=8"

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch("( " + PICTURE + " " + TONE.format(float(sys.argv[1])) + " )")
factory.set_shared(True)
server.get_mount_points().add_factory("/cam", factory)
if server.attach(None) == 0:
    sys.exit("no port can be listened on")
loop = GLib.MainLoop()


def watch_parent():
    sys.stdin.read()
    loop.quit()


threading.Thread(target=watch_parent, daemon=True).start()
print("ready", server.get_bound_port(), flush=True)
loop.run()
