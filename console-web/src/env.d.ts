/// <reference types="vite/client" />
declare module '*.vue' {
  import type { DefineComponent } from 'vue'
  const component: DefineComponent<object, object, unknown>
  export default component
}

/** What end-to-end tests may read from a running page. */
interface RongtongHandle {
  room?: import('livekit-client').Room
  player?: {
    readonly duration: number
    readonly position: number
    seek(seconds: number): void
    readonly elements: HTMLMediaElement[]
  }
}

interface Window {
  __rongtong?: RongtongHandle
}
