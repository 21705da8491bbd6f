/** Who made a payload: Ed25519 signatures, with keys in the files that openssl(1) writes. */

import { EINVAL, EPERM } from "../linux/errno.ts";
import { sha256 } from "./digest.ts";
import { decodePayload, type PayloadFile, withSignature } from "./format.ts";
import { PayloadError } from "./payload_error.ts";

const ALGORITHM = "Ed25519";

/** A key whose signature is taken. */
export interface PayloadKey {
  /** Where it comes from, for messages. */
  readonly name: string;
  /** SHA-256 of the raw public key, in hexadecimal. */
  readonly id: string;
  readonly key: CryptoKey;
}

/**
 * A public key, as `openssl pkey -in key.pem -pubout` writes it (SPKI).
 *
 * @throws {PayloadError} EINVAL: it is none
 */
export async function parsePublicKey(name: string, pem: string): Promise<PayloadKey> {
  const key = await imported(name, pem, "PUBLIC KEY", "spki", "verify");
  return { name, id: await sha256(new Uint8Array(await crypto.subtle.exportKey("raw", key))), key };
}

/**
 * Signs a payload's file; another signature in it goes.
 *
 * @param pem a private key, as `openssl genpkey -algorithm ed25519` writes it (PKCS #8); `name` is its file's
 * @throws {PayloadError} EINVAL: no payload, or no such key
 */
export async function signPayload(bytes: Uint8Array<ArrayBuffer>, name: string, pem: string) {
  const file = await decodePayload(bytes);
  const key = await imported(name, pem, "PRIVATE KEY", "pkcs8", "sign");
  const { x } = await crypto.subtle.exportKey("jwk", key);
  const keyId = await sha256(Uint8Array.fromBase64(x!, { alphabet: "base64url" }));
  const value = new Uint8Array(await crypto.subtle.sign(ALGORITHM, key, file.signedBytes));
  return withSignature(file, { keyId, value });
}

/**
 * Whether one of these keys signed the payload.
 *
 * @returns the key that did
 * @throws {PayloadError} EPERM: it is not signed, by another key, or wrongly
 */
export async function verifyPayload(file: PayloadFile, keys: readonly PayloadKey[]): Promise<PayloadKey> {
  const { signature, signedBytes } = file, { name } = file.payload;
  const names = keys.map((key) => key.name).join(", ");
  if (signature === undefined) {
    throw new PayloadError(EPERM, `${name}: not signed, where a signature by ${names} is due`);
  }
  const { keyId, value } = signature;
  const key = keys.find(({ id }) => id === keyId);
  if (key === undefined) {
    throw new PayloadError(EPERM, `${name}: signed by key ${keyId}, which is not that of ${names}`);
  }
  if (await crypto.subtle.verify(ALGORITHM, key.key, value, signedBytes)) return key;
  throw new PayloadError(EPERM, `${name}: wrongly signed: the signature is not one of ${key.name} over these bytes`);
}

async function imported(name: string, pem: string, label: string, format: "spki" | "pkcs8", usage: KeyUsage) {
  const body = new RegExp(`^-----BEGIN ${label}-----$([^-]*)^-----END ${label}-----\\s*$`, "m").exec(pem)?.[1];
  if (body === undefined) throw new PayloadError(EINVAL, `${name}: has no ${label} in PEM`);
  try {
    return await crypto.subtle.importKey(format, Uint8Array.fromBase64(body), ALGORITHM, true, [usage]);
  } catch {
    throw new PayloadError(EINVAL, `${name}: its ${label} is not one of Ed25519`);
  }
}
