/** Where the code of Workers and processes is. A bundle replaces this file: there everything is in one. */

/** The module of each kind of Worker, and the program of a device model's process. */
export const WORKER_URLS = {
  carrier: new URL("./carrier_worker.ts", import.meta.url).href,
  dispatcher: new URL("./dispatcher_worker.ts", import.meta.url).href,
  model: new URL("./model_worker.ts", import.meta.url).href,
  pager: new URL("./pager_worker.ts", import.meta.url).href,
  xen: new URL("./xen_worker.ts", import.meta.url).href,
  gate: new URL("./gate_worker.ts", import.meta.url).href,
  process: new URL("./model_process.ts", import.meta.url).href,
} as const;

/** Those of the program, or of another generation of it. */
export type WorkerUrls = Readonly<Record<keyof typeof WORKER_URLS, string>>;
