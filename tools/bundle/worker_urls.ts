/** In a bundle every Worker is the bundle itself (stands in for src/domain/worker_urls.ts). */

const here = import.meta.url;
export const WORKER_URLS = {
  carrier: here,
  dispatcher: here,
  model: here,
  pager: here,
  xen: here,
  gate: here,
} as const;
