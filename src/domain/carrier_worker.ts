/** The Worker that runs a carrier. */

import { carry } from "./carrier.ts";
import { serveOnce } from "./worker.ts";

serveOnce(carry);
