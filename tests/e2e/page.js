// The bare page: enters a room with livekit-client as its users get it, plays
// what comes, and counts what is decoded, not only what is announced.

const LK = window.LivekitClient;
const audio = new AudioContext();
const elements = new Map();
const analysers = new Map();

window.enter = async (url, token, options, connect, publish) => {
  const room = new LK.Room(options);
  window.room = room;
  window.events = [];
  const note = (name) => (...args) => window.events.push(name + " " + args.filter((a) => typeof a !== "object").join(" "));
  for (const name of ["Reconnecting", "Reconnected", "SignalReconnecting", "Disconnected"]) room.on(LK.RoomEvent[name], note(name));
  window.data = [];
  room.on(LK.RoomEvent.DataReceived, (bytes, from) => window.data.push([from?.identity ?? "", new TextDecoder().decode(bytes)]));
  window.speakers = new Set();
  room.on(LK.RoomEvent.ActiveSpeakersChanged, (all) => all.forEach((it) => window.speakers.add(it.identity)));
  room.on(LK.RoomEvent.TrackSubscribed, (track, publication, participant) => {
    const element = track.attach();
    document.body.append(element);
    elements.set(publication.trackSid, { element, kind: track.kind, identity: participant.identity });
    if (track.kind === "audio") {
      const analyser = audio.createAnalyser();
      analyser.fftSize = 8192;
      audio.createMediaStreamSource(new MediaStream([track.mediaStreamTrack])).connect(analyser);
      analysers.set(participant.identity, analyser);
    }
  });
  room.on(LK.RoomEvent.TrackUnsubscribed, (track, publication) => {
    track.detach().forEach((element) => element.remove());
    elements.delete(publication.trackSid);
  });
  await room.connect(url, token, connect);
  await audio.resume();
  if (publish) {
    await room.localParticipant.setMicrophoneEnabled(true);
    await room.localParticipant.setCameraEnabled(true);
  }
};

/** Frames decoded of every remote picture, packets of every remote sound, by who it is. */
window.seen = async () => {
  const out = {};
  for (const participant of window.room.remoteParticipants.values()) {
    const entry = (out[participant.identity] = { frames: 0, packets: 0, width: 0, height: 0, codec: "" });
    for (const publication of participant.trackPublications.values()) {
      const track = publication.track;
      if (!track) continue;
      const report = await track.getRTCStatsReport();
      for (const it of report?.values() ?? []) {
        if (it.type !== "inbound-rtp") continue;
        if (it.kind === "video") {
          Object.assign(entry, { frames: it.framesDecoded ?? 0, width: it.frameWidth ?? 0, height: it.frameHeight ?? 0, lost: it.packetsLost, freezes: it.freezeCount, nacks: it.nackCount });
          entry.codec = report.get(it.codecId)?.mimeType ?? "";
        } else {
          Object.assign(entry, { packets: it.packetsReceived ?? 0, audioCodec: report.get(it.codecId)?.mimeType ?? "", energy: it.totalAudioEnergy });
        }
      }
    }
  }
  return out;
};

/** Pictures sent so far, and packets of them that were asked for again. */
window.sent = async () => {
  const all = { frames: 0, again: 0 };
  for (const publication of window.room.localParticipant.videoTrackPublications.values()) {
    for (const it of (await publication.track.getRTCStatsReport()).values()) {
      if (it.type !== "outbound-rtp") continue;
      all.frames += it.framesSent ?? 0;
      all.again += it.retransmittedPacketsSent ?? 0;
    }
  }
  return all;
};

/** The loudest frequency (Hz) heard from somebody, and how loud it is (dB). */
window.tone = (who) => {
  const analyser = analysers.get(who);
  if (!analyser) return null;
  const bins = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(bins);
  let best = 1;
  for (let i = 1; i < bins.length; i++) if (bins[i] > bins[best]) best = i;
  return { hz: (best * audio.sampleRate) / analyser.fftSize, db: bins[best] };
};

/** Publishes a steady tone; Chromium's fake microphone only beeps now and then. */
window.hum = async (hz) => {
  const source = audio.createOscillator();
  const out = audio.createMediaStreamDestination();
  source.frequency.value = hz;
  source.connect(out);
  source.start();
  const track = out.stream.getAudioTracks()[0];
  const publication = await window.room.localParticipant.publishTrack(track, { name: "hum", source: LK.Track.Source.Unknown });
  return publication.trackSid;
};
