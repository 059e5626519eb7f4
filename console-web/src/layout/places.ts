/** The places of the navigation, in the order of a working day. */
import { Bell, Document, Grid, MapLocation, Monitor, Setting, User, VideoCamera, VideoPlay } from '@element-plus/icons-vue'
import type { Component } from 'vue'
import type { Role } from '@/api/types'

export interface PlaceItem {
  name: 'rooms' | 'cameras' | 'wall' | 'map' | 'alarms' | 'recordings' | 'people' | 'audit' | 'system'
  icon: Component
  roles?: Role[]
}

export const places: PlaceItem[] = [
  { name: 'rooms', icon: VideoCamera },
  { name: 'cameras', icon: Monitor },
  { name: 'wall', icon: Grid },
  { name: 'map', icon: MapLocation },
  { name: 'alarms', icon: Bell },
  { name: 'recordings', icon: VideoPlay, roles: ['admin', 'dispatcher'] },
  { name: 'people', icon: User, roles: ['admin'] },
  { name: 'audit', icon: Document, roles: ['admin'] },
  { name: 'system', icon: Setting, roles: ['admin'] },
]
