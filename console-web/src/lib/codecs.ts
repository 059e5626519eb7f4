/** Whether this browser can send H.264; true where it cannot be asked. */
export function sendsH264(): boolean {
  if (typeof RTCRtpSender === 'undefined') return true
  const codecs = RTCRtpSender.getCapabilities('video')?.codecs ?? []
  return codecs.some((codec) => codec.mimeType.toLowerCase() === 'video/h264')
}
