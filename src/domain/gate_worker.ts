/** The Worker that waits for the gate's sockets: the one thread that blocks for them. It reads and decodes nothing. */

import { GateWatch, type WatchReport, type WatchStart } from "./gate_watch.ts";

declare const self: Worker;

self.onmessage = ({ data: { words, doorbell } }: MessageEvent<WatchStart>) => {
  const report = (message: WatchReport) => self.postMessage(message);
  new GateWatch(words, doorbell).serve(report);
  report("stopped");
};
