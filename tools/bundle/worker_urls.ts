/** In a bundle every Worker is the bundle itself (stands in for src/domain/worker_urls.ts). */

export const WORKER_URLS = { carrier: import.meta.url, model: import.meta.url } as const;
