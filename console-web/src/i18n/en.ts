import type { Messages } from './zh'

const en: Messages = {
  app: { name: 'Rongtong', tagline: 'Real-time media and dispatch' },
  nav: {
    rooms: 'Rooms', cameras: 'Cameras', recordings: 'Recordings', people: 'People', audit: 'Audit', system: 'System', more: 'More',
    main: 'Main navigation', skip: 'Skip to content',
  },
  common: {
    cancel: 'Cancel', save: 'Save', delete: 'Delete', edit: 'Edit', create: 'Create', close: 'Close', confirm: 'OK', copy: 'Copy',
    copied: 'Copied', retry: 'Try again', refresh: 'Refresh', search: 'Search', all: 'All', loadMore: 'Load more', actions: 'Actions', none: 'None',
    name: 'Name', state: 'State', createdAt: 'Created', theme: 'Switch light / dark', themeDark: 'Dark', themeLight: 'Light', language: 'Language',
    yes: 'Yes', no: 'No', from: 'From', to: 'To', total: '{n} in all', more: 'More actions', download: 'Download', fullscreen: 'Full screen', done: 'Done', back: 'Back',
  },
  errors: {
    title: 'That did not work', trace: 'Trace id', code: 'Code',
    unreachable: 'The server cannot be reached. Check the network and try again.',
    server_error: 'The server failed. Try again; if it persists, give the trace id to an administrator.',
    forbidden: 'You are not allowed to do this.', not_found: 'It does not exist, or was deleted.',
    unauthenticated: 'You are signed out. Please sign in again.', bad_credentials: 'Wrong account or password.', locked: 'Too many attempts. Try again in {n} s.',
    unknown: 'It was not done ({code}).',
  },
  signin: {
    title: 'Sign in', account: 'Account', password: 'Password', submit: 'Sign in', expired: 'Your session has expired. Please sign in again.', signedOut: 'You are signed out.',
    accountRequired: 'Enter your account', passwordRequired: 'Enter your password', signOut: 'Sign out',
  },
  password: {
    title: 'Change password', forced: 'Set a new password first: this is your first sign-in, or it was reset.', old: 'Current password', new: 'New password', again: 'New password again',
    rule: 'At least 10 characters, three of upper case, lower case, digits and symbols, and not the account.', mismatch: 'The two are not the same', weak: 'The new password is too weak', changed: 'Password changed',
    submit: 'Change and go on',
  },
  role: { admin: 'Administrator', dispatcher: 'Dispatcher', member: 'Member' },
  rooms: {
    title: 'Rooms', create: 'New room', name: 'Room name', codec: 'Video codecs', codecPrefer: 'Prefer H.264', codecH264: 'H.264 only', codecAny: 'Any',
    codecPreferHint: 'H.264 wherever a device can, VP8 where it cannot; recommended', codecH264Hint: 'Works with room systems, cameras and recordings; devices without it cannot publish video', codecAnyHint: 'Browsers may also use VP8; some devices may see nothing',
    participants: '{n} in the room', nobody: 'Nobody', recording: 'Recording', join: 'Join', empty: 'No rooms yet', emptyHint: 'Create a room and bring people and cameras together.',
    emptyMember: 'Rooms appear here when a dispatcher creates them.', deleteTitle: 'Delete room', deleteText: 'This deletes the room “{title}” ({name}); the {n} in it will be put out. Recordings stay.',
    deleted: 'Deleted', copyLink: 'Copy link', rename: 'Edit', search: 'Find by name', titleRequired: 'Enter a name', createdBy: '{who}, {when}',
  },
  meet: {
    prejoin: 'Ready to join', prejoinHint: 'Choose microphone and camera, then join.', join: 'Join', joinWithout: 'Join without microphone and camera', micOn: 'Microphone on', micOff: 'Microphone off', camOn: 'Camera on', camOff: 'Camera off',
    mic: 'Microphone', cam: 'Camera', speaker: 'Speaker', noDevice: 'No device found', camIsOff: 'Camera is off', displayName: 'Your name in the room',
    denied: 'The browser did not allow the microphone or camera. Allow them beside the address bar and try again, or join without.',
    busy: 'Another program uses the device. Close it and try again.', insecure: 'This is not a secure connection (HTTPS); the browser allows no microphone or camera. You can watch.', deviceMissing: 'No microphone or camera found. You can join without.',
    noH264: 'This browser cannot send H.264, which this room asks for. Others may not see you.',
    share: 'Share screen', shareStop: 'Stop sharing', layout: 'Layout', people: 'People', cameras: 'Cameras', record: 'Record', recordStop: 'Stop recording', leave: 'Leave', settings: 'Devices',
    recordingFor: 'Recording {time}', grid: '{n} panes', focus: 'Speaker', pin: 'Pin', unpin: 'Unpin', fit: 'Fit', fill: 'Fill', you: '(me)', screenOf: "{name}'s screen",
    mutedMic: 'Muted', speaking: 'Speaking', page: 'Page {page} of {pages}', prev: 'Previous page', next: 'Next page',
    connecting: 'Connecting', connectingStep: { token: 'Asking for admission', signal: 'Connecting to the server', media: 'Preparing audio and video' },
    waiting: 'Waiting for the picture', stopped: 'Stopped', noSignal: 'No signal', noSignalReason: 'No signal: {reason}', noVideo: 'Camera is off', paused: 'Network too slow, picture paused',
    undecodable: 'This browser cannot decode it ({codec})', undecodableSome: 'Some people cannot see this ({codec})', subscribeFailed: 'Cannot receive it: {reason}',
    reconnecting: 'Connection lost, reconnecting…', reconnected: 'Reconnected', alone: 'You are the only one here', aloneHint: 'Send the link to a colleague, or bring in a camera.',
    hear: 'The browser held back the sound: click to hear', failed: 'Could not join the room', rejoin: 'Join again', toRooms: 'Back to rooms',
    left: { title: 'You left the room', duplicate: 'You joined the same room elsewhere; this page was disconnected.', removed: 'The host removed you.', deleted: 'The room was deleted.', shutdown: 'The server is stopping or restarting.', client: 'You left.', other: 'The connection was lost and did not come back.' },
    mute: 'Mute', muteCam: 'Turn picture off', remove: 'Remove from the room', removeText: '“{name}” will be removed from the room.', bringCamera: 'Bring a camera into the room', cameraIn: 'In the room', cameraOut: 'Remove', bring: 'Bring in', noCameras: 'No cameras yet', menu: 'Menu of {name}',
    quality: { excellent: 'Good network', good: 'Fair network', poor: 'Poor network', lost: 'Network lost', unknown: 'Network unknown' },
    shortcuts: 'Keyboard shortcuts', keys: { mic: 'Microphone on / off', cam: 'Camera on / off', share: 'Share screen', layout: 'Next layout', people: 'People', cameras: 'Cameras', record: 'Record', full: 'Full screen', page: 'Turn the page', help: 'Show shortcuts', pin: 'Pin / unpin the focused pane' },
    camState: { idle: 'Idle', connecting: 'Connecting to the camera', live: 'Live', failed: 'No signal', disabled: 'Disabled' },
    needEngine: '{codec} needs the media engine to be watched in a room. It is still recorded.', mutedByHost: 'Muted', shareFailed: 'Could not share the screen', micDenied: 'The microphone cannot be used', camDenied: 'The camera cannot be used', inRoom: '{n} people',
  },
  cameras: {
    title: 'Cameras', add: 'Add camera', edit: 'Edit camera', url: 'Stream address', urlHint: 'e.g. rtsp://192.168.1.64:554/Streaming/Channels/101; user and password go below', username: 'User', password: 'Password', passwordKeep: 'Saved; leave empty to keep',
    transport: 'Transport', tcp: 'TCP (recommended)', udp: 'UDP', keep: 'Keep pulling', keepHint: 'Stays connected with nobody watching: opens faster, uses bandwidth.', test: 'Test', testing: 'Testing…', testPassword: 'The test does not use the saved password: enter it again first.', disable: 'Disable', enable: 'Enable', testOk: 'The test passed', testFailed: 'The test failed', advice: 'Advice',
    step: { resolve: 'Resolve address', connect: 'Connect', describe: 'Ask for media', setup: 'Agree on transport', play: 'Start playing', first_frame: 'First frame' },
    preview: 'Preview', snapshot: 'Snapshot', record: 'Record now', recordStarted: 'Recording “{name}”', recordStop: 'Stop recording', empty: 'No cameras yet', emptyHint: 'Add the first RTSP camera; the test says which step fails.', emptyMember: 'Cameras appear here when a dispatcher adds them.',
    state: { idle: 'Idle', connecting: 'Connecting', live: 'Live', failed: 'Failed', disabled: 'Disabled' }, since: 'since {time}', lastBreak: 'The stream changed under way: {what} ({time})', channels: '{n} channels',
    media: 'Media', rooms: 'In rooms', deleteTitle: 'Delete camera', deleteText: 'This deletes the camera “{name}” with its saved password and takes it out of {n} rooms. Recordings stay.', search: 'Find by name or address', nameRequired: 'Enter a name', urlRequired: 'Enter an address that starts with rtsp://',
    snapshotNone: 'No picture yet', saved: 'Saved', viewers: 'Watching only',
  },
  gb: {
    title: 'GB/T 28181 devices', devices: 'Registered devices', empty: 'No device has registered yet', emptyHint: 'Set this platform’s address, code and password on the device; it appears here once it has registered.',
    online: 'Online', offline: 'Offline', channelCount: '{n} channels', refresh: 'Ask again', refreshed: 'The device was asked for its catalog', noChannels: 'No channel with a picture', noChannelsHint: 'They appear once the device has said what it has; ask it again.',
    known: 'Added', add: 'Add {n} cameras', added: '{n} cameras added',
  },
  ptz: {
    title: 'PTZ', up: 'Up', down: 'Down', left: 'Left', right: 'Right', upLeft: 'Up left', upRight: 'Up right', downLeft: 'Down left', downRight: 'Down right',
    in: 'Zoom in', out: 'Zoom out', speed: 'Speed', preset: 'Preset', call: 'Go', set: 'Set',
  },
  playback: {
    title: "Device's recordings", day: 'Day', found: '{n} recordings', incomplete: 'The device did not list all; there may be more', kind: { time: 'Schedule', alarm: 'Alarm', manual: 'Manual' }, asking: 'Asking the device what it has recorded', opening: 'Getting the recording from the device',
    empty: 'The device has recorded nothing that day', emptyHint: "Choose another day, or check the device's schedule.", start: 'Play from the beginning', ended: 'Played to the end', oneSpeed: 'The device has one speed only', nearer: 'Zoom in', farther: 'Zoom out',
  },
  recordings: {
    title: 'Recordings', kind: { room: 'Room', camera: 'Camera' }, subject: 'Subject', started: 'Started', duration: 'Length', size: 'Size', tracks: 'Tracks',
    state: { recording: 'Recording', finished: 'Finished', recovered: 'Recovered' }, stateHint: { recording: 'Being written', finished: 'Complete', recovered: 'The server stopped abruptly; recovered up to the last fragment' },
    by: 'Recorded by', play: 'Play', pause: 'Pause', empty: 'No recordings', emptyHint: 'Press “Record” in a room or on a camera.', search: 'Find by title', range: 'Dates',
    deleteTitle: 'Delete recording', deleteText: 'This destroys “{title}” ({time}, {duration}, {size}, {n} tracks). It cannot be undone.', deleteButton: 'Delete for ever', deleted: 'Recording deleted', stop: 'Stop recording', speed: 'Speed', volume: 'Volume', mute: 'Mute',
    exportOnly: 'Export only', notStarted: 'Not started yet', ended: 'Ended', buffering: 'Buffering', trackFailed: 'This track cannot be played', noPlayable: 'No picture that the browser can play', audioOnly: 'Sound only', seek: 'Time axis', back10: 'Back 10 s', forward10: 'Forward 10 s', source: { camera: 'Camera', microphone: 'Microphone', screen_share: 'Screen', screen_share_audio: 'Screen sound' },
    video: 'Video', audio: 'Audio', info: 'Tracks', start: 'Starts', note: 'Note', drift: 'Largest offset {n} ms', position: '{at} / {total}',
  },
  people: {
    title: 'People', add: 'Add person', edit: 'Edit person', account: 'Account', name: 'Name', role: 'Role', disabled: 'Disabled', enabled: 'Active', disable: 'Disable', enable: 'Enable', reset: 'Reset password',
    roleHint: { admin: 'Everything', dispatcher: 'Rooms, cameras, recordings', member: 'Join rooms, watch cameras' }, resetText: 'The current password of “{name}” stops working and a one-time password is shown.', oneTime: 'One-time password', oneTimeHint: 'Shown only this once. Give it to “{name}” in person or by a trusted way; it must be changed at first sign-in.',
    deleteTitle: 'Delete person', deleteText: 'This deletes “{name}” ({account}) and ends their sessions. Audit rows stay.', disableText: '“{name}” will be disabled and signed out.', lastSignIn: 'Last sign-in', search: 'Find by name or account', passwordHint: 'Leave empty for a one-time password', accountRequired: '2–64 letters, digits or . _ -', nameRequired: 'Enter a name', never: 'Never', self: 'This is you', empty: 'Nobody found',
  },
  audit: { title: 'Audit', time: 'Time', actor: 'Who', action: 'Action', object: 'Object', result: 'Result', detail: 'Detail', address: 'Address', seq: 'No.', empty: 'No rows match', ok: 'Done', failed: 'Failed', denied: 'Denied', chain: 'Every row is chained to the one before by SM3; a change shows.' },
  system: { title: 'System', version: 'Version', uptime: 'Uptime', node: 'Node', rooms: 'Rooms', participants: 'Participants', tracks: 'Tracks', storage: 'Storage', used: 'Used', free: 'Free', indicators: 'Indicators', indicator: 'Indicator', value: 'Value', help: 'Meaning', updated: 'Updated {time}', days: '{n} d ', live: 'Auto refresh' },
  reason: {
    auth_failed: 'The camera refused the user name or password', bad_packets: 'The media packets of the camera are broken', bad_description: 'The session description (SDP) of the camera cannot be used', closed: 'The camera closed the connection', cut_off: 'The camera cuts its sessions off after a time', internal: 'An internal error of the server', login_required: 'The camera asks for a login, and none is stored', login_unsupported: 'The camera asks for a login in a way that is not supported', no_usable_track: 'The stream has no usable video or audio', not_found: 'The camera has no stream at this path',
    protocol_error: 'The camera broke the RTSP protocol', resolve_failed: 'The host name cannot be resolved', rubbish: 'What the peer sends is not RTSP or RTP', silent: 'Connected, but no media arrives', timeout: 'The camera did not answer', transport_refused: 'The camera refuses the chosen transport', unreachable: 'The camera cannot be reached',
  },
  note: {
    'b-frames': 'B-frames: recorded; a room needs the media engine', h265: 'H.265: recorded; a room needs the media engine, some browsers replay it', interlaced: 'Interlaced: recorded; a room needs the media engine', profile: 'H.264 profile that browsers lack: recorded', aac: 'AAC: recorded; a room needs the media engine', g722: 'G.722: not recorded yet; a room needs the media engine', 'audio-rate': 'G.711 that is not 8 kHz mono: recorded; a room needs the media engine', unsupported: 'This codec is neither shown nor recorded: set the camera to H.264, H.265 or G.711, AAC',
    has_copy: 'Has a copy that plays', export_only: 'Export only', not_recorded: 'This codec was not recorded',
  },
  break: {
    clock_rate: 'clock rate', codec: 'codec', payload_type: 'payload type', sequence: 'RTP sequence numbers', size: 'picture size', ssrc: 'SSRC', timestamp: 'RTP timestamps',
  },
}

export default en
