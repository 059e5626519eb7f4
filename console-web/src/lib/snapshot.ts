import { fileName } from './format'

/** Saves what a video element shows as a JPEG file; false when it shows nothing. */
export function savePicture(video: HTMLVideoElement | null | undefined, name: string): boolean {
  if (!video?.videoWidth) return false
  const canvas = document.createElement('canvas')
  canvas.width = video.videoWidth
  canvas.height = video.videoHeight
  canvas.getContext('2d')?.drawImage(video, 0, 0)
  canvas.toBlob((blob) => {
    if (!blob) return
    const link = document.createElement('a')
    link.href = URL.createObjectURL(blob)
    link.download = fileName(name, 'jpg')
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
  }, 'image/jpeg', 0.92)
  return true
}
