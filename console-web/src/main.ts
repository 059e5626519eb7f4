import { createPinia } from 'pinia'
import { createApp } from 'vue'
import { onUnauthenticated, setAttended } from '@/api/http'
import App from '@/App.vue'
import { i18n, savedLocale, setLocale } from '@/i18n'
import { followAttendance } from '@/lib/attended'
import { router } from '@/router'
import { useSession } from '@/stores/session'
import '@/styles/base.css'

const app = createApp(App).use(createPinia()).use(i18n)

// Walls, meetings, previews and the map are watched for hours without a touch.
const plays = () => [...document.querySelectorAll('video')].some((video) => !video.paused)
setAttended(followAttendance(() => router.currentRoute.value.name === 'map' || plays()))

onUnauthenticated(() => {
  const session = useSession()
  if (!session.known || !session.person) return
  session.drop(true)
  const here = router.currentRoute.value
  if (!here.meta.open) void router.push({ name: 'signin', query: { next: here.fullPath } })
})

// After the server was renewed an open page asks for parts that are no more: start afresh, but not in a circle.
window.addEventListener('vite:preloadError', (event) => {
  const last = Number(sessionStorage.getItem('rongtong.reloaded') ?? 0)
  if (Date.now() - last < 30_000) return
  event.preventDefault()
  sessionStorage.setItem('rongtong.reloaded', String(Date.now()))
  location.reload()
})

void setLocale(savedLocale()).then(() => app.use(router).mount('#app'))
