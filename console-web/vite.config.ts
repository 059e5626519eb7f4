import { fileURLToPath, URL } from 'node:url'
import vue from '@vitejs/plugin-vue'
import Components from 'unplugin-vue-components/vite'
import { ElementPlusResolver } from 'unplugin-vue-components/resolvers'
import { defineConfig } from 'vite'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

// `--mode mock` serves the pages against mock/server.mjs, with a meeting made up in the
// page. Nothing of it is reachable from the production build.
export default defineConfig(({ mode }) => {
  const mock = mode === 'mock'
  const backend = process.env.RONGTONG_BACKEND ?? (mock ? 'http://127.0.0.1:7900' : 'http://127.0.0.1:7880')
  return {
    plugins: [
      vue(),
      Components({ dirs: [], dts: false, resolvers: [ElementPlusResolver({ importStyle: 'css' })] }),
    ],
    resolve: {
      alias: [
        ...(mock ? [{ find: '@/pages/meet/connect', replacement: here('./mock/connect.ts') }] : []),
        { find: '@', replacement: here('./src') },
      ],
    },
    build: {
      target: 'es2022',
      assetsInlineLimit: 2048,
      chunkSizeWarningLimit: 700,
      reportCompressedSize: false,
    },
    server: {
      proxy: {
        '/api': { target: backend, secure: false },
        '/rtc': { target: backend, secure: false, ws: true },
      },
    },
    test: { environment: 'node', include: ['test/**/*.test.ts'] },
  } as never
})
