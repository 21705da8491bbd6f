/** Another rule by which an access finds its ioreq server: ids from low to high, where Xen goes from high to low. */

import { definePayload, edit, replace } from "xenolith/payload";

export default definePayload({
  name: "selection-rule",
  description: "Selects ioreq servers by ids from low to high",
  modules: {
    "src/ioreq/server_table.ts": edit(
      replace("let found = MAX_SERVERS - 1;", "let found = 0;"),
      replace(
        "while (found >= 0 && !this.#servers[found].claims(type, first, last)) found--;",
        "while (found < MAX_SERVERS && !this.#servers[found].claims(type, first, last)) found++;\n" +
          "      if (found === MAX_SERVERS) found = -1;",
      ),
    ),
  },
});
