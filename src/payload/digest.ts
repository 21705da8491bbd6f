/** SHA-256 as the payloads write it: 64 hexadecimal digits. */

const encoder = new TextEncoder();

/** The digest of bytes, or of a text in UTF-8. */
export async function sha256(content: Uint8Array<ArrayBuffer> | string): Promise<string> {
  const bytes = typeof content === "string" ? encoder.encode(content) : content;
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
