import { CircleCheckFilled, RefreshLeft, VideoCameraFilled } from '@element-plus/icons-vue'
import type { Component } from 'vue'
import type { Recording } from '@/api/types'
import type { Tone } from '@/components/StateTag.vue'

export const recordingLook: Record<Recording['state'], { tone: Tone; icon: Component }> = {
  recording: { tone: 'bad', icon: VideoCameraFilled },
  finished: { tone: 'ok', icon: CircleCheckFilled },
  recovered: { tone: 'warn', icon: RefreshLeft },
}
