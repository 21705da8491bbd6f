/** Messages that carry descriptors (SCM_RIGHTS), as the kernel takes and gives them. */

import { Descriptor } from "./descriptor.ts";
import { bytesAddress } from "./mapping.ts";

const SOL_SOCKET = 1, SCM_RIGHTS = 1;
export const MSG_NOSIGNAL = 0x4000, MSG_CMSG_CLOEXEC = 0x4000_0000;

/** Descriptors that one packet can carry (the kernel's SCM_MAX_FD). */
export const MAX_DESCRIPTORS = 253;

/** Bytes of the largest packet that is sent or received whole. */
export const MAX_PACKET_BYTES = 16 << 10;

/** struct cmsghdr: size_t cmsg_len, int cmsg_level, int cmsg_type; then the descriptors, padded to 8 bytes. */
const CONTROL = { length: 0, level: 8, type: 12, data: 16 } as const;
const CONTROL_BYTES = CONTROL.data + Math.ceil(MAX_DESCRIPTORS * 4 / 8) * 8;

/** struct msghdr (56 bytes), whose pointers lead to struct iovec (16), the control data and the packet behind it. */
const HEADER = { vector: 16, vectors: 24, control: 32, controlLength: 40, flags: 48 } as const;
const VECTOR_AT = 56, CONTROL_AT = 72, PACKET_AT = CONTROL_AT + CONTROL_BYTES;

/** The one message of this isolate: a call fills it, and it is read before the next. */
class MessageRoom {
  readonly header: Uint8Array<ArrayBuffer>;
  readonly #memory = new ArrayBuffer(PACKET_AT + MAX_PACKET_BYTES);
  readonly #view = new DataView(this.#memory);

  constructor() {
    this.header = new Uint8Array(this.#memory, 0, VECTOR_AT);
    const address = bytesAddress(new Uint8Array(this.#memory));
    this.#view.setBigUint64(HEADER.vector, address + BigInt(VECTOR_AT), true);
    this.#view.setBigUint64(HEADER.vectors, 1n, true);
    this.#view.setBigUint64(HEADER.control, address + BigInt(CONTROL_AT), true);
    this.#view.setBigUint64(VECTOR_AT, address + BigInt(PACKET_AT), true);
  }

  /** A message to send. @throws {RangeError} */
  pack(bytes: Uint8Array, descriptors: readonly number[]): void {
    if (bytes.length > MAX_PACKET_BYTES) throw new RangeError(`a packet of ${bytes.length} bytes`);
    const count = descriptors.length;
    if (count > MAX_DESCRIPTORS) throw new RangeError(`${count} descriptors in one packet: at most ${MAX_DESCRIPTORS}`);
    new Uint8Array(this.#memory, PACKET_AT).set(bytes);
    const length = CONTROL.data + count * 4;
    this.#view.setBigUint64(CONTROL_AT + CONTROL.length, BigInt(length), true);
    this.#view.setInt32(CONTROL_AT + CONTROL.level, SOL_SOCKET, true);
    this.#view.setInt32(CONTROL_AT + CONTROL.type, SCM_RIGHTS, true);
    descriptors.forEach((number, index) => this.#view.setInt32(CONTROL_AT + CONTROL.data + index * 4, number, true));
    this.#setLengths(bytes.length, count === 0 ? 0 : length);
  }

  /** Room for a message to receive. @param sizeBytes at most {@linkcode MAX_PACKET_BYTES} */
  clear(expected: number, sizeBytes = MAX_PACKET_BYTES): void {
    const controlBytes = CONTROL.data + Math.min(expected, MAX_DESCRIPTORS) * 4;
    this.#setLengths(sizeBytes, expected === 0 ? 0 : controlBytes);
  }

  get flags(): number {
    return this.#view.getInt32(HEADER.flags, true);
  }

  /** A copy of what was received. */
  bytes(sizeBytes: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#memory, PACKET_AT, Math.min(sizeBytes, MAX_PACKET_BYTES)).slice();
  }

  /** What came along; SCM_RIGHTS is the only control data that a socket gets unasked. */
  descriptors(subject: string): Descriptor[] {
    if (this.#view.getBigUint64(HEADER.controlLength, true) < BigInt(CONTROL.data)) return [];
    const length = Number(this.#view.getBigUint64(CONTROL_AT + CONTROL.length, true));
    return Array.from({ length: Math.floor((length - CONTROL.data) / 4) }, (_, index) => {
      const number = this.#view.getInt32(CONTROL_AT + CONTROL.data + index * 4, true);
      return new Descriptor(number, `descriptor received at ${subject}`);
    });
  }

  #setLengths(packetBytes: number, controlBytes: number): void {
    this.#view.setBigUint64(VECTOR_AT + 8, BigInt(packetBytes), true);
    this.#view.setBigUint64(HEADER.controlLength, BigInt(controlBytes), true);
    this.#view.setInt32(HEADER.flags, 0, true);
  }
}

export const room = new MessageRoom();
