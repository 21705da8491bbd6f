/** What tests of the user network need. */

import { SLIRP_LIBRARY, SLIRP_PACKAGE } from "../../src/devices/slirp.ts";
import { library } from "./capabilities.ts";

/** The library that makes it. */
export const LIBSLIRP = library(SLIRP_LIBRARY, SLIRP_PACKAGE);
