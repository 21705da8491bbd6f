/** Signatures of payloads, with keys as openssl writes them. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { EINVAL, EPERM } from "../../src/linux/errno.ts";
import { decodePayload, encodePayload } from "../../src/payload/format.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";
import { parsePublicKey, signPayload, verifyPayload } from "../../src/payload/signature.ts";
import { PAYLOAD } from "./payloads.ts";

// openssl genpkey -algorithm ed25519; openssl pkey -pubout. The second key is another one, the third is of X25519.
const PRIVATE = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIELZ7OLUZmt4Fk2s+iQwgV6dW/tHlsBwYsifvwaVRz6L
-----END PRIVATE KEY-----
`;
const PUBLIC = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAbxYoy5RX+sGktYrL2i7O8n2XpqgOOmv0x3wVi6S5Dfg=
-----END PUBLIC KEY-----
`;
const OTHER_PUBLIC = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAvjH4zKCdb9mWWL3Non+WU/JgPig62cdQqaX5P8opv9g=
-----END PUBLIC KEY-----
`;
const X25519_PUBLIC = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VuAyEA7KWjXYsD7aGN+4ljfUaJ6sXyE3xlgrtDWEJCRBmWMAc=
-----END PUBLIC KEY-----
`;

const UNSIGNED = await encodePayload(PAYLOAD);
const SIGNED = await signPayload(UNSIGNED, "key.pem", PRIVATE);
const KEY = await parsePublicKey("own.pem", PUBLIC), OTHER = await parsePublicKey("other.pem", OTHER_PUBLIC);

function flipped(at: number): Uint8Array<ArrayBuffer> {
  return SIGNED.map((byte, index) => index === at ? byte ^ 1 : byte);
}

Deno.test("verifyPayload() names the key that signed; contents and build-id are as before", async () => {
  const [signed, unsigned] = [await decodePayload(SIGNED), await decodePayload(UNSIGNED)];
  assertEquals(await verifyPayload(signed, [OTHER, KEY]), KEY);
  assertEquals([signed.payload, signed.buildId], [unsigned.payload, unsigned.buildId]);
  assertEquals(SIGNED.length, UNSIGNED.length + 96);
});

Deno.test("signPayload() replaces a signature", async () => {
  assertEquals(await signPayload(SIGNED, "key.pem", PRIVATE), SIGNED); // Ed25519 signatures have nothing random
});

for (
  const [what, bytes, keys, line] of [
    [
      "an unsigned payload",
      UNSIGNED,
      [KEY, OTHER],
      /^fix-uart: not signed, where a signature by own.pem, other.pem is due$/,
    ],
    [
      "another key's",
      SIGNED,
      [OTHER],
      new RegExp(`^fix-uart: signed by key ${KEY.id}, which is not that of other.pem$`),
    ],
    ["a signature that was altered", flipped(SIGNED.length - 1), [KEY], /^fix-uart: wrongly signed: .* own.pem/],
    [
      "a signature by a key that says it is another",
      flipped(SIGNED.length - 96),
      [KEY],
      /^fix-uart: signed by key [0-9a-f]{64}, /,
    ],
  ] as const
) {
  Deno.test(`verifyPayload() refuses ${what}`, async () => {
    const error = await assertRejects(async () => await verifyPayload(await decodePayload(bytes), keys), PayloadError);
    assertEquals(error.errno, EPERM);
    assertMatch(error.message, line);
  });
}

Deno.test("a signature does not fit another payload", async () => {
  const other = await encodePayload({ ...PAYLOAD, author: "Somebody else" });
  const mixed = new Uint8Array([...other, ...SIGNED.slice(-96)]);
  const error = await assertRejects(async () => await verifyPayload(await decodePayload(mixed), [KEY]), PayloadError);
  assertMatch(error.message, /wrongly signed/);
});

for (
  const [what, work, line] of [
    [
      "a public key of another kind",
      () => parsePublicKey("k.pem", X25519_PUBLIC),
      /^k.pem: its PUBLIC KEY is not one of Ed25519$/,
    ],
    ["a private key for a public one", () => parsePublicKey("k.pem", PRIVATE), /^k.pem: has no PUBLIC KEY in PEM$/],
    [
      "a public key for a private one",
      () => signPayload(UNSIGNED, "k.pem", PUBLIC),
      /^k.pem: has no PRIVATE KEY in PEM$/,
    ],
    ["an empty file", () => parsePublicKey("k.pem", ""), /^k.pem: has no PUBLIC KEY in PEM$/],
    [
      "a damaged key",
      () => parsePublicKey("k.pem", PUBLIC.replace("MCow", "MCox")),
      /^k.pem: its PUBLIC KEY is not one of/,
    ],
    [
      "letters that are no base64",
      () => parsePublicKey("k.pem", PUBLIC.replace("MCow", "M*ow")),
      /^k.pem: its PUBLIC KEY is not/,
    ],
  ] as const
) {
  Deno.test(`keys: ${what} is refused`, async () => {
    const error = await assertRejects<PayloadError>(work, PayloadError);
    assertEquals(error.errno, EINVAL);
    assertMatch(error.message, line);
  });
}
