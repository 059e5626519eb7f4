/** The master list of words; English must have the same keys (checked by the compiler). */
const zh = {
  app: { name: '融通', tagline: '实时音视频指挥调度平台' },
  nav: {
    rooms: '会商', cameras: '监控', recordings: '录像', people: '人员', audit: '审计', system: '系统', more: '更多',
    main: '主导航', skip: '跳到正文',
  },
  common: {
    cancel: '取消', save: '保存', delete: '删除', edit: '编辑', create: '新建', close: '关闭', confirm: '确定', copy: '复制',
    copied: '已复制', retry: '重试', refresh: '刷新', search: '搜索', all: '全部', loadMore: '加载更多', actions: '操作', none: '无',
    name: '名称', state: '状态', createdAt: '创建时间', theme: '切换深浅色', themeDark: '深色', themeLight: '浅色', language: '语言',
    yes: '是', no: '否', from: '开始', to: '结束', total: '共 {n} 项', more: '更多操作', download: '下载', fullscreen: '全屏', done: '完成', back: '返回',
  },
  errors: {
    title: '没有成功', trace: '追踪号', code: '错误码',
    unreachable: '连不上服务器，请检查网络后重试。',
    server_error: '服务器出错了，请稍后重试;若反复出现，请把追踪号告诉管理员。',
    forbidden: '你没有权限做这件事。', not_found: '要找的内容不存在，可能已被删除。',
    unauthenticated: '登录已失效，请重新登录。', bad_credentials: '账号或密码不正确。', locked: '尝试次数过多，请在 {n} 秒后再试。',
    unknown: '操作没有完成({code})。',
  },
  signin: {
    title: '登录', account: '账号', password: '密码', submit: '登录', expired: '登录已过期，请重新登录。', signedOut: '已退出登录。',
    accountRequired: '请输入账号', passwordRequired: '请输入密码', signOut: '退出登录',
  },
  password: {
    title: '修改密码', forced: '首次登录或密码被重置后，请先设置新密码。', old: '当前密码', new: '新密码', again: '再次输入新密码',
    rule: '至少 10 个字符，含大写、小写、数字、符号中的三类，且不能与账号相同。', mismatch: '两次输入不一致', weak: '新密码不符合要求', changed: '密码已修改',
    submit: '修改并继续',
  },
  role: { admin: '管理员', dispatcher: '调度员', member: '成员' },
  rooms: {
    title: '会商室', create: '新建会商室', name: '会商室名称', codec: '视频编码策略', codecPrefer: '优先 H.264', codecH264: '仅 H.264', codecAny: '不限',
    codecPreferHint: '能用 H.264 就用，不支持的设备可用 VP8；推荐', codecH264Hint: '与会议终端、摄像机和录像通用；不支持的设备不能发布视频', codecAnyHint: '浏览器也可用 VP8,部分终端可能看不到',
    participants: '{n} 人在会', nobody: '无人', recording: '录制中', join: '进入', empty: '还没有会商室', emptyHint: '新建一个会商室，把人和摄像机拉到一起。',
    emptyMember: '调度员建好会商室后会出现在这里。', deleteTitle: '删除会商室', deleteText: '将删除会商室“{title}”({name}),在会的 {n} 人会被请出。已有录像不受影响。',
    deleted: '已删除', copyLink: '复制链接', rename: '编辑', search: '按名称查找', titleRequired: '请输入名称', createdBy: '{who} 建于 {when}',
  },
  meet: {
    prejoin: '准备进入', prejoinHint: '选择麦克风和摄像头，确认后进入。', join: '进入会商', joinWithout: '不带麦克风和摄像头进入', micOn: '打开麦克风', micOff: '关闭麦克风', camOn: '打开摄像头', camOff: '关闭摄像头',
    mic: '麦克风', cam: '摄像头', speaker: '扬声器', noDevice: '没有找到设备', camIsOff: '摄像头已关闭', displayName: '在会中的名字',
    denied: '浏览器没有允许使用麦克风或摄像头，请在地址栏左侧的权限里允许后重试，或不带设备进入。',
    busy: '设备被其他程序占用，请关闭它后重试。', insecure: '当前不是安全连接(HTTPS),浏览器不允许使用麦克风和摄像头，只能观看。', deviceMissing: '没有找到麦克风或摄像头，可以不带设备进入。',
    noH264: '这个浏览器不能发送 H.264,本会商室要求 H.264,别人可能看不到你的画面。',
    share: '共享屏幕', shareStop: '停止共享', layout: '布局', people: '人员', cameras: '摄像机', record: '录制', recordStop: '停止录制', leave: '离开', settings: '设备',
    recordingFor: '录制中 {time}', grid: '{n} 画面', focus: '演讲者', pin: '固定', unpin: '取消固定', fit: '完整显示', fill: '铺满', you: '(我)', screenOf: '{name} 的屏幕',
    mutedMic: '已静音', speaking: '正在发言', page: '第 {page} / {pages} 页', prev: '上一页', next: '下一页',
    connecting: '正在连接', connectingStep: { token: '正在取得入会许可', signal: '正在连接服务器', media: '正在准备音视频' },
    waiting: '正在等待画面', stopped: '已停止', noSignal: '无信号', noSignalReason: '无信号:{reason}', noVideo: '没有打开摄像头', paused: '网络不足，画面暂停',
    undecodable: '此浏览器不能解码({codec})', undecodableSome: '部分人看不到此画面({codec})', subscribeFailed: '收不到这一路:{reason}',
    reconnecting: '连接中断，正在重新连接…', reconnected: '已重新连接', alone: '目前只有你一人', aloneHint: '把链接发给同事，或把摄像机请进来。',
    hear: '浏览器拦住了声音，点此收听', failed: '没能进入会商室', rejoin: '重新进入', toRooms: '回到会商列表',
    left: { title: '已离开会商', duplicate: '你在别处进入了同一会商室，这里已断开。', removed: '主持人已请你离开。', deleted: '会商室已被删除。', shutdown: '服务器正在停机或重启。', client: '你已离开。', other: '连接已断开，未能恢复。' },
    mute: '静音', muteCam: '关闭画面', remove: '请出会商室', removeText: '将把“{name}”请出会商室。', bringCamera: '把摄像机请进来', cameraIn: '已在会中', cameraOut: '移出', bring: '请入', noCameras: '还没有摄像机', menu: '{name} 的菜单',
    quality: { excellent: '网络很好', good: '网络一般', poor: '网络差', lost: '网络中断', unknown: '网络未知' },
    shortcuts: '快捷键', keys: { mic: '麦克风开关', cam: '摄像头开关', share: '共享屏幕', layout: '切换布局', people: '人员', cameras: '摄像机', record: '录制', full: '全屏', page: '翻页', help: '显示快捷键', pin: '固定 / 取消固定焦点处的画面' },
    camState: { idle: '空闲', connecting: '正在连接摄像机', live: '在线', failed: '无信号', disabled: '已停用' },
    needEngine: '{codec} 需要媒体引擎转码后才能在会中观看，录像不受影响。', mutedByHost: '已请对方静音', shareFailed: '没能共享屏幕', micDenied: '不能使用麦克风', camDenied: '不能使用摄像头', inRoom: '{n} 人',
  },
  cameras: {
    title: '摄像机', add: '添加摄像机', edit: '编辑摄像机', url: '取流地址', urlHint: '例:rtsp://192.168.1.64:554/Streaming/Channels/101,账号密码请填在下面', username: '用户名', password: '密码', passwordKeep: '已保存，留空则不改',
    transport: '传输方式', tcp: 'TCP(推荐)', udp: 'UDP', keep: '持续拉流', keepHint: '没有人看也保持连接，打开画面更快，占用带宽。', test: '测试', testing: '正在测试…', testPassword: '测试不用已保存的密码，请重新输入密码再测。', disable: '停用', enable: '启用', testOk: '测试通过', testFailed: '测试未通过', advice: '建议',
    step: { resolve: '解析地址', connect: '建立连接', describe: '询问媒体', setup: '协商传输', play: '开始播放', first_frame: '收到首帧' },
    preview: '预览', snapshot: '截图', record: '立即录制', recordStarted: '已开始录制“{name}”', recordStop: '停止录制', empty: '还没有摄像机', emptyHint: '添加第一路 RTSP 摄像机，测试会告诉你哪一步不通。', emptyMember: '调度员添加摄像机后会出现在这里。',
    state: { idle: '空闲', connecting: '连接中', live: '在线', failed: '失败', disabled: '已停用' }, since: '自 {time}', lastBreak: '码流中途变化：{what}（{time}）', channels: '{n} 声道',
    media: '媒体', rooms: '所在会商室', deleteTitle: '删除摄像机', deleteText: '将删除摄像机“{name}”及其保存的账号密码，并从 {n} 个会商室移出。已有录像不受影响。', search: '按名称或地址查找', nameRequired: '请输入名称', urlRequired: '请输入以 rtsp:// 开头的地址',
    snapshotNone: '还没有画面，不能截图', saved: '已保存', viewers: '仅观看',
  },
  gb: {
    title: '国标设备', devices: '已注册的设备', empty: '还没有国标设备注册', emptyHint: '在设备上填写本平台的地址、编码和密码，注册后会出现在这里。',
    online: '在线', offline: '离线', channelCount: '{n} 个通道', refresh: '刷新目录', refreshed: '已向设备查询目录', noChannels: '没有可用的视频通道', noChannelsHint: '设备上报目录后会出现在这里，可以刷新目录。',
    known: '已添加', add: '添加 {n} 路监控', added: '已添加 {n} 路监控',
  },
  ptz: {
    title: '云台', up: '向上', down: '向下', left: '向左', right: '向右', upLeft: '左上', upRight: '右上', downLeft: '左下', downRight: '右下',
    in: '放大', out: '缩小', speed: '速度', preset: '预置位', call: '调用', set: '设置',
  },
  playback: {
    title: '设备录像', day: '日期', found: '{n} 段录像', incomplete: '设备没有报全，可能还有其他录像', kind: { time: '定时', alarm: '报警', manual: '手动' }, asking: '正在向设备查询录像', opening: '正在从设备调取录像',
    empty: '这一天设备没有录像', emptyHint: '请选择其他日期，或检查设备的录像计划。', start: '从头播放', ended: '已播放完毕', oneSpeed: '设备不支持倍速，按原速播放', nearer: '放大时间轴', farther: '缩小时间轴',
  },
  recordings: {
    title: '录像', kind: { room: '会商', camera: '摄像机' }, subject: '对象', started: '开始时间', duration: '时长', size: '大小', tracks: '轨道',
    state: { recording: '录制中', finished: '已完成', recovered: '断电后恢复' }, stateHint: { recording: '正在写入', finished: '完整', recovered: '上次异常中断，已恢复到最后一个片段' },
    by: '录制人', play: '播放', pause: '暂停', empty: '没有录像', emptyHint: '在会商室或摄像机上点“录制”。', search: '按标题查找', range: '日期范围',
    deleteTitle: '删除录像', deleteText: '将永久删除“{title}”({time}，{duration}，{size}，{n} 条轨道),不能恢复。', deleteButton: '永久删除', deleted: '录像已删除', stop: '停止录制', speed: '倍速', volume: '音量', mute: '静音',
    exportOnly: '仅供导出', notStarted: '尚未开始', ended: '已结束', buffering: '正在缓冲', trackFailed: '这一路放不出来', noPlayable: '没有可在浏览器里播放的画面', audioOnly: '只有声音', seek: '时间轴', back10: '后退 10 秒', forward10: '前进 10 秒', source: { camera: '摄像头', microphone: '麦克风', screen_share: '屏幕', screen_share_audio: '屏幕声音' },
    video: '视频', audio: '音频', info: '轨道', start: '起点', note: '说明', drift: '最大偏差 {n} 毫秒', position: '{at} / {total}',
  },
  people: {
    title: '人员', add: '添加人员', edit: '编辑人员', account: '账号', name: '姓名', role: '角色', disabled: '已停用', enabled: '正常', disable: '停用', enable: '启用', reset: '重置密码',
    roleHint: { admin: '全部权限', dispatcher: '管理会商、摄像机、录像', member: '进入会商、观看摄像机' }, resetText: '将让“{name}”的当前密码失效，并给出一个一次性密码。', oneTime: '一次性密码', oneTimeHint: '只显示这一次。请当面或通过可靠渠道交给“{name}”，首次登录后必须修改。',
    deleteTitle: '删除人员', deleteText: '将删除“{name}”({account}),其登录立即失效。审计记录会保留。', disableText: '将停用“{name}”，其登录立即失效。', lastSignIn: '上次登录', search: '按姓名或账号查找', passwordHint: '留空则由系统生成一次性密码', accountRequired: '2–64 个字母、数字或 . _ -', nameRequired: '请输入姓名', never: '从未', self: '这是你自己', empty: '没有找到人员',
  },
  audit: { title: '审计', time: '时间', actor: '操作人', action: '动作', object: '对象', result: '结果', detail: '详情', address: '地址', seq: '序号', empty: '没有符合条件的记录', ok: '成功', failed: '失败', denied: '拒绝', chain: '每条记录都用 SM3 与上一条相链，改动会被发现。' },
  system: { title: '系统', version: '版本', uptime: '已运行', node: '节点', rooms: '会商室', participants: '在会人数', tracks: '轨道', storage: '存储', used: '已用', free: '可用', indicators: '指标', indicator: '指标', value: '当前值', help: '说明', updated: '更新于 {time}', days: '{n} 天 ', live: '自动刷新' },
  reason: {
    auth_failed: '摄像机拒绝了用户名或密码', bad_packets: '摄像机发来的媒体包已损坏', bad_description: '摄像机的会话描述（SDP）无法使用', closed: '摄像机断开了连接', cut_off: '摄像机每隔一段时间就切断会话', internal: '服务器内部错误', login_required: '摄像机要求登录，但没有填写用户名和密码', login_unsupported: '摄像机要求的登录方式不受支持', no_usable_track: '码流中没有可用的视频或音频', not_found: '摄像机上没有这个地址',
    protocol_error: '摄像机的应答不符合 RTSP 规范', resolve_failed: '无法解析主机名', rubbish: '对端发来的不是 RTSP/RTP', silent: '已连接，但没有媒体数据', timeout: '摄像机没有应答', transport_refused: '摄像机不支持所选的传输方式', unreachable: '连不上摄像机',
  },
  note: {
    'b-frames': '含 B 帧:可录像，进会商需要媒体引擎', h265: 'H.265:可录像，进会商需要媒体引擎;部分浏览器能回放', interlaced: '隔行扫描:可录像，进会商需要媒体引擎', profile: 'H.264 档次浏览器不支持:可录像', aac: 'AAC:可录像，进会商需要媒体引擎', g722: 'G.722:进会商需要媒体引擎，暂不录像', 'audio-rate': '非 8 kHz 单声道的 G.711:可录像，进会商需要媒体引擎', unsupported: '编码不支持，不进会商也不录像:请在摄像机上改用 H.264、H.265 或 G.711、AAC',
    has_copy: '另有可播放的副本', export_only: '仅供导出', not_recorded: '这种编码没有录下来',
  },
  break: {
    clock_rate: '时钟频率', codec: '编码', payload_type: '负载类型', sequence: 'RTP 序号', size: '画面尺寸', ssrc: 'SSRC', timestamp: 'RTP 时间戳',
  },
}

export default zh
export type Messages = typeof zh
