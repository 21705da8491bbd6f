/** A Worker of a service that loads its code, and then does not serve. */

import { serveOnce } from "../../src/domain/worker.ts";

serveOnce(() => {
  throw new RangeError("as it is");
});
