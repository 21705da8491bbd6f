/** The Worker that runs a dispatcher. */

import { dispatch } from "./dispatcher.ts";
import { serveOnce } from "./worker.ts";

serveOnce(dispatch);
