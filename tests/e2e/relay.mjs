// A bad network: a UDP relay in front of the media port that loses packets and mixes up their order.

import { createSocket } from "node:dgram";

/**
 * Relays to 127.0.0.1:`port`, losing a share of media packets on their way up and down, and
 * delaying a share of those that go up, so that others overtake them.
 */
export async function relay(port, { up = 0, down = 0, reorder = 0, late = 15 }) {
  // A test that failed must not be kept from ending by its relay.
  const open = () => createSocket("udp4").unref();
  const front = open();
  const backs = new Map();
  // The same sequence every run.
  let state = 12345;
  const random = () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
  const stats = { relayed: 0, lost: 0, overtaken: 0 };
  const isMedia = (packet) => packet[0] >= 128 && packet[0] < 192;
  const dropped = (packet, loss) => {
    stats.relayed++;
    if (!isMedia(packet) || random() >= loss) return false;
    stats.lost++;
    return true;
  };
  front.on("message", (packet, from) => {
    const name = `${from.address}:${from.port}`;
    let back = backs.get(name);
    if (!back) {
      back = open();
      back.on("message", (answer) => dropped(answer, down) || front.send(answer, from.port, from.address));
      backs.set(name, back);
    }
    if (dropped(packet, up)) return;
    if (isMedia(packet) && random() < reorder) {
      stats.overtaken++;
      setTimeout(() => back.send(packet, port, "127.0.0.1"), late);
      return;
    }
    back.send(packet, port, "127.0.0.1");
  });
  await new Promise((done) => front.bind(0, "127.0.0.1", done));
  return {
    port: front.address().port,
    stats,
    close: () => {
      front.close();
      backs.forEach((back) => back.close());
    },
  };
}

/** Makes a page's connections use only the candidates that `keep` lets through, or one of ours. */
export function onlyCandidates(context, rule) {
  return context.addInitScript((rule) => {
    const set = RTCPeerConnection.prototype.setRemoteDescription;
    RTCPeerConnection.prototype.setRemoteDescription = function (description) {
      let lines = description.sdp.split("\r\n");
      if (rule.tcpOnly) lines = lines.filter((line) => !(line.startsWith("a=candidate") && / udp /.test(line)));
      if (rule.port) {
        const ours = `a=candidate:0 1 udp 2130706431 127.0.0.1 ${rule.port} typ host`;
        lines = lines.filter((line) => !line.startsWith("a=candidate")).flatMap((line) => (line === "a=end-of-candidates" ? [ours, line] : [line]));
      }
      return set.call(this, { type: description.type, sdp: lines.join("\r\n") });
    };
  }, rule);
}
