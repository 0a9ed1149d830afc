// The build must give the same bytes on every machine: fixed names from content hashes, no source maps, no time stamps.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

const broker = process.env.CORK_HTTP ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [svelte()],
  base: './',
  build: {
    outDir: process.env.CORK_WEB_OUT ?? '../crates/http/assets',
    emptyOutDir: true,
    target: 'es2022',
    sourcemap: false,
    // The content security policy allows neither inline scripts nor `data:` fonts: everything is a file.
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: true,
  },
  server: {
    // Development only: pages from Vite, data from a broker (CORK_HTTP).
    proxy: Object.fromEntries(['/api', '/metrics', '/healthz', '/readyz'].map((path) => [path, { target: broker, ws: true }])),
  },
});
