/** A Worker of a service that says that it serves, and then is in an endless loop. */

import { serveOnce } from "../../src/domain/worker.ts";

serveOnce((_, report) => {
  report({ kind: "ready" });
  for (;;);
});
