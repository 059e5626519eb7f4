/** Single keys of the meeting page; silent while one types or a dialog asks something. */
import { onBeforeUnmount, onMounted } from 'vue'

export function useShortcuts(keys: Record<string, () => void>, active: (event: KeyboardEvent) => boolean): void {
  const press = (event: KeyboardEvent) => {
    if (!active(event) || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return
    const target = event.target as HTMLElement | null
    if (target?.closest('input, textarea, select, [contenteditable], .el-overlay-dialog, .el-dropdown-menu')) return
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key]
    if (!act) return
    event.preventDefault()
    act()
  }
  onMounted(() => window.addEventListener('keydown', press))
  onBeforeUnmount(() => window.removeEventListener('keydown', press))
}
