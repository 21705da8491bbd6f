/** The Worker that a domain gets when its guest uses Xen. */

import { serveOnce } from "./worker.ts";
import { serveXen } from "./xen_service.ts";

serveOnce(serveXen);
