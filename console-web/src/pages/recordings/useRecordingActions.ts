/** What one does with a recording besides watching it; each asks first where it destroys. */
import { useI18n } from 'vue-i18n'
import { recordings as api } from '@/api/endpoints'
import type { Recording } from '@/api/types'
import { confirmed, done, failed } from '@/components/notify'
import { bytes, clock, dateTime } from '@/lib/format'

export function useRecordingActions() {
  const { t } = useI18n()

  function download(recording: Recording): void {
    const link = document.createElement('a')
    link.href = api.downloadUrl(recording.id)
    link.download = ''
    link.click()
  }

  async function remove(recording: Recording): Promise<boolean> {
    const text = t('recordings.deleteText', {
      title: recording.title,
      time: dateTime(recording.started_at),
      duration: clock(recording.duration_ms / 1000),
      size: bytes(recording.bytes),
      n: recording.tracks.length,
    })
    if (!(await confirmed(t('recordings.deleteTitle'), text, t('recordings.deleteButton')))) return false
    try {
      await api.remove(recording.id)
      done(t('recordings.deleted'))
      return true
    } catch (error) {
      failed(error)
      return false
    }
  }

  async function stop(recording: Recording): Promise<void> {
    try {
      await api.stop(recording.id)
    } catch (error) {
      failed(error)
    }
  }

  return { download, remove, stop }
}
