/** Where the Workers' code is. A bundle replaces this file: there everything is in one. */

/** The module of each kind of Worker. */
export const WORKER_URLS = {
  carrier: new URL("./carrier_worker.ts", import.meta.url).href,
  dispatcher: new URL("./dispatcher_worker.ts", import.meta.url).href,
  model: new URL("./model_worker.ts", import.meta.url).href,
  pager: new URL("./pager_worker.ts", import.meta.url).href,
  xen: new URL("./xen_worker.ts", import.meta.url).href,
  gate: new URL("./gate_worker.ts", import.meta.url).href,
} as const;
