/** In a bundle every Worker and process is the bundle itself (stands in for src/domain/worker_urls.ts). */

const here = import.meta.url;
export const WORKER_URLS = {
  carrier: here,
  dispatcher: here,
  model: here,
  pager: here,
  xen: here,
  gate: here,
  process: here,
} as const;
export type WorkerUrls = Readonly<Record<keyof typeof WORKER_URLS, string>>;
