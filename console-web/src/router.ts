/** The places of the console. The address says where one is; pages come when they are visited. */
import { createRouter, createWebHistory, type RouteRecordRaw } from 'vue-router'
import type { Role } from '@/api/types'
import { useSession } from '@/stores/session'
import { useUi, type Place } from '@/stores/ui'

declare module 'vue-router' {
  interface RouteMeta {
    place?: Place
    open?: boolean
    roles?: Role[]
    title?: string
  }
}

const dispatch: Role[] = ['admin', 'dispatcher']
const admin: Role[] = ['admin']

const routes: RouteRecordRaw[] = [
  { path: '/signin', name: 'signin', component: () => import('@/pages/signin/SignInPage.vue'), meta: { open: true, title: 'signin.title' } },
  { path: '/password', name: 'password', component: () => import('@/pages/signin/PasswordPage.vue'), meta: { title: 'password.title' } },
  { path: '/meet/:name', name: 'meet', component: () => import('@/pages/meet/MeetPage.vue'), meta: { place: 'wall', title: 'nav.rooms' } },
  {
    path: '/',
    component: () => import('@/layout/DeskLayout.vue'),
    children: [
      { path: '', redirect: { name: 'rooms' } },
      { path: 'rooms', name: 'rooms', component: () => import('@/pages/rooms/RoomsPage.vue'), meta: { title: 'nav.rooms' } },
      { path: 'cameras', name: 'cameras', component: () => import('@/pages/cameras/CamerasPage.vue'), meta: { title: 'nav.cameras' } },
      { path: 'wall', name: 'wall', component: () => import('@/pages/wall/WallPage.vue'), meta: { place: 'wall', title: 'nav.wall' } },
      { path: 'map', name: 'map', component: () => import('@/pages/map/MapPage.vue'), meta: { title: 'nav.map' } },
      { path: 'alarms', name: 'alarms', component: () => import('@/pages/alarms/AlarmsPage.vue'), meta: { title: 'nav.alarms' } },
      { path: 'recordings', name: 'recordings', component: () => import('@/pages/recordings/RecordingsPage.vue'), meta: { roles: dispatch, title: 'nav.recordings' } },
      { path: 'recordings/:id', name: 'recording', component: () => import('@/pages/recordings/PlayerPage.vue'), meta: { roles: dispatch, title: 'nav.recordings' } },
      { path: 'people', name: 'people', component: () => import('@/pages/people/PeoplePage.vue'), meta: { roles: admin, title: 'nav.people' } },
      { path: 'audit', name: 'audit', component: () => import('@/pages/audit/AuditPage.vue'), meta: { roles: admin, title: 'nav.audit' } },
      { path: 'system', name: 'system', component: () => import('@/pages/system/SystemPage.vue'), meta: { roles: admin, title: 'nav.system' } },
    ],
  },
  { path: '/:rest(.*)*', redirect: { name: 'rooms' } },
]

export const router = createRouter({ history: createWebHistory(), routes })

/** Only addresses inside the console are taken back after sign-in. */
export function safeNext(value: unknown): string {
  return typeof value === 'string' && value.startsWith('/') && !value.startsWith('//') && !value.startsWith('/signin') ? value : '/rooms'
}

router.beforeEach(async (to) => {
  const session = useSession()
  await session.load()
  if (to.meta.open) return session.person && !session.mustChange ? safeNext(to.query.next) : true
  if (!session.person) return { name: 'signin', query: { next: to.fullPath === '/' ? undefined : to.fullPath } }
  if (session.mustChange && to.name !== 'password') return { name: 'password', query: { next: to.fullPath } }
  if (to.meta.roles && !to.meta.roles.includes(session.person.role)) return { name: 'rooms' }
  return true
})

router.afterEach((to) => {
  useUi().place = to.meta.place ?? 'desk'
})
