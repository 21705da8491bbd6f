/** The Worker that is the pager. */

import { page } from "./pager.ts";
import { serveOnce } from "./worker.ts";

serveOnce(page);
