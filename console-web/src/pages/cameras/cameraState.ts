/** How a camera's state looks: shape, tone, and whether it turns. */
import { CircleCheckFilled, CircleCloseFilled, Loading, RemoveFilled, VideoPause } from '@element-plus/icons-vue'
import type { Component } from 'vue'
import type { CameraState } from '@/api/types'
import type { Tone } from '@/components/StateTag.vue'

export const cameraLook: Record<CameraState, { tone: Tone; icon: Component; spin?: boolean }> = {
  idle: { tone: 'idle', icon: VideoPause },
  connecting: { tone: 'warn', icon: Loading, spin: true },
  live: { tone: 'ok', icon: CircleCheckFilled },
  failed: { tone: 'bad', icon: CircleCloseFilled },
  disabled: { tone: 'idle', icon: RemoveFilled },
}
