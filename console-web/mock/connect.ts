/**
 * Stands in for src/pages/meet/connect.ts in mock mode: a meeting made up inside the page, so that its
 * looks can be judged without a media server.
 */
import { Participant, Room, RoomEvent, Track, type RemoteTrackPublication } from 'livekit-client'
import type { RoomToken } from '../src/api/types'

type Loose = { _attributes: Record<string, string> }

function dress(person: Participant, name: string, identity: string | null, attributes: Record<string, string> = {}): void {
  person.name = name
  if (identity) person.identity = identity
  ;(person as unknown as Loose)._attributes = attributes
}

/** The simulation constructs receivers, which browsers do not allow; one of an idle connection will do. */
const idle = new RTCPeerConnection()
window.RTCRtpReceiver = function receiver() {
  return idle.addTransceiver('video').receiver
} as unknown as typeof RTCRtpReceiver

const NAMES = ['李建国', '王秀英', '张伟(前指)', '东门枪机', '刘洋', '北侧球机', '陈静', '杨帆', '赵磊', 'Control room 2', '周敏', '吴强', '徐丽', '孙浩', '马超', '朱琳', '胡军', '林芳']

export async function connectRoom(room: Room, token: RoomToken): Promise<void> {
  const count = Number(new URLSearchParams(location.search).get('n') ?? 9)
  const preview = token.room.startsWith('cam-')
  const wall = token.room.startsWith('wall-')
  await room.simulateParticipants({ publish: { audio: !preview, video: !preview }, participants: { count: preview ? 2 : count, video: true, audio: true, aspectRatios: [1.78] } })
  // Subscribed tracks turn up a moment later.
  await new Promise((resolve) => setTimeout(resolve, 600))
  dress(room.localParticipant, '指挥员', 'person-1')
  let index = 0
  for (const person of room.remoteParticipants.values()) {
    const name = preview ? '东门枪机' : NAMES[index % NAMES.length]!
    const silent = { 3: 'failed', 5: 'live' }[index]
    if (preview) dress(person, name, 'camera:c1', { 'rongtong.kind': 'camera', 'rongtong.state': 'live' })
    else if (wall) dress(person, `摄像机 ${index}`, `camera:${['c7', 'c9', 'c1', 'c4'][index] ?? index}`, { 'rongtong.kind': 'camera', 'rongtong.state': 'live' })
    else if (name === '东门枪机') dress(person, name, 'camera:c1', { 'rongtong.kind': 'camera', 'rongtong.state': 'live' })
    else if (name === '北侧球机') dress(person, name, 'camera:c2', { 'rongtong.kind': 'camera', 'rongtong.state': 'failed', 'rongtong.reason': '连接 192.168.1.64:554 超时,请检查电源和网线' })
    else dress(person, name, null)
    // The simulation calls its pictures audio.
    for (const [sid, publication] of person.trackPublications) {
      if (publication.track?.kind !== Track.Kind.Video) continue
      publication.kind = Track.Kind.Video
      person.audioTrackPublications.delete(sid)
      person.videoTrackPublications.set(sid, publication as RemoteTrackPublication)
    }
    if (!preview && (silent === undefined ? index % 4 === 2 : false)) person.videoTrackPublications.clear()
    if (index === 5) person.videoTrackPublications.clear()
    if (index === 1) person.isSpeaking = true
    person.setConnectionQuality(index % 3 === 0 ? 1 : 2)
    index++
  }
  room.emit(RoomEvent.ParticipantMetadataChanged, undefined, room.localParticipant)
  if (!preview && count > 1) room.emit(RoomEvent.ActiveSpeakersChanged, [...room.remoteParticipants.values()].slice(1, 2))
}
