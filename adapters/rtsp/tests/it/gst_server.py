"""An RTSP camera by GStreamer's own RTSP server: somebody else's idea of RTSP.

usage: gst_server.py PORT USER:PASSWORD|- PATH=PIPELINE...
Prints "ready PORT" when it serves. Ends when its standard input ends.
"""
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

Gst.init(None)
port, account, mounts = sys.argv[1], sys.argv[2], sys.argv[3:]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
for mount in mounts:
    path, pipeline = mount.split("=", 1)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch("( " + pipeline + " )")
    factory.set_shared(True)
    if account != "-":
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/" + path, factory)
if account != "-":
    user, password = account.split(":", 1)
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest(user, password, token)
    server.set_auth(auth)
if server.attach(None) == 0:
    sys.exit("the port can't be listened on")
loop = GLib.MainLoop()


def watch_parent():
    sys.stdin.read()
    loop.quit()


threading.Thread(target=watch_parent, daemon=True).start()
print("ready", server.get_bound_port(), flush=True)
loop.run()
